/* When a subscriber reports: at once where the publisher waits for it, otherwise a few batches
 * together, or when nothing comes any more. */
#include <errno.h>

#include "simulation/sim.h"
#include "simulation/tests.h"
#include "stream/publisher.h"

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
        cmocka_unit_test(test_half_of_the_look_ahead_is_told_without_a_wait),
        cmocka_unit_test(test_a_flush_up_to_consumed_is_answered_at_once),
        cmocka_unit_test(test_a_flush_up_to_placed_is_answered_before_the_release),
        cmocka_unit_test(test_a_caller_with_its_own_loop_does_not_sleep_on_a_credit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
