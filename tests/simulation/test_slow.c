/* Slow subscribers: what `drop` and `evict` do for the others, and to nobody else. */
#include <errno.h>
#include <stdio.h>

#include "simulation/byhand.h"
#include "simulation/sim.h"
#include "simulation/tests.h"
#include "stream/publisher.h"
#include "stream/subscriber.h"
#include "support/backend_mem.h"

/* Subscribers 0 and 1, and a publisher that both have joined. */
static void open_two(struct sim *sim, const char *policy, const char *setting)
{
    sim_init(sim, 1);
    sim_subscriber(sim, 0, "subscriber.listen=127.0.0.1:9500", NULL);
    sim_subscriber(sim, 1, "subscriber.listen=127.0.0.1:9501", NULL);
    sim_publisher(sim, 0, "slow_timeout=5ms", "publisher.connect=127.0.0.1:9500,127.0.0.1:9501",
                  policy, setting, NULL);
    for (int step = 0; step < 50; step++)
        sim_step(sim);
    assert_int_equal(sim_pub_stats(sim, 0).peers_up, 2);
}

/* Publishes up to message `target` in at most 3 s; only subscriber 0 makes calls. */
static void publish_for_one(struct sim *sim, uint64_t target)
{
    for (int ms = 0; ms < 3000 && sim->published[0] < target; ms++) {
        while (sim->published[0] < target && sim_publish(sim, 0) == 0)
            ;
        embar_publisher_poll(sim->pub[0], 0);
        sim_take(sim, 0);
        while (sim->sub[0].held_count > 0)
            sim_release(sim, 0);
        sim_sleep(sim, NS_PER_MS);
    }
    assert_int_equal(sim->published[0], target);
}

static void test_writes_stuck_at_an_evicted_subscriber_cost_the_others_nothing(void **state)
{
    struct sim sim;

    (void)state;
    open_two(&sim, "slow_subscriber=evict", NULL);
    publish_for_one(&sim, 1000);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 1);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_up, 1);
    assert_int_equal(sim_finish(&sim, 0), -ENOTCONN);
    assert_int_equal(sim.sub[0].messages, 1000);
    for (int step = 0; step < 50; step++)
        sim_step(&sim);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_finished, 1);
    sim_close(&sim);
}

static void test_dropping_for_a_subscriber_that_reads_nothing_goes_on_for_the_others(void **state)
{
    struct sim sim;

    (void)state;
    open_two(&sim, "slow_subscriber=drop", NULL);
    publish_for_one(&sim, 3000);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_up, 2);
    /* It wakes up, and what it missed is counted. */
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 3000);
    assert_int_equal(sim_sub_stats(&sim, 0).gaps, 0);
    assert_true(sim_sub_stats(&sim, 1).gaps > 0);
    assert_int_equal(sim.sub[1].messages + sim_sub_stats(&sim, 1).gaps, 3000);
    assert_int_equal(sim_pub_stats(&sim, 0).gaps, sim_sub_stats(&sim, 1).gaps);
    sim_close(&sim);
}

static void test_a_subscriber_that_stays_slow_is_waited_for_once(void **state)
{
    struct sim sim;

    (void)state;
    open_two(&sim, "slow_subscriber=drop", "slow_timeout=1s");
    publish_for_one(&sim, 3000); /* in 3 s: twenty times the buffer */
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 3000);
    assert_int_equal(sim.sub[1].messages + sim_sub_stats(&sim, 1).gaps, 3000);
    sim_close(&sim);
}

static void test_writes_that_hold_every_slot_cost_a_dropped_subscriber_its_link(void **state)
{
    struct sim sim;

    (void)state;
    open_two(&sim, "slow_subscriber=drop", "batch.in_flight=16");
    publish_for_one(&sim, 300);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 300);
    assert_int_equal(sim.sub[1].messages + sim_sub_stats(&sim, 1).gaps, 300);
    assert_true(sim_pub_stats(&sim, 0).reconnects >= 1);
    sim_close(&sim);
}

static void test_a_lagging_subscriber_leaves_the_others_the_whole_buffer(void **state)
{
    struct sim sim;
    int refused = 0;

    (void)state;
    open_two(&sim, "slow_subscriber=block", NULL);
    publish_for_one(&sim, 20);
    backend_mem_cut(sim.pub[0]->peers->conn->link);
    /* Credits of subscriber 0 flow; the other is away. The slots are there to ride that out. */
    while (sim.pub[0]->slots.free_count > 0) {
        if (sim_publish(&sim, 0) == -EAGAIN)
            refused++;
        embar_publisher_poll(sim.pub[0], 0);
        sim_take(&sim, 0);
        while (sim.sub[0].held_count > 0)
            sim_release(&sim, 0);
        embar_subscriber_poll(sim.sub[0].s, 0);
        sim_sleep(&sim, 20 * NS_PER_US);
        assert_true(refused < 100);
    }
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[1].messages, sim.published[0]);
    sim_close(&sim);
}

/* Publishes until no slot is free, polling all the while. */
static void fill(struct sim *sim)
{
    while (sim_publish(sim, 0) == 0)
        embar_publisher_poll(sim->pub[0], 0);
    assert_int_equal(sim->pub[0]->slots.free_count, 0);
}

/* Batches that were dropped for one subscriber are kept for the other only. When the link of the
 * first is lost then, it is not sent what lies in their slots later. */
