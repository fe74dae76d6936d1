/* Publishers and subscribers in simulation: every promise of <embar/embar.h> that needs no real
 * wire, under hundreds of schedules by seed. */
#include "simulation/sim.h"
#include "simulation/tests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/publisher.h"
#include "stream/subscriber.h"
#include "support/backend_mem.h"

static struct embar_link *any_link(const struct embar_publisher *publisher)
{
    for (const struct peer *peer = publisher->peers; peer; peer = peer->next)
        if (peer->state == PEER_UP)
            return peer->conn->link;
    return NULL;
}

/* One random action of one of the parties. */
static void random_action(struct sim *sim, uint64_t target, bool faults)
{
    struct embar_link *link = any_link(sim->pub[0]);

    switch (sim_random(sim, 12)) {
    case 0:
    case 1:
    case 2:
        for (uint64_t n = sim_random(sim, 30); n > 0 && sim->published[0] < target; n--)
            if (sim_publish(sim, 0) < 0)
                break;
        break;
    case 3:
    case 4:
        embar_publisher_poll(sim->pub[0], 0);
        break;
    case 5:
    case 6:
    case 7:
        sim_take(sim, 0);
        break;
    case 8:
    case 9:
        sim_release(sim, 0);
        break;
    case 10:
        sim_sleep(sim, sim_random(sim, 3000) * NS_PER_US);
        break;
    case 11:
        if (faults && link && sim_random(sim, 30) == 0)
            backend_mem_cut(link);
        else if (faults && link && sim_random(sim, 30) == 0)
            backend_mem_corrupt_next(link, (size_t)sim_random(sim, 4096));
        break;
    }
}

static void run_schedule(uint64_t seed, bool faults, const char *ack, const char *reorder)
{
    struct sim sim;
    char setting[64];
    const uint64_t target = 2000;
    struct embar_stats pub, sub;
    int rc;

    sim_init(&sim, seed);
    snprintf(setting, sizeof setting, "ack=%s", ack);
    sim_subscriber(&sim, 0, reorder, "mem.delay=5", NULL);
    sim_publisher(&sim, 0, setting, reorder, "mem.delay=5", NULL);
    while (sim.published[0] < target)
        random_action(&sim, target, faults);
    rc = sim_finish(&sim, 0);
    if (rc != 0)
        fail_msg("seed %llu: finish gave %d: %s", (unsigned long long)seed, rc,
                 embar_publisher_failure(sim.pub[0])->text);
    pub = sim_pub_stats(&sim, 0);
    sub = sim_sub_stats(&sim, 0);
    assert_int_equal(pub.messages, target);
    assert_int_equal(pub.peers_finished, 1);
    assert_int_equal(sub.gaps, sim.sub[0].from[0].missing + target - sim.sub[0].from[0].next);
    assert_int_equal(sim.sub[0].messages + sub.gaps, target);
    if (strcmp(ack, "sent") != 0 || !faults)
        assert_int_equal(sub.gaps, 0);
    if (!faults)
        assert_int_equal(pub.reconnects, 0);
    sim_close(&sim);
}

static void test_every_schedule_delivers_all_messages_in_order_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(60); seed++) {
        run_schedule(seed, false, "consumed", "mem.reorder=false");
        run_schedule(seed, false, "sent", "mem.reorder=true");
    }
}

static void test_cut_links_and_damaged_batches_lose_and_repeat_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(120); seed++) {
        run_schedule(seed, true, "consumed", "mem.reorder=true");
        run_schedule(seed, true, "placed", "mem.reorder=false");
    }
}

static void test_with_ack_sent_a_cut_link_loses_no_more_than_is_reported(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(60); seed++)
        run_schedule(seed, true, "sent", "mem.reorder=false");
}

