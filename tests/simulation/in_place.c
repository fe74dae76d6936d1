/* Joining in place, and messages that take their time. */
#include "simulation/in_place.h"

#include <string.h>

#include "stream/publisher.h"
#include "support/backend_mem.h"

struct embar_link *any_link(const struct embar_publisher *publisher)
{
    for (const struct peer *peer = publisher->peers; peer; peer = peer->next)
        if (peer->state == PEER_UP)
            return peer->conn->link;
    return NULL;
}

void join_in_place(struct sim *sim, const char *more)
{
    sim_init(sim, 1);
    backend_memmap_refuse(false);
    sim_subscriber(sim, 0, "transport=memmap,mem", NULL);
    sim_publisher(sim, 0, "transport=memmap,mem", more, NULL);
    sim_join(sim, 0);
}

bool is_own(const struct embar_publisher *publisher, const void *addr)
{
    const uint8_t *at = addr;

    return at >= publisher->buffer.addr &&
           at < publisher->buffer.addr + publisher->buffer.info.size_bytes;
}

void cut_and_come_back(struct sim *sim)
{
    uint64_t before = sim_pub_stats(sim, 0).reconnects;

    backend_mem_cut(any_link(sim->pub[0]));
    for (int step = 0; step < 10000 && sim_pub_stats(sim, 0).reconnects == before; step++)
        sim_step(sim);
    assert_int_equal(sim_pub_stats(sim, 0).reconnects, before + 1);
}

void begin_slowly(struct sim *sim, struct slow_message *slow)
{
    slow->len =
        sim_message(sim->published[0], embar_publisher_max_message(sim->pub[0]), slow->bytes);
    if (embar_reserve(sim->pub[0], slow->len, &slow->room) < 0)
        slow->room = NULL;
}

void end_slowly(struct sim *sim, struct slow_message *slow)
{
    memcpy(slow->room, slow->bytes, slow->len);
    assert_int_equal(embar_commit(sim->pub[0], slow->len), 0);
    sim->published[0]++;
    slow->room = NULL;
}
