/* Batches that are built in the subscriber's own buffer, over the mapped variant of the in-memory
 * backend: where they lie, and what becomes of them when the link, the transport or the number of
 * subscribers changes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "simulation/in_place.h"
#include "simulation/tests.h"
#include "stream/publisher.h"
#include "stream/subscriber.h"
#include "support/backend_mem.h"

static void random_use(struct sim *sim, uint64_t target, struct slow_message *slow)
{
    switch (sim_random(sim, 12)) {
    case 0:
    case 1:
    case 2:
        for (uint64_t n = sim_random(sim, 30); n > 0 && sim->published[0] < target; n--)
            if (slow->room || sim_publish(sim, 0) < 0)
                break;
        break;
    case 3:
        if (slow->room)
            end_slowly(sim, slow);
        else if (sim->published[0] < target)
            begin_slowly(sim, slow);
        break;
    case 4:
        embar_publisher_poll(sim->pub[0], 0);
        break;
    case 5:
    case 6:
    case 7:
        for (unsigned i = 0; i < 2; i++)
            if (sim->sub[i].s)
                sim_take(sim, i);
        break;
    case 8:
    case 9:
    case 10:
        for (unsigned i = 0; i < 2; i++)
            if (sim->sub[i].s)
                sim_release(sim, i);
        break;
    case 11:
        sim_sleep(sim, sim_random(sim, 3000) * NS_PER_US);
        break;
    }
}

enum disturbance { CUTS = 1, TRANSPORTS = 2, SUBSCRIBERS = 4 };

static void leave(struct sim *sim, unsigned i)
{
    assert_int_equal(sim_sub_stats(sim, i).checksum_errors, 0);
    assert_int_equal(sim->sub[i].from[0].missing, 0);
    while (sim->sub[i].held_count > 0)
        sim_release(sim, i);
    sim_close_subscriber(sim, i);
    memset(&sim->sub[i], 0, sizeof sim->sub[i]);
}

static void disturb(struct sim *sim, unsigned what)
{
    struct embar_link *link = any_link(sim->pub[0]);

    if ((what & CUTS) && link && sim_random(sim, 300) == 0)
        backend_mem_cut(link);
    if ((what & TRANSPORTS) && sim_random(sim, 200) == 0)
        backend_memmap_refuse(sim_random(sim, 2) == 0);
    if (!(what & SUBSCRIBERS))
        return;
    if (!sim->sub[1].s && sim_random(sim, 200) == 0)
        sim_subscriber(sim, 1, "transport=memmap,mem", "subscriber.listen=127.0.0.1:9501",
                       "memmap.delay=5", NULL);
    else if (sim->sub[1].s && sim_random(sim, 600) == 0)
        leave(sim, 1);
}

static uint64_t failovers; /* of all runs */

/* Returns how many batches were built in place. */
static uint64_t run_in_place(uint64_t seed, unsigned what, const char *ack, const char *transport)
{
    struct sim sim;
    struct slow_message slow = {.room = NULL};
    const uint64_t target = 2000;
    struct embar_stats pub, sub;
    uint64_t in_place, first;
    int rc;

    sim_init(&sim, seed);
    backend_memmap_refuse(false);
    sim_subscriber(&sim, 0, transport, "memmap.delay=5", "mem.delay=5", NULL);
    sim_publisher(&sim, 0, ack, transport, "memmap.delay=5", "mem.delay=5",
                  "publisher.min_subscribers=1", "batch.in_flight=5", "reconnect_timeout=3s",
                  what & SUBSCRIBERS ? "publisher.connect=127.0.0.1:9400,127.0.0.1:9501"
                                     : "publisher.connect=127.0.0.1:9400",
                  NULL);
    while (sim.published[0] < target) {
        random_use(&sim, target, &slow);
        disturb(&sim, what);
        if (embar_publisher_failure(sim.pub[0])->error)
            fail_msg("seed %llu: %s", (unsigned long long)seed,
                     embar_publisher_failure(sim.pub[0])->text);
    }
    if (slow.room)
        end_slowly(&sim, &slow);
    backend_memmap_refuse(false);
    rc = sim_finish(&sim, 0);
    pub = sim_pub_stats(&sim, 0);
    if (rc != 0 && !(rc == -ENOTCONN && (what & SUBSCRIBERS) && pub.peers_finished >= 1))
        fail_msg("seed %llu: finish gave %d: %s", (unsigned long long)seed, rc,
                 embar_publisher_failure(sim.pub[0])->text);
    if (sim.sub[1].s)
        leave(&sim, 1);
    sub = sim_sub_stats(&sim, 0);
    assert_int_equal(sub.duplicates, 0);
    assert_int_equal(sub.checksum_errors, 0);
    if (strcmp(ack, "ack=sent") != 0 || !(what & (CUTS | TRANSPORTS))) {
        assert_int_equal(sub.gaps, 0);
        assert_int_equal(sim.sub[0].from[0].next, sim.published[0]);
    }
    /* Another subscriber may have been there before it. */
    first = what & SUBSCRIBERS ? sim.sub[0].from[0].first : 0;
    assert_int_equal(sim.sub[0].messages + sub.gaps, sim.published[0] - first);
    failovers += pub.failovers;
    in_place = sim.pub[0]->in_place_batches;
    assert_true(in_place <= pub.batches);
    sim_close(&sim);
    return in_place;
}

