/* When a publisher that only publishes looks at the linger of its open batch: seldom where messages
 * come fast, and in time at every pace. Each look at the simulated clock moves it on by 1 us, so
 * looks can be counted. */
#include "simulation/sim.h"
#include "simulation/tests.h"
#include "stream/publisher.h"

#define LOOK_NS NS_PER_US

static void join_with(struct sim *sim, const char *linger)
{
    sim_init(sim, 1);
    sim_subscriber(sim, 0, "buffer.size=1MiB", "batch.size=64KiB", NULL);
    sim_publisher(sim, 0, "buffer.size=1MiB", "batch.size=64KiB", linger, NULL);
    sim_join(sim, 0);
}

/* Publishes a small message, and then time passes. */
static void publish_and_pause(struct sim *sim, uint64_t pause_ns)
{
    assert_int_equal(embar_publish(sim->pub[0], "message", 7), 0);
    sim_sleep(sim, pause_ns);
}

/* Publishes at a pace until the batch has gone; returns at what age, counted to its last message.
 */
static uint64_t age_at_that_pace(struct sim *sim, uint64_t first_ns, uint64_t pause_ns)
{
    uint64_t last_ns;

    do {
        last_ns = sim_now_ns();
        assert_true(last_ns - first_ns < NS_PER_S);
        publish_and_pause(sim, pause_ns);
    } while (sim->pub[0]->next_seq == 0);
    return last_ns - first_ns;
}

static void test_fast_messages_look_at_the_clock_every_64(void **state)
{
    struct sim sim;
    uint64_t before, looks;

    (void)state;
    join_with(&sim, "batch.linger=1s");
    before = sim_now_ns();
    for (int i = 0; i < 3200; i++)
        publish_and_pause(&sim, 0);
    looks = (sim_now_ns() - before) / LOOK_NS;
    assert_int_equal(sim.pub[0]->next_seq, 0);
    /* And at the first ones, until there is a pace. */
    assert_in_range(looks, 3200 / 64, 3200 / 64 + 10);
    sim_close(&sim);
}

static void test_a_batch_goes_with_the_first_message_after_its_linger_at_any_steady_pace(
    void **state)
{
    static const uint64_t pauses_us[] = {10, 100, 700, 3000, 11000, 25000};

    (void)state;
    for (unsigned i = 0; i < sizeof pauses_us / sizeof *pauses_us; i++) {
        struct sim sim;
        uint64_t pause_ns = pauses_us[i] * NS_PER_US, age;

        join_with(&sim, "batch.linger=20ms");
        age = age_at_that_pace(&sim, sim_now_ns(), pause_ns);
        assert_in_range(age + 5 * LOOK_NS, 20 * NS_PER_MS,
                        20 * NS_PER_MS + pause_ns + 50 * LOOK_NS);
        sim_close(&sim);
    }
}

static void test_a_pace_that_falls_to_a_fourth_makes_no_batch_late(void **state)
{
    struct sim sim;
    uint64_t first_ns, age;

    (void)state;
    join_with(&sim, "batch.linger=64ms");
    first_ns = sim_now_ns();
    for (int i = 0; i < 16; i++)
        publish_and_pause(&sim, NS_PER_MS);
    age = age_at_that_pace(&sim, first_ns, 4 * NS_PER_MS);
    assert_in_range(age, 64 * NS_PER_MS, 68 * NS_PER_MS);
    sim_close(&sim);
}

static void test_two_messages_at_once_are_no_pace(void **state)
{
    struct sim sim;
    uint64_t first_ns, age;

    (void)state;
    join_with(&sim, "batch.linger=20ms");
    first_ns = sim_now_ns();
    publish_and_pause(&sim, 0);
    age = age_at_that_pace(&sim, first_ns, 6 * NS_PER_MS);
    assert_in_range(age, 20 * NS_PER_MS - 10 * LOOK_NS, 26 * NS_PER_MS);
    sim_close(&sim);
}

int run_linger_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fast_messages_look_at_the_clock_every_64),
        cmocka_unit_test(
            test_a_batch_goes_with_the_first_message_after_its_linger_at_any_steady_pace),
        cmocka_unit_test(test_a_pace_that_falls_to_a_fourth_makes_no_batch_late),
        cmocka_unit_test(test_two_messages_at_once_are_no_pace),
    };

    return cmocka_run_group_tests_name("linger", tests, NULL, NULL);
}