static void test_three_subscribers_each_get_everything(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    for (unsigned i = 0; i < 3; i++) {
        char listen[64];

        snprintf(listen, sizeof listen, "subscriber.listen=127.0.0.1:%u", 9500 + i);
        sim_subscriber(&sim, i, listen, NULL);
    }
    sim_publisher(&sim, 0, "publisher.min_subscribers=3",
                  "publisher.connect=127.0.0.1:9500,127.0.0.1:9501,127.0.0.1:9502", NULL);
    sim_join(&sim, 0);
    while (sim.published[0] < 1000)
        if (sim_publish(&sim, 0) == -EAGAIN)
            sim_step(&sim);
    assert_int_equal(sim_finish(&sim, 0), 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(sim.sub[i].messages, 1000);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_finished, 3);
    sim_close(&sim);
}

static void test_the_slowest_of_three_subscribers_holds_the_slot(void **state)
{
    struct sim sim;
    struct embar_batch *batch;
    int published = 0;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "subscriber.listen=127.0.0.1:9500", NULL);
    sim_subscriber(&sim, 1, "subscriber.listen=127.0.0.1:9501", NULL);
    sim_publisher(&sim, 0, "publisher.min_subscribers=2",
                  "publisher.connect=127.0.0.1:9500,127.0.0.1:9501", NULL);
    sim_join(&sim, 0);
    /* Subscriber 1 takes one batch and never lets go of it. */
    for (int step = 0; step < 3000; step++) {
        if (sim_publish(&sim, 0) == 0)
            published++;
        embar_publisher_poll(sim.pub[0], 0);
        sim_take(&sim, 0);
        sim_release(&sim, 0);
        if (sim.sub[1].held_count == 0)
            sim_take(&sim, 1);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_true(sim.pub[0]->slots.free_count == 0);
    assert_int_equal(sim_publish(&sim, 0), -EAGAIN);
    assert_true(published < 1000);
    /* It wakes up, and nothing is missing. */
    assert_int_equal(sim_finish(&sim, 0), 0);
    while (embar_next(sim.sub[1].s, &batch, 0) == 1)
        embar_release(batch);
    assert_int_equal(sim.sub[0].messages, published);
    assert_int_equal(sim.sub[1].messages, published);
    assert_int_equal(sim_sub_stats(&sim, 1).gaps, 0);
    sim_close(&sim);
}

static void test_three_publishers_share_a_subscriber_each_in_order(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    for (unsigned i = 0; i < 3; i++)
        sim_publisher(&sim, i, NULL);
    for (unsigned i = 0; i < 3; i++)
        sim_join(&sim, i);
    for (int round = 0; round < 500; round++)
        for (unsigned i = 0; i < 3; i++)
            while (sim_publish(&sim, i) == -EAGAIN)
                sim_step(&sim);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(sim_finish(&sim, i), 0);
    assert_int_equal(sim.sub[0].messages, 1500);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(sim.sub[0].from[i].next, 500);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_finished, 3);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_lost, 0);
    sim_close(&sim);
}

static void test_a_partial_batch_goes_out_after_linger_without_another_publish(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    sim_publisher(&sim, 0, "batch.linger=50ms", NULL);
    sim_join(&sim, 0);
    assert_int_equal(sim_publish(&sim, 0), 0);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(sim.sub[0].messages, 0);
    sim_sleep(&sim, 50 * NS_PER_MS);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(sim.sub[0].messages, 1);
    sim_close(&sim);
}

static void test_flush_levels_wait_for_what_they_say(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    assert_int_equal(sim_publish(&sim, 0), 0);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_PLACED, 0), -ETIMEDOUT);
    for (int step = 0; step < 100; step++) {
        embar_publisher_poll(sim.pub[0], 0);
        sim_take(&sim, 0); /* and hold */
        embar_subscriber_poll(sim.sub[0].s, 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_SENT, 0), 0);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_PLACED, 0), 0);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_CONSUMED, 0), -ETIMEDOUT);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_CONSUMED, 0), 0);
    sim_close(&sim);
}

