/* The peer by hand. One thread. */
#include "simulation/byhand.h"

#include <stdio.h>
#include <string.h>

#include "simulation/sim.h"
#include "stream/batch.h"
#include "support/backend_mem.h"
#include "transport/registry.h"

static struct byhand peers[BYHAND_PEERS];

struct byhand *byhand_open(enum control_role role, uint64_t instance, const char *listen)
{
    static const char *const settings[] = {"mem.seed=7", NULL};
    struct embar_buffer_options options = {.hugepages = EMBAR_HUGEPAGES_NEVER, .numa_node = -1};
    struct embar_diag diag = {0};
    struct byhand *peer = peers;

    while (peer->transport)
        assert_true(++peer < peers + BYHAND_PEERS);
    peer->role = role;
    peer->instance = instance;
    backend_mem_add();
    assert_int_equal(transport_open_env("mem", settings, sim_env(), &peer->transport, &diag), 0);
    assert_int_equal(embar_buffer_alloc(peer->transport, BYHAND_SLOTS * BYHAND_SLOT_BYTES, &options,
                                        &peer->buffer, &diag),
                     0);
    if (listen)
        assert_int_equal(embar_listen(peer->transport, listen, &peer->listener, &diag), 0);
    return peer;
}

static void link_add(struct byhand *peer, struct embar_link *link)
{
    assert_true(peer->link_count < BYHAND_LINKS);
    peer->links[peer->link_count++] = link;
    peer->link = link;
    peer->up = false;
}

static void link_remove(struct byhand *peer, struct embar_link *link)
{
    unsigned i = 0;

    while (peer->links[i] != link)
        i++;
    peer->links[i] = peer->links[--peer->link_count];
    if (peer->link == link) {
        peer->link = NULL;
        peer->up = false;
    }
    embar_link_close(link);
}

void byhand_close(struct byhand *peer)
{
    if (!peer->transport)
        return;
    if (peer->listener)
        embar_listener_close(peer->listener);
    for (unsigned i = 0; i < peer->link_count; i++)
        embar_link_abort(peer->links[i]);
    while (peer->link_count > 0)
        byhand_poll(peer);
    assert_int_equal(embar_buffer_free(peer->buffer), 0);
    assert_int_equal(embar_transport_close(peer->transport), 0);
    memset(peer, 0, sizeof *peer);
}

void byhand_close_all(void)
{
    for (unsigned i = 0; i < BYHAND_PEERS; i++)
        byhand_close(&peers[i]);
}

void byhand_connect(struct byhand *peer, const char *address)
{
    struct embar_link *link;
    struct embar_diag diag = {0};

    assert_int_equal(embar_connect(peer->transport, address, &link, &diag), 0);
    link_add(peer, link);
}

static void heard(struct byhand *peer, const struct embar_event *event)
{
    struct control_message message;
    struct embar_diag diag = {0};

    if (control_unpack(event->data, event->len_bytes, &message, &diag) < 0)
        fail_msg("%s", diag.text);
    if (message.type == CONTROL_GRANT)
        message.grant.taken = NULL;
    peer->heard[message.type]++;
    peer->last[message.type] = message;
}

static void arrived(struct byhand *peer, const struct embar_event *event)
{
    struct embar_buffer_info info;
    struct batch_header header;
    struct embar_diag diag = {0};

    embar_buffer_info(peer->buffer, &info);
    if (batch_open((const uint8_t *)info.addr + event->immediate * (size_t)BYHAND_SLOT_BYTES,
                   event->len_bytes, &header, &diag) == 0)
        peer->sequence = header.sequence; /* else a later one is on top of it already */
    peer->arrivals++;
}

static void handle(struct byhand *peer, const struct embar_event *event)
{
    switch (event->type) {
    case EMBAR_EVENT_LINK_REQUEST:
        peer->requests++;
        link_add(peer, event->link);
        embar_accept(event->link);
        break;
    case EMBAR_EVENT_LINK_UP:
        peer->up = peer->up || event->link == peer->link;
        break;
    case EMBAR_EVENT_LINK_DOWN:
        peer->downs++;
        link_remove(peer, event->link);
        break;
    case EMBAR_EVENT_MESSAGE:
        heard(peer, event);
        break;
    case EMBAR_EVENT_WRITE_DONE:
        peer->writes_done++;
        break;
    case EMBAR_EVENT_ARRIVAL:
        arrived(peer, event);
        break;
    }
}

int byhand_poll(struct byhand *peer)
{
    struct embar_event events[64];
    int n = embar_poll(peer->transport, events, 64);

    assert_true(n >= 0);
    for (int i = 0; i < n; i++)
        handle(peer, &events[i]);
    return n;
}

int byhand_say(struct byhand *peer, const struct control_message *message)
{
    uint8_t packed[CONTROL_BYTES];
    size_t len = control_pack(message, packed);

    return peer->link ? embar_send(peer->link, packed, len) : -1;
}

