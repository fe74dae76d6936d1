/* When a subscriber reports: at once where the publisher waits for it, otherwise a few batches
 * together, or when nothing comes any more. */
#include <errno.h>

#include "simulation/sim.h"
#include "simulation/tests.h"
#include "stream/publisher.h"
#include "stream/subscriber.h"

/* Longer than any spinning before sleep, and far shorter than what bounds a report without it. */
#define QUIET_NS (100 * NS_PER_US)

static bool knows(struct sim *sim, enum embar_level level)
{
    embar_publisher_poll(sim->pub[0], 0);
    return embar_flush(sim->pub[0], level, 0) == 0;
}

/* One batch, flushed up to `level`, comes to the subscriber, which holds it. */
static void deliver_one(struct sim *sim, enum embar_level level)
{
    assert_int_equal(sim_publish(sim, 0), 0);
    embar_flush(sim->pub[0], level, 0);
    while (sim_take(sim, 0) == 0)
        embar_publisher_poll(sim->pub[0], 0);
}

static void test_a_lone_credit_waits_until_nothing_comes(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    deliver_one(&sim, EMBAR_SENT);
    sim_release(&sim, 0);
    embar_subscriber_poll(sim.sub[0].s, 0);
    assert_false(knows(&sim, EMBAR_CONSUMED));
    sim_sleep(&sim, QUIET_NS);
    embar_subscriber_poll(sim.sub[0].s, 0);
    assert_true(knows(&sim, EMBAR_CONSUMED));
    sim_close(&sim);
}

/* By the clock of a poll it is too early, by that of the wait behind it late enough to sleep. */
static void test_nobody_sleeps_before_the_poll_that_reports(void **state)
{
    struct sim sim;
    struct endpoint *endpoint;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "progress=adaptive", NULL);
    sim_publisher(&sim, 0, NULL);
    sim_join(&sim, 0);
    deliver_one(&sim, EMBAR_SENT);
    sim_release(&sim, 0);
    endpoint = &sim.sub[0].s->endpoint;
    embar_subscriber_poll(sim.sub[0].s, 0);
    assert_false(knows(&sim, EMBAR_CONSUMED));
    sim_sleep(&sim, QUIET_NS);
    endpoint->timer_ns = 1; /* going to sleep sets it */
    endpoint_wait(endpoint, endpoint->now_ns + NS_PER_S);
    assert_int_equal(endpoint->timer_ns, 1);
    sim_close(&sim);
}

/* Batches go over one by one; the application keeps `keep` of them, and gives the oldest back. */
static void expect_credits_to_keep_up(struct sim *sim, unsigned keep)
{
    uint64_t released = 0;

    for (unsigned i = 0; i < 50; i++) {
        deliver_one(sim, EMBAR_SENT);
        if (sim->sub[0].held_count <= keep)
            continue;
        sim_release(sim, 0);
        released++;
        embar_publisher_poll(sim->pub[0], 0);
        assert_true(released - sim->pub[0]->level_next[EMBAR_CONSUMED] <= 1);
    }
    assert_int_equal(released, 50 - keep);
}

static void test_credits_keep_up_with_an_application_that_holds_most_batches(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    expect_credits_to_keep_up(&sim, 5); /* of 8 in flight */
    sim_close(&sim);
}

static void test_credits_keep_up_with_a_subscriber_of_few_slots(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "buffer.size=16KiB", "batch.in_flight=2", NULL);
    sim_publisher(&sim, 0, NULL);
    sim_join(&sim, 0);
    expect_credits_to_keep_up(&sim, 0);
    sim_close(&sim);
}

static void test_half_of_the_look_ahead_is_told_without_a_wait(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    for (int i = 0; i < sim.pub[0]->options.batch_in_flight / 2; i++) {
        assert_false(i > 0 && knows(&sim, EMBAR_CONSUMED));
        deliver_one(&sim, EMBAR_SENT);
        sim_release(&sim, 0);
    }
    assert_true(knows(&sim, EMBAR_CONSUMED));
    sim_close(&sim);
}

static void test_a_flush_up_to_consumed_is_answered_at_once(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    deliver_one(&sim, EMBAR_CONSUMED);
    sim_release(&sim, 0);
    assert_true(knows(&sim, EMBAR_CONSUMED));
    sim_close(&sim);
}

static void test_a_flush_up_to_placed_is_answered_before_the_release(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    deliver_one(&sim, EMBAR_PLACED);
    assert_true(knows(&sim, EMBAR_PLACED));
    assert_false(knows(&sim, EMBAR_CONSUMED));
    sim_close(&sim);
}

static void test_a_caller_with_its_own_loop_does_not_sleep_on_a_credit(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    deliver_one(&sim, EMBAR_SENT);
    sim_release(&sim, 0);
    while (embar_subscriber_arm(sim.sub[0].s) == -EAGAIN)
        embar_subscriber_poll(sim.sub[0].s, 0);
    assert_true(knows(&sim, EMBAR_CONSUMED));
    sim_close(&sim);
}

int run_report_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lone_credit_waits_until_nothing_comes),
        cmocka_unit_test(test_nobody_sleeps_before_the_poll_that_reports),
        cmocka_unit_test(test_credits_keep_up_with_an_application_that_holds_most_batches),
        cmocka_unit_test(test_credits_keep_up_with_a_subscriber_of_few_slots),
        cmocka_unit_test(test_half_of_the_look_ahead_is_told_without_a_wait),
        cmocka_unit_test(test_a_flush_up_to_consumed_is_answered_at_once),
        cmocka_unit_test(test_a_flush_up_to_placed_is_answered_before_the_release),
        cmocka_unit_test(test_a_caller_with_its_own_loop_does_not_sleep_on_a_credit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
