/* Waiting: every time-out has its wake-up, a caller in an event loop is never left asleep with work
 * to do, and never woken for nothing. */
#include <errno.h>
#include <string.h>

#include "simulation/byhand.h"
#include "simulation/sim.h"
#include "simulation/tests.h"
#include "stream/publisher.h"
#include "stream/subscriber.h"
#include "support/backend_mem.h"

#define MEM_QUEUE                                                                                  \
    32 /* control messages that the in-memory backend takes before it says -EAGAIN                 \
        */

static void test_a_refused_publish_is_woken_when_the_stall_begins(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    /* Credits flow, then stop: the subscriber holds what it has. */
    while (sim.published[0] < 300)
        if (sim_publish(&sim, 0) == -EAGAIN)
            sim_step(&sim);
    sim_step(&sim);
    while (sim_publish(&sim, 0) == 0) {
        embar_publisher_poll(sim.pub[0], 0);
        sim_take(&sim, 0);
    }
    while (embar_publisher_poll(sim.pub[0], 0) > 0)
        ;
    assert_true(sim.pub[0]->slots.free_count > 0);
    assert_int_equal(sim_publish(&sim, 0), -EAGAIN);
    assert_int_equal(embar_publisher_arm(sim.pub[0]), 0);
    sim_sleep(&sim, 11 * NS_PER_MS);
    assert_int_equal(embar_publisher_arm(sim.pub[0]), -EAGAIN);
    assert_int_equal(embar_publisher_poll(sim.pub[0], 0), 1);
    assert_int_equal(sim_publish(&sim, 0), 0);
    /* Told once: who then has nothing to publish may sleep. */
    assert_int_equal(embar_publisher_arm(sim.pub[0]), 0);
    sim_close(&sim);
}

static void test_a_slow_subscriber_is_evicted_while_the_caller_waits_in_poll(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "subscriber.listen=127.0.0.1:9500", NULL);
    sim_subscriber(&sim, 1, "subscriber.listen=127.0.0.1:9501", NULL);
    sim_publisher(&sim, 0, "slow_subscriber=evict", "slow_timeout=200ms",
                  "publisher.connect=127.0.0.1:9500,127.0.0.1:9501", NULL);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_up, 2);
    while (sim.pub[0]->slots.free_count > 0 || sim_publish(&sim, 0) == 0) {
        while (sim_publish(&sim, 0) == 0)
            ;
        sim_take(&sim, 0);
        sim_release(&sim, 0);
        sim_take(&sim, 1); /* and hold */
        embar_subscriber_poll(sim.sub[1].s, 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 0);
    for (int ms = 0; ms < 300; ms++) {
        if (embar_publisher_arm(sim.pub[0]) == -EAGAIN)
            embar_publisher_poll(sim.pub[0], 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 1);
    sim_close(&sim);
}

static void test_reserved_room_outlives_the_linger(void **state)
{
    struct sim sim;
    void *room;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    sim_publisher(&sim, 0, "batch.linger=5ms", NULL);
    sim_join(&sim, 0);
    assert_int_equal(sim_publish(&sim, 0), 0);
    assert_int_equal(embar_reserve(sim.pub[0], 8, &room), 0);
    sim_sleep(&sim, 50 * NS_PER_MS);
    sim_event_loop(&sim, 10 * NS_PER_MS, true);
    assert_int_equal(sim.sub[0].messages, 0);
    assert_int_equal(embar_commit(sim.pub[0], 0), 0);
    /* The batch goes out at the next chance then. */
    assert_int_equal(sim_pub_stats(&sim, 0).messages, 2);
    embar_publisher_poll(sim.pub[0], 0);
    assert_int_equal(sim_pub_stats(&sim, 0).batches, 1);
    sim_close(&sim);
}

static void test_a_release_reaches_the_publisher_without_another_call(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    assert_int_equal(sim_publish(&sim, 0), 0);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_CONSUMED, 0), -ETIMEDOUT);
    sim_event_loop(&sim, 20 * NS_PER_MS, false);
    assert_int_equal(sim.sub[0].held_count, 1);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_PLACED, 0), 0);
    sim_release(&sim, 0);
    sim_event_loop(&sim, 5 * NS_PER_MS, true);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_CONSUMED, 0), 0);
    sim_close(&sim);
}

/* The peer by hand has joined as a publisher, and has written batches 0 to 15. */
static struct byhand *join_by_hand(struct sim *sim)
{
    struct byhand *peer;