static void test_slots_that_were_let_go_are_not_sent_after_a_reconnect(void **state)
{
    struct sim sim;
    struct byhand *fast, *slow;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", "slow_subscriber=drop",
                  "slow_timeout=1s", NULL);
    fast = byhand_open(ROLE_SUBSCRIBER, 1, NULL);
    slow = byhand_open(ROLE_SUBSCRIBER, 2, NULL);
    byhand_join(&sim, fast, ANY_SEQUENCE);
    byhand_join(&sim, slow, ANY_SEQUENCE);
    fill(&sim);
    byhand_step(&sim, fast, 10);
    byhand_step(&sim, slow, 10);
    byhand_credit(fast, 8, 4, 4);
    byhand_credit(slow, 8, 0, 0);
    byhand_step(&sim, fast, 2);
    assert_int_equal(sim_publish(&sim, 0), -EAGAIN);
    sim_sleep(&sim, 1001 * NS_PER_MS);
    assert_int_equal(sim_publish(&sim, 0), 0); /* 8 to 15 are dropped for the slow one */
    byhand_step(&sim, slow, 2);
    assert_int_equal(slow->heard[CONTROL_GAP], 1);
    byhand_abort(slow);
    slow->taken[0] = 0xff; /* it holds batches 0 to 7 still */
    byhand_join(&sim, slow, 8);
    assert_int_equal(slow->last[CONTROL_START].start.first_sequence, 8);
    byhand_step(&sim, fast, 10);
    byhand_credit(fast, 12, 12, 0);
    byhand_step(&sim, fast, 2);
    for (int ms = 0; ms < 200; ms++) { /* would reuse the slots of batches 8 to 11 */
        sim_publish(&sim, 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    byhand_credit(slow, 8, 8, 1);
    byhand_step(&sim, slow, 10);
    assert_int_equal(slow->arrivals, 9);
    assert_int_equal(slow->sequence, 8);
    sim_close(&sim);
}

/* Messages and writes are not ordered against each other: a second gap must not be told before the
 * subscriber has come past the first. */
static void test_a_second_gap_waits_until_the_first_is_behind(void **state)
{
    struct sim sim;
    struct byhand *slow;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", "slow_subscriber=drop",
                  "slow_timeout=5ms", NULL);
    slow = byhand_open(ROLE_SUBSCRIBER, 2, NULL);
    byhand_join(&sim, slow, ANY_SEQUENCE);
    fill(&sim);
    sim_sleep(&sim, 6 * NS_PER_MS);
    sim_publish(&sim, 0);
    byhand_step(&sim, slow, 4);
    assert_int_equal(slow->heard[CONTROL_GAP], 1); /* over 8 to 15 */
    byhand_credit(slow, 4, 4, 4);                  /* batches 4 to 7 are still under way */
    byhand_step(&sim, slow, 4);
    for (int ms = 0; ms < 100; ms++) {
        sim_publish(&sim, 0);
        byhand_step(&sim, slow, 1);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_true(slow->sequence >= 16);
    assert_int_equal(slow->heard[CONTROL_GAP], 1);
    byhand_credit(slow, 17, 4, 0);
    byhand_step(&sim, slow, 4);
    assert_int_equal(slow->heard[CONTROL_GAP], 2);
    sim_close(&sim);
}

static void test_a_stall_ends_with_the_link(void **state)
{
    struct sim sim;
    uint64_t stalled;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", NULL);
    for (unsigned i = 0; i < 2; i++)
        sim_subscriber(&sim, i, "subscriber.connect=127.0.0.1:9400", NULL);
    for (int step = 0; step < 50; step++)
        sim_step(&sim);
    while (sim_publish(&sim, 0) == 0) {
        embar_publisher_poll(sim.pub[0], 0);
        sim_take(&sim, 0); /* and release nothing */
        sim_take(&sim, 1);
        sim_sleep(&sim, 11 * NS_PER_MS);
    }
    assert_true(sim_pub_stats(&sim, 0).credit_stall_ns > 0);
    sim_close_subscriber(&sim, 0);
    sim_close_subscriber(&sim, 1);
    for (int step = 0; step < 50; step++)
        sim_step(&sim);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 2);
    stalled = sim_pub_stats(&sim, 0).credit_stall_ns;
    sim_sleep(&sim, 100 * NS_PER_MS);
    sim_step(&sim);
    assert_int_equal(sim_pub_stats(&sim, 0).credit_stall_ns, stalled);
    sim_close(&sim);
}

int run_slow_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_stuck_at_an_evicted_subscriber_cost_the_others_nothing),
        cmocka_unit_test(test_dropping_for_a_subscriber_that_reads_nothing_goes_on_for_the_others),
        cmocka_unit_test(test_a_subscriber_that_stays_slow_is_waited_for_once),
        cmocka_unit_test(test_writes_that_hold_every_slot_cost_a_dropped_subscriber_its_link),
        cmocka_unit_test(test_a_lagging_subscriber_leaves_the_others_the_whole_buffer),
        cmocka_unit_test(test_slots_that_were_let_go_are_not_sent_after_a_reconnect),
        cmocka_unit_test(test_a_stall_ends_with_the_link),
        cmocka_unit_test(test_a_second_gap_waits_until_the_first_is_behind),
    };

    return cmocka_run_group_tests_name("slow", tests, NULL, NULL);
}