int byhand_hello(struct byhand *peer)
{
    struct control_message message = {.type = peer->listener ? CONTROL_WELCOME : CONTROL_HELLO};

    message.hello.version = CONTROL_VERSION;
    message.hello.role = (uint8_t)peer->role;
    message.hello.instance = peer->instance;
    message.hello.slot_bytes = BYHAND_SLOT_BYTES;
    message.hello.ack = 2;
    message.hello.in_flight = 8;
    snprintf(message.hello.stream, sizeof message.hello.stream, "default");
    return byhand_say(peer, &message);
}

int byhand_grant(struct byhand *peer, uint64_t next_sequence)
{
    struct control_message message = {.type = CONTROL_GRANT};
    struct embar_diag diag = {0};
    int rc;

    embar_buffer_unexpose(peer->buffer);
    rc = embar_buffer_expose(peer->buffer, peer->link, &message.grant.key, &diag);
    if (rc < 0)
        return rc;
    message.grant.slot_bytes = BYHAND_SLOT_BYTES;
    message.grant.slots = BYHAND_SLOTS;
    message.grant.next_sequence = next_sequence;
    message.grant.taken = peer->taken;
    return byhand_say(peer, &message);
}

int byhand_start(struct byhand *peer, uint64_t sequence, uint64_t message_number)
{
    struct control_message message = {.type = CONTROL_START};

    message.start.first_sequence = sequence;
    message.start.first_message = message_number;
    return byhand_say(peer, &message);
}

int byhand_credit(struct byhand *peer, uint64_t placed_next, uint64_t consumed_next, uint16_t slots)
{
    struct control_message message = {.type = CONTROL_CREDIT};

    message.credit.placed_next = placed_next;
    message.credit.consumed_next = consumed_next;
    message.credit.count = slots;
    for (uint16_t slot = 0; slot < slots; slot++)
        message.credit.slots[slot] = slot;
    return byhand_say(peer, &message);
}

int byhand_batch(struct byhand *peer, uint32_t slot, uint64_t sequence, uint64_t message)
{
    const size_t most = BYHAND_SLOT_BYTES - BATCH_HEADER_BYTES - MESSAGE_HEADER_BYTES;
    struct embar_buffer_info info;
    uint8_t bytes[SIM_MESSAGE_BYTES];
    uint32_t len = (uint32_t)sim_message(message, most, bytes);
    struct batch_header header = {
        .session = peer->instance,
        .sequence = sequence,
        .first_message = message,
        .messages = 1,
        .payload_bytes = MESSAGE_HEADER_BYTES + len,
        .checked = true,
    };
    struct embar_write write = {
        .buffer = peer->buffer,
        .offset = (size_t)slot * BYHAND_SLOT_BYTES,
        .len_bytes = BATCH_HEADER_BYTES + header.payload_bytes,
        .key = peer->last[CONTROL_GRANT].grant.key,
        .remote_offset = (uint64_t)slot * BYHAND_SLOT_BYTES,
        .immediate = slot,
    };
    uint8_t *at;

    embar_buffer_info(peer->buffer, &info);
    at = (uint8_t *)info.addr + write.offset;
    memcpy(at + BATCH_HEADER_BYTES, &len, MESSAGE_HEADER_BYTES);
    memcpy(at + BATCH_HEADER_BYTES + MESSAGE_HEADER_BYTES, bytes, len);
    batch_seal(at, &header);
    return peer->link ? embar_write(peer->link, &write) : -1;
}

int byhand_write(struct byhand *peer, size_t offset, size_t len_bytes, const struct embar_key *key,
                 uint64_t remote_offset, uint32_t immediate)
{
    struct embar_write write = {
        .buffer = peer->buffer,
        .offset = offset,
        .len_bytes = len_bytes,
        .key = *key,
        .remote_offset = remote_offset,
        .immediate = immediate,
    };

    return peer->link ? embar_write(peer->link, &write) : -1;
}

void byhand_abort(struct byhand *peer)
{
    if (peer->link)
        embar_link_abort(peer->link);
    byhand_poll(peer);
}

void byhand_step(struct sim *sim, struct byhand *peer, int rounds)
{
    for (int round = 0; round < rounds; round++) {
        sim_step(sim);
        byhand_poll(peer);
    }
}

void byhand_join(struct sim *sim, struct byhand *peer, uint64_t sequence)
{
    byhand_connect(peer, "127.0.0.1:9400");
    byhand_step(sim, peer, 4);
    assert_true(peer->up);
    byhand_hello(peer);
    byhand_step(sim, peer, 4);
    if (peer->role == ROLE_PUBLISHER)
        assert_int_equal(byhand_start(peer, sequence, sequence), 0);
    else
        assert_int_equal(byhand_grant(peer, sequence), 0);
    byhand_step(sim, peer, 4);
}