    sim_init(sim, 1);
    sim_subscriber(sim, 0, NULL);
    peer = byhand_open(ROLE_PUBLISHER, 77, NULL);
    byhand_join(sim, peer, 0);
    for (uint32_t slot = 0; slot < BYHAND_SLOTS; slot++)
        assert_int_equal(byhand_batch(peer, slot, slot, slot), 0);
    byhand_step(sim, peer, 200);
    assert_int_equal(sim->sub[0].messages, BYHAND_SLOTS);
    assert_int_equal(peer->last[CONTROL_CREDIT].credit.consumed_next, BYHAND_SLOTS);
    return peer;
}

static int say_gap(struct byhand *peer, uint64_t from, uint64_t to)
{
    struct control_message gap = {.type = CONTROL_GAP};

    gap.gap.from_sequence = from;
    gap.gap.to_sequence = gap.gap.to_message = to;
    return byhand_say(peer, &gap);
}

/* When the publisher dropped its last batches, that is all it hears of them. */
static void test_a_gap_with_nothing_behind_it_is_reported(void **state)
{
    struct sim sim;
    struct byhand *peer;

    (void)state;
    peer = join_by_hand(&sim);
    say_gap(peer, BYHAND_SLOTS, BYHAND_SLOTS + 5);
    sim_event_loop(&sim, 5 * NS_PER_MS, true);
    byhand_poll(peer);
    assert_int_equal(peer->last[CONTROL_CREDIT].credit.placed_next, BYHAND_SLOTS + 5);
    assert_int_equal(peer->last[CONTROL_CREDIT].credit.consumed_next, BYHAND_SLOTS + 5);
    assert_int_equal(sim_sub_stats(&sim, 0).gaps, 5);
    byhand_close(peer);
    sim_close(&sim);
}

static void test_credits_lost_with_a_link_are_told_again_on_the_next(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    sim_publisher(&sim, 0, "batch.in_flight=16", NULL);
    sim_join(&sim, 0);
    while (sim_publish(&sim, 0) == 0)
        embar_publisher_poll(sim.pub[0], 0);
    assert_int_equal(sim.pub[0]->slots.free_count, 0);
    for (int step = 0; step < 200; step++) {
        sim_take(&sim, 0);
        sim_release(&sim, 0);
        embar_subscriber_poll(sim.sub[0].s, 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    backend_mem_cut(sim.pub[0]->peers->conn->link);
    sim_event_loop(&sim, 200 * NS_PER_MS, true);
    assert_int_equal(sim_pub_stats(&sim, 0).reconnects, 1);
    assert_int_equal(sim_publish(&sim, 0), 0);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, sim.published[0]);
    sim_close(&sim);
}

static void test_a_subscriber_that_has_confirmed_sleeps(void **state)
{
    struct sim sim;
    int woken = 0;

    (void)state;
    sim_init_pair(&sim);
    for (int step = 0; step < 10; step++)
        sim_step(&sim);
    assert_int_equal(sim_publish(&sim, 0), 0);
    embar_publisher_finish(sim.pub[0], 0);
    /* From here on the publisher makes no call. */
    for (int step = 0; step < 100; step++) {
        if (embar_subscriber_arm(sim.sub[0].s) == -EAGAIN) {
            woken++;
            sim_take(&sim, 0);
            sim_release(&sim, 0);
            embar_subscriber_poll(sim.sub[0].s, 0);
        }
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(sim.sub[0].messages, 1);
    assert_true(woken < 20);
    assert_int_equal(sim_finish(&sim, 0), 0);
    sim_close(&sim);
}

static void test_an_attempt_longer_than_the_handshake_timeout_costs_nothing(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    sim_publisher(&sim, 0, "handshake_timeout=100ms", NULL);
    /* The subscriber makes no call, so that the link is never accepted. */
    embar_publisher_poll(sim.pub[0], 0);
    for (int ms = 0; ms < 1000; ms++)
        sim_sleep(&sim, NS_PER_MS);
    while (embar_publisher_poll(sim.pub[0], 0) > 0)
        ;
    assert_int_equal(embar_publisher_arm(sim.pub[0]), 0);
    sim_close(&sim);
}

/* The queue to its publisher is full, and nothing else happens that would wake the subscriber. */
static void test_a_credit_that_found_no_room_is_sent_when_there_is_some(void **state)
{
    struct sim sim;
    struct byhand *peer;
    unsigned before;

    (void)state;
    peer = join_by_hand(&sim);
    before = peer->heard[CONTROL_CREDIT];
    /* From here on the peer reads nothing; gaps make the subscriber report again and again. */
    for (uint64_t round = 0; round < 150; round++) {
        say_gap(peer, BYHAND_SLOTS + round, BYHAND_SLOTS + round + 1);
        sim_step(&sim);
        sim_sleep(&sim, 2 * NS_PER_MS);
    }
    sim_step(&sim);
    assert_int_equal(embar_subscriber_arm(sim.sub[0].s), 0); /* it does not spin meanwhile */
    for (int round = 0; round < 10; round++) {
        byhand_poll(peer);
        sim_event_loop(&sim, 2 * NS_PER_MS, true);
    }
    assert_true(peer->heard[CONTROL_CREDIT] > before + MEM_QUEUE);
    assert_int_equal(peer->last[CONTROL_CREDIT].credit.placed_next, BYHAND_SLOTS + 150);
    byhand_close(peer);
    sim_close(&sim);
}

/* In real time: the descriptor of an event loop that was left expired. */
static void test_an_expired_timer_does_not_end_later_waits(void **state)
{
    struct sim sim;
    struct endpoint *endpoint;
    uint64_t begin;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "progress=event", NULL);
    endpoint = &sim.sub[0].s->endpoint;
    /* The simulation's time began with the machine's, and so is long over for the timer. */
    assert_int_equal(endpoint_arm(endpoint, env_now_ns(sim_env()) + NS_PER_MS), 0);
    begin = env_now_ns(&env_system);
    endpoint_wait(endpoint, env_now_ns(sim_env()) + 20 * NS_PER_MS);
    assert_true(env_now_ns(&env_system) - begin > 15 * NS_PER_MS);
    sim_close(&sim);
}

static void test_a_write_that_cannot_be_made_ends_the_link_with_a_sentence(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    sim.pub[0]->peers->slot_bytes = 1 << 30; /* slot 1 then lies outside of what was granted */
    for (int i = 0; i < 100; i++) {
        sim_publish(&sim, 0);
        embar_publisher_poll(sim.pub[0], 0);
    }
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_non_null(strstr(embar_publisher_failure(sim.pub[0])->text, "cannot be written"));
    sim_close(&sim);
}

static void test_a_publish_after_finish_changes_nothing(void **state)
{
    struct sim sim;
    void *room;

    (void)state;
    sim_init_pair(&sim);
    assert_int_equal(embar_reserve(sim.pub[0], 8, &room), 0);
    assert_int_equal(embar_publisher_finish(sim.pub[0], 0), -ETIMEDOUT);
    assert_int_equal(sim_publish(&sim, 0), -EINVAL);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim_pub_stats(&sim, 0).batches, 0);
    sim_close(&sim);
}