static void test_a_message_as_large_as_a_slot_takes_goes_and_one_byte_more_does_not(void **state)
{
    static uint8_t bytes[8192];
    struct sim sim;
    size_t most;
    void *room;

    (void)state;
    sim_init_pair(&sim);
    most = embar_publisher_max_message(sim.pub[0]);
    assert_int_equal(most, 4096 - 68);
    assert_int_equal(embar_publish(sim.pub[0], bytes, most + 1), -EMSGSIZE);
    assert_int_equal(embar_reserve(sim.pub[0], most + 1, &room), -EMSGSIZE);
    assert_int_equal(embar_publish(sim.pub[0], bytes, SIZE_MAX), -EMSGSIZE);
    assert_int_equal(embar_reserve(sim.pub[0], most, &room), 0);
    assert_int_equal(embar_commit(sim.pub[0], most + 1), -EINVAL);
    sim_close(&sim);
}

static void test_dropping_for_a_slow_subscriber_is_counted_to_the_message(void **state)
{
    struct sim sim;
    uint64_t target = 3000;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    sim_publisher(&sim, 0, "slow_subscriber=drop", "slow_timeout=5ms", NULL);
    sim_join(&sim, 0);
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
    assert_true(sim_sub_stats(&sim, 0).gaps > 0);
    assert_int_equal(sim_sub_stats(&sim, 0).gaps,
                     sim.sub[0].from[0].missing + (target - sim.sub[0].from[0].next));
    assert_int_equal(sim.sub[0].messages + sim_sub_stats(&sim, 0).gaps, target);
    sim_close(&sim);
}

static void test_a_slow_subscriber_is_evicted_and_the_other_goes_on(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "subscriber.listen=127.0.0.1:9500", NULL);
    sim_subscriber(&sim, 1, "subscriber.listen=127.0.0.1:9501", NULL);
    sim_publisher(&sim, 0, "slow_subscriber=evict", "slow_timeout=5ms",
                  "publisher.min_subscribers=1", "publisher.connect=127.0.0.1:9500,127.0.0.1:9501",
                  NULL);
    sim_join(&sim, 0);
    for (int step = 0; step < 50; step++)
        sim_step(&sim);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_joined, 2);
    while (sim.published[0] < 2000) {
        if (sim_publish(&sim, 0) == -EAGAIN)
            sim_sleep(&sim, NS_PER_MS);
        embar_publisher_poll(sim.pub[0], 0);
        sim_take(&sim, 0);
        sim_release(&sim, 0);
        embar_subscriber_poll(sim.sub[1].s, 0);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 1);
    assert_int_equal(sim_finish(&sim, 0), -ENOTCONN); /* not every subscriber got it */
    assert_int_equal(sim.sub[0].messages, 2000);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_finished, 1);
    sim_close(&sim);
}

