/* The tracker of zero-copy completions never calls a send over before the kernel has said so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tcp/zerocopy.h"

static struct tcp_zerocopy tracker;

static void send_calls(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tcp_zerocopy_sent(&tracker);
}

static void test_calls_are_numbered_from_zero(void **state)
{
    (void)state;
    tcp_zerocopy_init(&tracker, 0);
    assert_int_equal(tcp_zerocopy_sent(&tracker), 0);
    assert_int_equal(tcp_zerocopy_sent(&tracker), 1);
    assert_int_equal(tcp_zerocopy_outstanding(&tracker), 2);
    assert_int_equal(tracker.sends, 2);
}

static void test_call_is_over_when_the_kernel_says_so_and_not_before(void **state)
{
    (void)state;
    tcp_zerocopy_init(&tracker, 0);
    send_calls(2);
    assert_false(tcp_zerocopy_over(&tracker, 0));
    assert_int_equal(tcp_zerocopy_complete(&tracker, 0, 0, false), 1);
    assert_true(tcp_zerocopy_over(&tracker, 0));
    assert_false(tcp_zerocopy_over(&tracker, 1));
}

static void test_coalesced_range_completes_all_its_calls(void **state)
{
    (void)state;
    tcp_zerocopy_init(&tracker, 0);
    send_calls(10);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 0, 8, true), 9);
    assert_true(tcp_zerocopy_over(&tracker, 8));
    assert_false(tcp_zerocopy_over(&tracker, 9));
    assert_int_equal(tracker.copied, 9);
}

static void test_range_out_of_order_waits_for_the_earlier_calls(void **state)
{
    (void)state;
    tcp_zerocopy_init(&tracker, 0);
    send_calls(4);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 2, 3, false), 2);
    assert_false(tcp_zerocopy_over(&tracker, 2));
    assert_int_equal(tcp_zerocopy_complete(&tracker, 1, 1, false), 1);
    assert_false(tcp_zerocopy_over(&tracker, 1));
    assert_int_equal(tcp_zerocopy_complete(&tracker, 0, 0, false), 1);
    assert_true(tcp_zerocopy_over(&tracker, 3));
    assert_int_equal(tcp_zerocopy_outstanding(&tracker), 0);
}

static void test_range_across_the_wrap_of_the_numbers_is_right(void **state)
{
    (void)state;
    tcp_zerocopy_init(&tracker, UINT32_MAX - 2);
    send_calls(6); /* MAX-2, MAX-1, MAX, 0, 1, 2 */
    assert_int_equal(tcp_zerocopy_complete(&tracker, UINT32_MAX, 1, false), 3);
    assert_false(tcp_zerocopy_over(&tracker, UINT32_MAX - 2));
    assert_int_equal(tcp_zerocopy_complete(&tracker, UINT32_MAX - 2, UINT32_MAX - 1, false), 2);
    assert_true(tcp_zerocopy_over(&tracker, UINT32_MAX));
    assert_true(tcp_zerocopy_over(&tracker, 1));
    assert_false(tcp_zerocopy_over(&tracker, 2));
}

static void test_duplicate_completion_is_refused_and_changes_nothing(void **state)
{
    struct tcp_zerocopy before;

    (void)state;
    tcp_zerocopy_init(&tracker, 0);
    send_calls(4);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 2, 2, false), 1);
    before = tracker;
    assert_int_equal(tcp_zerocopy_complete(&tracker, 2, 2, true), -ERANGE);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 1, 3, true), -ERANGE);
    assert_memory_equal(&tracker, &before, sizeof(before));
    assert_int_equal(tcp_zerocopy_complete(&tracker, 0, 1, false), 2);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 0, 0, false), -ERANGE); /* below the floor */
}

static void test_completion_of_calls_never_made_is_refused(void **state)
{
    (void)state;
    tcp_zerocopy_init(&tracker, 0);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 0, 0, false), -ERANGE);
    send_calls(4);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 3, 4, false), -ERANGE);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 4, 4, false), -ERANGE);
    assert_int_equal(tcp_zerocopy_complete(&tracker, UINT32_MAX, 0, false), -ERANGE);
    assert_int_equal(tcp_zerocopy_complete(&tracker, 1, 0, false), -ERANGE); /* all 2^32 */
    assert_int_equal(tcp_zerocopy_outstanding(&tracker), 4);
    assert_false(tcp_zerocopy_over(&tracker, 0));
}

static void test_full_window_says_so_until_a_call_is_over(void **state)
{
    (void)state;
    tcp_zerocopy_init(&tracker, 12345);
    assert_false(tcp_zerocopy_full(&tracker));
    send_calls(TCP_ZEROCOPY_WINDOW - 1);
    assert_false(tcp_zerocopy_full(&tracker));
    send_calls(1);
    assert_true(tcp_zerocopy_full(&tracker));
    tcp_zerocopy_complete(&tracker, 12346, 12346, false);
    assert_true(tcp_zerocopy_full(&tracker)); /* the first one still holds the window */
    tcp_zerocopy_complete(&tracker, 12345, 12345, false);
    assert_false(tcp_zerocopy_full(&tracker));
}

/* A model: every call is completed exactly once, in random ranges of random order. */
static void test_tracker_agrees_with_a_model_over_many_random_schedules(void **state)
{
    enum { CALLS = 3000 };
    static uint8_t over[CALLS]; /* as the kernel reported */
    const uint32_t first = UINT32_MAX - 1000;
    uint32_t sent = 0, all_over = 0;

    (void)state;
    srand(1);
    memset(over, 0, sizeof(over));
    tcp_zerocopy_init(&tracker, first);
    while (all_over < CALLS) {
        uint32_t span = sent - all_over, lo, hi;

        if (sent < CALLS && !tcp_zerocopy_full(&tracker) && rand() % 2) {
            assert_int_equal(tcp_zerocopy_sent(&tracker), first + sent);
            sent++;
            continue;
        }
        if (span == 0)
            continue;
        lo = all_over + (uint32_t)rand() % span;
        if (over[lo]) {
            assert_int_equal(tcp_zerocopy_complete(&tracker, first + lo, first + lo, false),
                             -ERANGE);
            continue;
        }
        for (hi = lo; hi + 1 < sent && !over[hi + 1] && rand() % 4; hi++)
            continue;
        assert_int_equal(tcp_zerocopy_complete(&tracker, first + lo, first + hi, false),
                         hi - lo + 1);
        memset(over + lo, 1, hi - lo + 1);
        while (all_over < sent && over[all_over])
            all_over++;
        assert_int_equal(tcp_zerocopy_outstanding(&tracker), sent - all_over);
        if (all_over > 0)
            assert_true(tcp_zerocopy_over(&tracker, first + all_over - 1));
        assert_false(tcp_zerocopy_over(&tracker, first + all_over));
    }
    assert_int_equal(tracker.sends, CALLS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_are_numbered_from_zero),
        cmocka_unit_test(test_call_is_over_when_the_kernel_says_so_and_not_before),
        cmocka_unit_test(test_coalesced_range_completes_all_its_calls),
        cmocka_unit_test(test_range_out_of_order_waits_for_the_earlier_calls),
        cmocka_unit_test(test_range_across_the_wrap_of_the_numbers_is_right),
        cmocka_unit_test(test_duplicate_completion_is_refused_and_changes_nothing),
        cmocka_unit_test(test_completion_of_calls_never_made_is_refused),
        cmocka_unit_test(test_full_window_says_so_until_a_call_is_over),
        cmocka_unit_test(test_tracker_agrees_with_a_model_over_many_random_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