static void test_every_schedule_in_place_delivers_all_in_order_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(60); seed++) {
        assert_true(run_in_place(seed, 0, "ack=consumed", "transport=memmap") > 0);
        assert_true(run_in_place(seed, 0, "ack=sent", "transport=memmap") > 0);
    }
}

static void test_cut_links_lose_and_repeat_nothing_of_what_was_built_in_place(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(100); seed++) {
        assert_true(run_in_place(seed, CUTS, "ack=consumed", "transport=memmap") > 0);
        assert_true(run_in_place(seed, CUTS, "ack=placed", "transport=memmap") > 0);
        assert_true(run_in_place(seed, CUTS, "ack=sent", "transport=memmap") > 0);
    }
}

static void test_changes_of_transport_lose_and_repeat_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(100); seed++) {
        run_in_place(seed, CUTS | TRANSPORTS, "ack=consumed", "transport=memmap,mem");
        run_in_place(seed, CUTS | TRANSPORTS, "ack=placed", "transport=memmap,mem");
    }
    assert_true(failovers > SIM_SEEDS(100));
}

static void test_a_second_subscriber_may_come_and_go(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(100); seed++) {
        run_in_place(seed, SUBSCRIBERS, "ack=consumed", "transport=memmap,mem");
        run_in_place(seed, CUTS | TRANSPORTS | SUBSCRIBERS, "ack=placed", "transport=memmap,mem");
    }
}

static void test_reserve_gives_memory_of_the_subscribers_buffer(void **state)
{
    struct sim sim;
    struct embar_batch *batch;
    void *room;

    (void)state;
    join_in_place(&sim, NULL);
    assert_int_equal(embar_reserve(sim.pub[0], 1000, &room), 0);
    assert_false(is_own(sim.pub[0], room));
    memset(room, 0, 1000);
    assert_int_equal(embar_commit(sim.pub[0], 1000), 0);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_SENT, 0), -ETIMEDOUT);
    while (embar_next(sim.sub[0].s, &batch, 0) == 0)
        embar_publisher_poll(sim.pub[0], 0);
    /* What the caller stores there now the subscriber sees: nothing was copied. */
    memset(room, 7, 1000);
    assert_int_equal(embar_iterate(batch).pos[MESSAGE_HEADER_BYTES + 999], 7);
    embar_release(batch);
    assert_string_equal(sim_pub_stats(&sim, 0).send_mode, "in-place");
    assert_string_equal(sim_pub_stats(&sim, 0).send_mode_why, "");
    sim_close(&sim);
}

static void test_a_second_subscriber_ends_building_in_place_and_the_report_says_why(void **state)
{
    struct sim sim;
    void *room;

    (void)state;
    join_in_place(&sim, "publisher.connect=127.0.0.1:9400,127.0.0.1:9501");
    assert_int_equal(sim_publish(&sim, 0), 0);
    sim_subscriber(&sim, 1, "transport=memmap,mem", "subscriber.listen=127.0.0.1:9501", NULL);
    for (int step = 0; step < 200000 && sim_pub_stats(&sim, 0).peers_up < 2; step++)
        sim_step(&sim);
    assert_int_equal(embar_reserve(sim.pub[0], 8, &room), 0);
    assert_true(is_own(sim.pub[0], room));
    for (int i = 0; i < 300; i++)
        while (sim_publish(&sim, 0) == -EAGAIN)
            sim_step(&sim);
    assert_string_equal(sim_pub_stats(&sim, 0).send_mode, "lent");
    assert_non_null(strstr(sim_pub_stats(&sim, 0).send_mode_why, "2 have joined"));
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 301);
    assert_int_equal(sim.sub[1].messages, sim.sub[1].from[0].next - sim.sub[1].from[0].first);
    sim_close(&sim);
}

/* The subscriber scribbles over a batch before it is placed, and its link is lost: the damaged
 * bytes go to nobody but itself, and their header is the publisher's. */