static void test_idle_streams_wake_nobody(void **state)
{
    struct sim sim;
    int woken = 0;

    (void)state;
    sim_init_pair(&sim);
    assert_int_equal(sim_publish(&sim, 0), 0);
    sim_event_loop(&sim, 50 * NS_PER_MS, true);
    assert_int_equal(sim.sub[0].messages, 1);
    for (int second = 0; second < 1000; second++) {
        woken += embar_publisher_arm(sim.pub[0]) != 0;
        woken += embar_subscriber_arm(sim.sub[0].s) != 0;
        sim_sleep(&sim, NS_PER_S);
    }
    assert_int_equal(woken, 0);
    sim_close(&sim);
}

int run_waiting_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_refused_publish_is_woken_when_the_stall_begins),
        cmocka_unit_test(test_a_slow_subscriber_is_evicted_while_the_caller_waits_in_poll),
        cmocka_unit_test(test_reserved_room_outlives_the_linger),
        cmocka_unit_test(test_a_release_reaches_the_publisher_without_another_call),
        cmocka_unit_test(test_a_gap_with_nothing_behind_it_is_reported),
        cmocka_unit_test(test_credits_lost_with_a_link_are_told_again_on_the_next),
        cmocka_unit_test(test_a_subscriber_that_has_confirmed_sleeps),
        cmocka_unit_test(test_an_attempt_longer_than_the_handshake_timeout_costs_nothing),
        cmocka_unit_test(test_a_credit_that_found_no_room_is_sent_when_there_is_some),
        cmocka_unit_test(test_an_expired_timer_does_not_end_later_waits),
        cmocka_unit_test(test_a_write_that_cannot_be_made_ends_the_link_with_a_sentence),
        cmocka_unit_test(test_a_publish_after_finish_changes_nothing),
        cmocka_unit_test(test_idle_streams_wake_nobody),
    };

    return cmocka_run_group_tests_name("waiting", tests, NULL, NULL);
}
