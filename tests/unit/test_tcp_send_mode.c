/* Automatic choice of the send mode: honest about copies, slow to change its mind, never final. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tcp/send_mode.h"

#define LIMIT 65536u

static struct tcp_send_mode mode;
static uint64_t now;

static void begin(enum tcp_send_setting setting)
{
    now = 1000;
    tcp_send_mode_init(&mode, setting, LIMIT);
}

static bool large(void)
{
    return tcp_send_mode_choose(&mode, LIMIT, now);
}

/* `count` calls complete one by one; returns how often the mode changed. */
static unsigned complete(unsigned count, bool copied)
{
    unsigned changes = 0;

    for (unsigned i = 0; i < count; i++)
        changes += tcp_send_mode_completed(&mode, 1, copied, now);
    return changes;
}

static void fall_back(void)
{
    begin(TCP_SEND_AUTO);
    assert_int_equal(complete(TCP_SEND_WINDOW, true), 1);
    assert_false(large());
}

static void test_auto_begins_with_zerocopy_for_payloads_of_the_limit(void **state)
{
    (void)state;
    begin(TCP_SEND_AUTO);
    assert_true(tcp_send_mode_choose(&mode, LIMIT, now));
    assert_false(tcp_send_mode_choose(&mode, LIMIT - 1, now));
    assert_string_equal(tcp_send_mode_name(&mode), "zerocopy");
}

static void test_auto_changes_to_copy_after_a_window_that_the_kernel_copied(void **state)
{
    (void)state;
    begin(TCP_SEND_AUTO);
    assert_int_equal(complete(TCP_SEND_WINDOW - 1, true), 0);
    assert_true(large());
    assert_int_equal(complete(1, true), 1);
    assert_false(large());
    assert_string_equal(tcp_send_mode_name(&mode), "copy");
    assert_non_null(strstr(mode.why, "copied 16 of 16"));
    assert_int_equal(mode.switches, 1);
}

static void test_auto_stays_with_zerocopy_when_the_kernel_copies_a_minority(void **state)
{
    (void)state;
    begin(TCP_SEND_AUTO);
    for (unsigned i = 0; i < 10; i++) {
        complete(TCP_SEND_WINDOW * 3 / 4 - 1, true);
        complete(TCP_SEND_WINDOW / 4 + 1, false);
        assert_true(large());
    }
    assert_int_equal(mode.switches, 0);
}

static void test_auto_counts_refused_pinning_as_no_zerocopy(void **state)
{
    bool changed = false;

    (void)state;
    begin(TCP_SEND_AUTO);
    for (unsigned i = 0; i < TCP_SEND_WINDOW; i++)
        changed = tcp_send_mode_refused(&mode, now);
    assert_true(changed);
    assert_false(large());
    assert_non_null(strstr(mode.why, "RLIMIT_MEMLOCK"));
}

static void test_auto_probes_again_after_the_interval_with_a_few_sends_only(void **state)
{
    (void)state;
    fall_back();
    now += TCP_SEND_PROBE_MIN_NS - 1;
    assert_false(large());
    now += 1;
    for (unsigned i = 0; i < TCP_SEND_PROBE; i++)
        assert_true(large());
    assert_false(large());
    assert_string_equal(tcp_send_mode_name(&mode), "copy"); /* until the probe has succeeded */
}

static void test_auto_returns_to_zerocopy_when_a_probe_is_not_copied(void **state)
{
    (void)state;
    fall_back();
    now += TCP_SEND_PROBE_MIN_NS;
    assert_true(large());
    assert_int_equal(complete(TCP_SEND_PROBE, false), 1);
    assert_string_equal(tcp_send_mode_name(&mode), "zerocopy");
    for (unsigned i = 0; i < 100; i++)
        assert_true(large());
    assert_int_equal(mode.switches, 2);
}

static void test_failed_probes_come_ever_more_rarely_up_to_the_maximum(void **state)
{
    uint64_t interval = TCP_SEND_PROBE_MIN_NS;

    (void)state;
    fall_back();
    for (unsigned i = 0; i < 10; i++) {
        now += interval - 1;
        assert_false(large());
        now += 1;
        assert_true(large());
        assert_int_equal(complete(TCP_SEND_PROBE, true), 0); /* a failed probe is no change */
        assert_false(large());
        interval = interval * 2 < TCP_SEND_PROBE_MAX_NS ? interval * 2 : TCP_SEND_PROBE_MAX_NS;
    }
    assert_int_equal(mode.switches, 1);
}

static void test_probe_that_half_fails_does_not_change_the_mode(void **state)
{
    (void)state;
    fall_back();
    now += TCP_SEND_PROBE_MIN_NS;
    assert_true(large());
    complete(TCP_SEND_PROBE / 2, true);
    assert_int_equal(complete(TCP_SEND_PROBE / 2, false), 0);
    assert_string_equal(tcp_send_mode_name(&mode), "copy");
}

static void test_late_completions_from_before_a_change_do_not_change_it_back(void **state)
{
    (void)state;
    fall_back();
    assert_int_equal(complete(1000, false), 0);
    assert_string_equal(tcp_send_mode_name(&mode), "copy");
}

static void test_forced_modes_never_change(void **state)
{
    (void)state;
    begin(TCP_SEND_ZEROCOPY);
    assert_int_equal(complete(1000, true), 0);
    assert_true(large());
    assert_false(tcp_send_mode_choose(&mode, LIMIT - 1, now));
    begin(TCP_SEND_COPY);
    now += 100 * TCP_SEND_PROBE_MAX_NS;
    assert_false(large());
    assert_string_equal(tcp_send_mode_name(&mode), "copy");
}

static void test_socket_without_zerocopy_copies_and_says_why(void **state)
{
    (void)state;
    begin(TCP_SEND_AUTO);
    tcp_send_mode_unsupported(&mode, "Operation not supported");
    now += 100 * TCP_SEND_PROBE_MAX_NS;
    assert_false(large());
    assert_non_null(strstr(mode.why, "Operation not supported"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_begins_with_zerocopy_for_payloads_of_the_limit),
        cmocka_unit_test(test_auto_changes_to_copy_after_a_window_that_the_kernel_copied),
        cmocka_unit_test(test_auto_stays_with_zerocopy_when_the_kernel_copies_a_minority),
        cmocka_unit_test(test_auto_counts_refused_pinning_as_no_zerocopy),
        cmocka_unit_test(test_auto_probes_again_after_the_interval_with_a_few_sends_only),
        cmocka_unit_test(test_auto_returns_to_zerocopy_when_a_probe_is_not_copied),
        cmocka_unit_test(test_failed_probes_come_ever_more_rarely_up_to_the_maximum),
        cmocka_unit_test(test_probe_that_half_fails_does_not_change_the_mode),
        cmocka_unit_test(test_late_completions_from_before_a_change_do_not_change_it_back),
        cmocka_unit_test(test_forced_modes_never_change),
        cmocka_unit_test(test_socket_without_zerocopy_copies_and_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