static void test_what_a_subscriber_scribbles_harms_only_itself(void **state)
{
    struct sim sim;
    uint8_t *slot;
    unsigned held;

    (void)state;
    join_in_place(&sim, "batch.linger=1s");
    assert_int_equal(sim_publish(&sim, 0), 0);
    slot = sim.pub[0]->slot_addr;
    held = sim.pub[0]->slot;
    embar_flush(sim.pub[0], EMBAR_SENT, 0);
    memset(slot, 0xff, 200);
    backend_mem_cut(any_link(sim.pub[0]));
    embar_publisher_poll(sim.pub[0], 0);
    assert_memory_equal(sim.pub[0]->buffer.addr + held * 4096, sim.pub[0]->sources[held].header,
                        BATCH_HEADER_BYTES);
    for (int step = 0; step < 20000 && !embar_publisher_failure(sim.pub[0])->error; step++) {
        sim_step(&sim);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_non_null(strstr(embar_publisher_failure(sim.pub[0])->text, "the checksum of batch 0"));
    assert_int_equal(sim.sub[0].messages, 0);
    sim_close(&sim);
}

static void test_dropping_for_a_slow_subscriber_in_place_is_counted_to_the_message(void **state)
{
    struct sim sim;
    uint64_t target = 3000;

    (void)state;
    join_in_place(&sim, "slow_subscriber=drop");
    while (sim.published[0] < target) {
        if (sim_publish(&sim, 0) == -EAGAIN)
            sim_sleep(&sim, NS_PER_MS);
        embar_publisher_poll(sim.pub[0], 0);
        if (sim_random(&sim, 40) == 0) {
            sim_take(&sim, 0);
            sim_release(&sim, 0);
        }
    }
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages + sim_sub_stats(&sim, 0).gaps, target);
    assert_int_equal(sim_sub_stats(&sim, 0).gaps, sim_pub_stats(&sim, 0).gaps);
    sim_close(&sim);
}

static void test_a_batch_that_is_dropped_before_it_was_written_gives_its_slot_back(void **state)
{
    struct sim sim;
    const struct peer *peer;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "transport=memmap", "buffer.size=512KiB", NULL);
    sim_publisher(&sim, 0, "transport=memmap", "buffer.size=512KiB", "batch.in_flight=128",
                  "slow_subscriber=drop", "slow_timeout=5ms", NULL);
    sim_join(&sim, 0);
    peer = sim.pub[0]->peers;
    /* The link takes no more than so many writes, and the subscriber makes no call. */
    while (sim.pub[0]->next_seq == peer->next_seq)
        assert_int_equal(sim_publish(&sim, 0), 0);
    assert_int_equal(peer->remote.slot_count - peer->remote.free_count, peer->writes + 1);
    while (!peer->gap) {
        sim_publish(&sim, 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    /* One for the batch that is open again. */
    assert_int_equal(peer->remote.slot_count - peer->remote.free_count,
                     peer->writes + (sim.pub[0]->in_place.peer != NULL));
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages + sim_sub_stats(&sim, 0).gaps, sim.published[0]);
    sim_close(&sim);
}

static void test_a_mapped_buffer_is_not_handed_to_another_publisher(void **state)
{
    struct sim sim;
    const uint8_t *first;

    (void)state;
    join_in_place(&sim, NULL);
    first = sim.sub[0].s->sessions->buffer.addr;
    assert_non_null(first);
    assert_int_equal(sim_finish(&sim, 0), 0);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_null(sim.sub[0].s->sessions);
    assert_null(sim.sub[0].s->spare.addr);
    sim_publisher(&sim, 1, "transport=memmap,mem", NULL);
    sim_join(&sim, 1);
    assert_int_equal(sim_publish(&sim, 1), 0);
    assert_int_equal(sim_finish(&sim, 1), 0);
    sim_close(&sim);
}

int run_in_place_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_schedule_in_place_delivers_all_in_order_once),
        cmocka_unit_test(test_cut_links_lose_and_repeat_nothing_of_what_was_built_in_place),
        cmocka_unit_test(test_changes_of_transport_lose_and_repeat_nothing),
        cmocka_unit_test(test_a_second_subscriber_may_come_and_go),
        cmocka_unit_test(test_reserve_gives_memory_of_the_subscribers_buffer),
        cmocka_unit_test(test_a_second_subscriber_ends_building_in_place_and_the_report_says_why),
        cmocka_unit_test(test_what_a_subscriber_scribbles_harms_only_itself),
        cmocka_unit_test(test_dropping_for_a_slow_subscriber_in_place_is_counted_to_the_message),
        cmocka_unit_test(test_a_batch_that_is_dropped_before_it_was_written_gives_its_slot_back),
        cmocka_unit_test(test_a_mapped_buffer_is_not_handed_to_another_publisher),
    };

    return cmocka_run_group_tests_name("in place", tests, NULL, NULL);
}