static void test_batches_held_across_a_reconnect_keep_their_slots_and_bytes(void **state)
{
    struct sim sim;
    uint8_t before[4096], after[4096];
    struct embar_iter iter;

    (void)state;
    sim_init_pair(&sim);
    while (sim.published[0] < 60) {
        sim_publish(&sim, 0);
        embar_publisher_poll(sim.pub[0], 0);
        if (sim.sub[0].held_count < 2)
            sim_take(&sim, 0);
        embar_subscriber_poll(sim.sub[0].s, 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    iter = embar_iterate(sim.sub[0].held[0]);
    memcpy(before, iter.pos, (size_t)(iter.end - iter.pos));
    backend_mem_cut(any_link(sim.pub[0]));
    for (int step = 0; step < 200; step++) {
        embar_publisher_poll(sim.pub[0], 0);
        embar_subscriber_poll(sim.sub[0].s, 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).reconnects, 1);
    iter = embar_iterate(sim.sub[0].held[0]);
    memcpy(after, iter.pos, (size_t)(iter.end - iter.pos));
    assert_memory_equal(before, after, (size_t)(iter.end - iter.pos));
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 60);
    sim_close(&sim);
}

static void test_damage_that_persists_gives_the_publisher_up_with_a_sentence(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    assert_int_equal(sim_publish(&sim, 0), 0);
    backend_mem_corrupt_next(any_link(sim.pub[0]), 70);
    embar_flush(sim.pub[0], EMBAR_SENT, 0);
    for (int step = 0; step < 2000 && !embar_publisher_failure(sim.pub[0])->error; step++) {
        /* Each new link, long before it is up, carries the damage for its first write. */
        for (struct conn *conn = sim.pub[0]->endpoint.conns; conn; conn = conn->next)
            if (conn->state == CONN_OPENING)
                backend_mem_corrupt_next(conn->link, 70);
        sim_step(&sim);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(sim_sub_stats(&sim, 0).checksum_errors, 3);
    assert_non_null(strstr(embar_publisher_failure(sim.pub[0])->text, "the checksum of batch 0"));
    assert_int_equal(sim.sub[0].messages, 0);
    sim_close(&sim);
}

/* Slots that were in use at any time: the publisher's, and the subscriber's as batches came. */
struct slots_used {
    uint64_t own, remote; /* bitmaps */
};

static struct slots_used keep_up(const char *transport, const char *in_flight)
{
    struct sim sim;
    struct slots_used used = {0};

    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, transport, NULL);
    sim_publisher(&sim, 0, transport, in_flight, NULL);
    sim_join(&sim, 0);
    while (sim.published[0] < 2000) {
        if (sim_publish(&sim, 0) == 0)
            used.own |= 1u << sim.pub[0]->slot;
        embar_publisher_poll(sim.pub[0], 0);
        sim_take(&sim, 0);
        for (; sim.sub[0].held_count > 0; sim_release(&sim, 0))
            used.remote |= 1u << sim.sub[0].held[0]->slot;
        embar_subscriber_poll(sim.sub[0].s, 0);
    }
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 2000);
    sim_close(&sim);
    return used;
}

static void test_a_stream_that_keeps_up_stays_in_as_many_slots_as_are_in_flight(void **state)
{
    static const char *const transports[] = {"transport=mem", "transport=memmap"};

    (void)state;
    for (int t = 0; t < 2; t++)
        for (int in_flight = 1; in_flight <= 8; in_flight *= 2) {
            char setting[32];
            struct slots_used used;

            snprintf(setting, sizeof setting, "batch.in_flight=%d", in_flight);
            used = keep_up(transports[t], setting);
            assert_true(__builtin_popcountll(used.own) <= in_flight + 1);
            assert_true(__builtin_popcountll(used.remote) <= in_flight + 1);
        }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_schedule_delivers_all_messages_in_order_once),
        cmocka_unit_test(test_cut_links_and_damaged_batches_lose_and_repeat_nothing),
        cmocka_unit_test(test_with_ack_sent_a_cut_link_loses_no_more_than_is_reported),
        cmocka_unit_test(test_a_stream_that_keeps_up_stays_in_as_many_slots_as_are_in_flight),
        cmocka_unit_test(test_three_subscribers_each_get_everything),
        cmocka_unit_test(test_the_slowest_of_three_subscribers_holds_the_slot),
        cmocka_unit_test(test_three_publishers_share_a_subscriber_each_in_order),
        cmocka_unit_test(test_a_partial_batch_goes_out_after_linger_without_another_publish),
        cmocka_unit_test(test_flush_levels_wait_for_what_they_say),
        cmocka_unit_test(test_a_message_as_large_as_a_slot_takes_goes_and_one_byte_more_does_not),
        cmocka_unit_test(test_dropping_for_a_slow_subscriber_is_counted_to_the_message),
        cmocka_unit_test(test_a_slow_subscriber_is_evicted_and_the_other_goes_on),
        cmocka_unit_test(test_batches_held_across_a_reconnect_keep_their_slots_and_bytes),
        cmocka_unit_test(test_damage_that_persists_gives_the_publisher_up_with_a_sentence),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return (cmocka_run_group_tests_name("stream", tests, NULL, NULL) + run_joining_tests() +
            run_waiting_tests() + run_reconnect_tests() + run_slow_tests() + run_crowd_tests() +
            run_in_place_tests() + run_in_place_room_tests() + run_lend_tests() +
            run_stall_tests() + run_linger_tests() + run_report_tests() + run_hostile_tests()) != 0;
}
