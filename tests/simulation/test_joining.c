/* Who may join whom, who is refused with which sentence, and how a stream ends that carried nothing
 * or that one side leaves. */
#include <errno.h>
#include <string.h>

#include "simulation/sim.h"
#include "simulation/tests.h"

static void test_one_publisher_more_than_max_links_is_refused_with_the_reason(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "subscriber.max_links=2", NULL);
    for (unsigned i = 0; i < 2; i++)
        sim_publisher(&sim, i, NULL);
    sim_join(&sim, 0);
    sim_join(&sim, 1);
    sim_publisher(&sim, 2, NULL);
    for (int step = 0; step < 1000; step++)
        sim_step(&sim);
    assert_int_equal(embar_publisher_failure(sim.pub[2])->error, ECONNREFUSED);
    assert_non_null(strstr(embar_publisher_failure(sim.pub[2])->text, "subscriber.max_links of 2"));
    assert_int_equal(embar_publish(sim.pub[2], "x", 1), -ECONNREFUSED);
    assert_int_equal(embar_publisher_failure(sim.pub[0])->error, 0);
    sim_close(&sim);
}

static void expect_refusal(const char *subscriber_setting, const char *publisher_setting,
                           const char *sentence)
{
    struct sim sim;

    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, subscriber_setting, NULL);
    sim_publisher(&sim, 0, publisher_setting, NULL);
    for (int step = 0; step < 1000; step++)
        sim_step(&sim);
    assert_int_equal(embar_publisher_failure(sim.pub[0])->error, ECONNREFUSED);
    if (!strstr(embar_publisher_failure(sim.pub[0])->text, sentence))
        fail_msg("'%s' does not say '%s'", embar_publisher_failure(sim.pub[0])->text, sentence);
    sim_close(&sim);
}

static void test_another_stream_or_larger_batches_are_refused_with_the_reason(void **state)
{
    (void)state;
    expect_refusal("stream=a", "stream=b", "stream 'b' was asked for, this is stream 'a'");
    expect_refusal("batch.size=4KiB", "batch.size=8KiB",
                   "batches of 8192 bytes do not fit into slots of 4096");
}

static void test_a_publisher_cannot_join_a_publisher(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", NULL);
    sim_publisher(&sim, 1, NULL);
    for (int step = 0; step < 1000; step++)
        sim_step(&sim);
    assert_non_null(
        strstr(embar_publisher_failure(sim.pub[1])->text, "a publisher cannot join a publisher"));
    sim_close(&sim);
}

static void test_nobody_listening_fails_after_connect_timeout_and_not_before(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "connect_timeout=2s", NULL);
    for (int step = 0; step < 15; step++) {
        sim_step(&sim);
        sim_sleep(&sim, 100 * NS_PER_MS);
    }
    assert_int_equal(embar_publisher_failure(sim.pub[0])->error, 0);
    assert_int_equal(embar_publish(sim.pub[0], "x", 1), -EAGAIN);
    for (int step = 0; step < 40; step++) {
        sim_step(&sim);
        sim_sleep(&sim, 100 * NS_PER_MS);
    }
    assert_int_not_equal(embar_publisher_failure(sim.pub[0])->error, 0);
    assert_non_null(strstr(embar_publisher_failure(sim.pub[0])->text, "within connect_timeout"));
    sim_close(&sim);
}

static void test_a_subscriber_that_starts_later_is_found_by_retrying(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, NULL);
    for (int step = 0; step < 10; step++) {
        sim_step(&sim);
        sim_sleep(&sim, 100 * NS_PER_MS);
    }
    sim_subscriber(&sim, 0, NULL);
    for (int step = 0; step < 20; step++) {
        sim_step(&sim);
        sim_sleep(&sim, 100 * NS_PER_MS);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).peers_joined, 1);
    sim_close(&sim);
}

static void test_the_publisher_may_listen(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", NULL);
    sim_subscriber(&sim, 0, "subscriber.connect=127.0.0.1:9400", NULL);
    sim_join(&sim, 0);
    while (sim.published[0] < 500)
        if (sim_publish(&sim, 0) == -EAGAIN)
            sim_step(&sim);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 500);
    sim_close(&sim);
}

static void test_a_publisher_that_closes_without_finishing_is_lost_at_once(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    assert_int_equal(sim_publish(&sim, 0), 0);
    sim_close_publisher(&sim, 0);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_lost, 1);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_finished, 0);
    sim_close(&sim);
}

static void test_a_subscriber_that_leaves_fails_a_publisher_that_needs_it(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    assert_int_equal(sim_publish(&sim, 0), 0);
    sim_close_subscriber(&sim, 0);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(embar_publisher_failure(sim.pub[0])->error, ENOTCONN);
    assert_int_equal(embar_publish(sim.pub[0], "x", 1), -ENOTCONN);
    sim_close(&sim);
}

static void test_no_message_at_all_is_a_stream_too(void **state)
{
    struct sim sim;

    (void)state;
    sim_init_pair(&sim);
    assert_int_equal(sim_finish(&sim, 0), 0);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_finished, 1);
    sim_close(&sim);
}

int run_joining_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_publisher_more_than_max_links_is_refused_with_the_reason),
        cmocka_unit_test(test_another_stream_or_larger_batches_are_refused_with_the_reason),
        cmocka_unit_test(test_a_publisher_cannot_join_a_publisher),
        cmocka_unit_test(test_nobody_listening_fails_after_connect_timeout_and_not_before),
        cmocka_unit_test(test_a_subscriber_that_starts_later_is_found_by_retrying),
        cmocka_unit_test(test_the_publisher_may_listen),
        cmocka_unit_test(test_a_publisher_that_closes_without_finishing_is_lost_at_once),
        cmocka_unit_test(test_a_subscriber_that_leaves_fails_a_publisher_that_needs_it),
        cmocka_unit_test(test_no_message_at_all_is_a_stream_too),
    };

    return cmocka_run_group_tests_name("joining", tests, NULL, NULL);
}
