/* Automatic choice of the send mode: honest about copies, slow to change its mind, never final. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "tcp/send_mode.h"

#define LIMIT 65536u
#define TRIAL (TCP_SEND_TRIAL_WINDOWS * TCP_SEND_TRIAL_BATCH)

static struct tcp_send_mode mode;
static uint64_t now;

static void begin(enum tcp_send_setting setting)
{
    now = 1000;
    tcp_send_mode_init(&mode, setting, LIMIT);
}

static enum tcp_send_way large(void)
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

/* A whole trial in which a payload takes so many ns by either way; the next payload judges it. */
static void try_out(uint64_t splice_ns, uint64_t copy_ns)
{
    uint64_t began = now;

    assert_true(tcp_send_mode_is_measuring(&mode));
    for (unsigned i = 0; i < TRIAL; i++)
        now += large() == TCP_WAY_SPLICE ? splice_ns : copy_ns;
    large();
    now = began; /* short against the times between probes */
    assert_false(tcp_send_mode_is_measuring(&mode));
}

static void fall_back(void)
{
    begin(TCP_SEND_AUTO);
    assert_int_equal(complete(TCP_SEND_WINDOW, true), 1);
}

static void arrive_at_splice(void)
{
    fall_back();
    try_out(100, 200);
    assert_int_equal(mode.way, TCP_WAY_SPLICE);
}

static void test_auto_begins_with_zerocopy_for_payloads_of_the_limit(void **state)
{
    (void)state;
    begin(TCP_SEND_AUTO);
    assert_int_equal(large(), TCP_WAY_ZEROCOPY);
    assert_int_equal(tcp_send_mode_choose(&mode, LIMIT - 1, now), TCP_WAY_COPY);
    assert_string_equal(tcp_send_mode_name(&mode), "zerocopy");
    assert_true(tcp_send_mode_wants_zerocopy(&mode));
}

static void test_auto_changes_to_splice_after_a_window_that_the_kernel_copied(void **state)
{
    (void)state;
    begin(TCP_SEND_AUTO);
    assert_int_equal(complete(TCP_SEND_WINDOW - 1, true), 0);
    assert_int_equal(large(), TCP_WAY_ZEROCOPY);
    assert_int_equal(complete(1, true), 1);
    assert_string_equal(tcp_send_mode_name(&mode), "splice");
    assert_non_null(strstr(mode.why, "copied 16 of 16"));
    assert_int_equal(mode.switches, 1);
}

static void test_trial_alternates_and_tells_its_figures(void **state)
{
    (void)state;
    fall_back();
    for (unsigned i = 0; i < TRIAL; i++) {
        bool spliced = i / TCP_SEND_TRIAL_BATCH % 2 == 0;

        assert_int_equal(large(), spliced ? TCP_WAY_SPLICE : TCP_WAY_COPY);
        now += spliced ? LIMIT / 8 : LIMIT / 4;
    }
    assert_int_equal(large(), TCP_WAY_SPLICE);
    assert_non_null(strstr(mode.why, "splice moved 8.00 GB/s, copy 4.00"));
    assert_int_equal(mode.switches, 1);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(large(), TCP_WAY_SPLICE);
}

static void test_payloads_that_still_meet_the_other_way_in_the_buffers_do_not_count(void **state)
{
    (void)state;
    fall_back();
    for (unsigned i = 0; i < TRIAL; i++) {
        bool early = i % TCP_SEND_TRIAL_BATCH < TCP_SEND_TRIAL_SKIP;
        bool spliced = large() == TCP_WAY_SPLICE;

        now += spliced == early ? LIMIT / 4 : LIMIT / 8;
    }
    assert_int_equal(large(), TCP_WAY_SPLICE);
    assert_non_null(strstr(mode.why, "splice moved 8.00 GB/s, copy 4.00"));
}

static void test_small_payloads_are_no_part_of_a_trial(void **state)
{
    (void)state;
    fall_back();
    for (unsigned i = 0; i < 10 * TRIAL; i++)
        assert_int_equal(tcp_send_mode_choose(&mode, LIMIT - 1, now), TCP_WAY_COPY);
    try_out(100, 200);
}

static void test_auto_copies_where_that_is_clearly_faster_every_time(void **state)
{
    (void)state;
    fall_back();
    try_out(200, 100);
    assert_int_equal(large(), TCP_WAY_COPY);
    assert_string_equal(tcp_send_mode_name(&mode), "copy");
    assert_int_equal(mode.switches, 2);
}

static void test_one_slow_moment_does_not_decide_a_trial(void **state)
{
    (void)state;
    fall_back();
    for (unsigned i = 0; i < TRIAL; i++) {
        large();
        now += i == TCP_SEND_TRIAL_BATCH - 1 ? 1000000 : 100;
    }
    assert_int_equal(large(), TCP_WAY_SPLICE);
    assert_int_equal(mode.switches, 1);
}

static void test_nearly_equal_rates_change_nothing(void **state)
{
    (void)state;
    fall_back();
    try_out(119, 100);
    assert_int_equal(large(), TCP_WAY_SPLICE);
    fall_back();
    try_out(200, 100);
    now += TCP_SEND_PROBE_MIN_NS;
    large();
    complete(TCP_SEND_PROBE, true);
    try_out(100, 119);
    assert_int_equal(large(), TCP_WAY_COPY);
}

static void test_auto_stays_with_zerocopy_when_the_kernel_copies_a_minority(void **state)
{
    (void)state;
    begin(TCP_SEND_AUTO);
    for (unsigned i = 0; i < 10; i++) {
        complete(TCP_SEND_WINDOW * 3 / 4 - 1, true);
        complete(TCP_SEND_WINDOW / 4 + 1, false);
        assert_int_equal(large(), TCP_WAY_ZEROCOPY);
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
    assert_int_equal(mode.way, TCP_WAY_SPLICE);
    assert_non_null(strstr(mode.why, "RLIMIT_MEMLOCK"));
}

static void test_auto_probes_again_after_the_interval_with_a_few_sends_only(void **state)
{
    (void)state;
    arrive_at_splice();
    now += TCP_SEND_PROBE_MIN_NS - 1;
    assert_int_equal(large(), TCP_WAY_SPLICE);
    now += 1;
    for (unsigned i = 0; i < TCP_SEND_PROBE; i++)
        assert_int_equal(large(), TCP_WAY_ZEROCOPY);
    assert_int_equal(large(), TCP_WAY_SPLICE);
    assert_string_equal(tcp_send_mode_name(&mode), "splice"); /* until the probe has succeeded */
}

static void test_auto_returns_to_zerocopy_when_a_probe_is_not_copied(void **state)
{
    (void)state;
    arrive_at_splice();
    now += TCP_SEND_PROBE_MIN_NS;
    assert_int_equal(large(), TCP_WAY_ZEROCOPY);
    assert_int_equal(complete(TCP_SEND_PROBE, false), 1);
    assert_string_equal(tcp_send_mode_name(&mode), "zerocopy");
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(large(), TCP_WAY_ZEROCOPY);
    assert_int_equal(mode.switches, 2);
}

static void test_failed_probes_come_ever_more_rarely_up_to_the_maximum(void **state)
{
    uint64_t interval = TCP_SEND_PROBE_MIN_NS;

    (void)state;
    arrive_at_splice();
    for (unsigned i = 0; i < 10; i++) {
        now += interval - 1;
        assert_int_equal(large(), TCP_WAY_SPLICE);
        now += 1;
        assert_int_equal(large(), TCP_WAY_ZEROCOPY);
        assert_int_equal(complete(TCP_SEND_PROBE, true), 0); /* a failed probe is no change */
        try_out(100, 200);
        interval = interval * 2 < TCP_SEND_PROBE_MAX_NS ? interval * 2 : TCP_SEND_PROBE_MAX_NS;
    }
    assert_int_equal(mode.switches, 1);
}

static void test_trial_after_a_probe_may_change_between_splice_and_copy(void **state)
{
    (void)state;
    arrive_at_splice();
    now += TCP_SEND_PROBE_MIN_NS;
    large();
    complete(TCP_SEND_PROBE, true);
    try_out(300, 200);
    assert_int_equal(mode.way, TCP_WAY_COPY);
    now += 2 * TCP_SEND_PROBE_MIN_NS;
    large();
    complete(TCP_SEND_PROBE, true);
    try_out(100, 200);
    assert_int_equal(mode.way, TCP_WAY_SPLICE);
    assert_int_equal(mode.switches, 3);
}

static void test_probe_that_half_fails_does_not_change_the_mode(void **state)
{
    (void)state;
    arrive_at_splice();
    now += TCP_SEND_PROBE_MIN_NS;
    assert_int_equal(large(), TCP_WAY_ZEROCOPY);
    complete(TCP_SEND_PROBE / 2, true);
    assert_int_equal(complete(TCP_SEND_PROBE / 2, false), 0);
    assert_string_equal(tcp_send_mode_name(&mode), "splice");
}

static void test_late_completions_from_before_a_change_do_not_change_it_back(void **state)
{
    (void)state;
    fall_back();
    assert_int_equal(complete(1000, false), 0);
    assert_string_equal(tcp_send_mode_name(&mode), "splice");
    try_out(100, 200);
    assert_int_equal(complete(1000, false), 0);
    assert_string_equal(tcp_send_mode_name(&mode), "splice");
}

static void test_splice_that_fails_is_left_for_copy_and_tried_again_later(void **state)
{
    (void)state;
    fall_back();
    assert_int_equal(large(), TCP_WAY_SPLICE);
    tcp_send_mode_splice_failed(&mode, EINVAL, now);
    assert_string_equal(tcp_send_mode_name(&mode), "copy");
    assert_non_null(strstr(mode.why, "copied 16 of 16"));
    assert_non_null(strstr(mode.why, "Invalid argument"));
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(large(), TCP_WAY_COPY);
    now += TCP_SEND_PROBE_MIN_NS;
    large();
    complete(TCP_SEND_PROBE, true);
    try_out(100, 200);
    assert_int_equal(mode.way, TCP_WAY_SPLICE);
}

static void test_forced_splice_copies_after_a_failure_and_tries_again_ever_more_rarely(void **state)
{
    uint64_t interval = TCP_SEND_PROBE_MIN_NS;

    (void)state;
    begin(TCP_SEND_SPLICE);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(large(), TCP_WAY_SPLICE);
        tcp_send_mode_splice_failed(&mode, EPERM, now);
        now += interval - 1;
        assert_int_equal(large(), TCP_WAY_COPY);
        assert_non_null(strstr(mode.why, "fs.pipe-user-pages-soft"));
        now += 1;
        interval = interval * 2 < TCP_SEND_PROBE_MAX_NS ? interval * 2 : TCP_SEND_PROBE_MAX_NS;
    }
}

static void test_forced_modes_never_change(void **state)
{
    (void)state;
    begin(TCP_SEND_ZEROCOPY);
    assert_int_equal(complete(1000, true), 0);
    assert_int_equal(large(), TCP_WAY_ZEROCOPY);
    assert_int_equal(tcp_send_mode_choose(&mode, LIMIT - 1, now), TCP_WAY_COPY);
    begin(TCP_SEND_COPY);
    now += 100 * TCP_SEND_PROBE_MAX_NS;
    assert_int_equal(large(), TCP_WAY_COPY);
    assert_string_equal(tcp_send_mode_name(&mode), "copy");
    begin(TCP_SEND_SPLICE);
    now += 100 * TCP_SEND_PROBE_MAX_NS;
    assert_int_equal(large(), TCP_WAY_SPLICE);
    assert_string_equal(tcp_send_mode_name(&mode), "splice");
    assert_false(tcp_send_mode_wants_zerocopy(&mode));
}

static void test_socket_without_zerocopy_is_never_probed_for_it_and_says_why(void **state)
{
    (void)state;
    begin(TCP_SEND_AUTO);
    tcp_send_mode_unsupported(&mode, "Operation not supported");
    try_out(100, 200);
    assert_int_equal(large(), TCP_WAY_SPLICE);
    assert_non_null(strstr(mode.why, "Operation not supported"));
    now += 100 * TCP_SEND_PROBE_MAX_NS;
    assert_true(large() != TCP_WAY_ZEROCOPY);
    begin(TCP_SEND_ZEROCOPY);
    tcp_send_mode_unsupported(&mode, "Operation not supported");
    now += 100 * TCP_SEND_PROBE_MAX_NS;
    assert_int_equal(large(), TCP_WAY_COPY);
    assert_non_null(strstr(mode.why, "Operation not supported"));
}

static void test_mode_is_copy_while_every_payload_is_too_small(void **state)
{
    (void)state;
    tcp_send_mode_init(&mode, TCP_SEND_AUTO, 65536);
    assert_int_equal(tcp_send_mode_choose(&mode, 65535, 1), TCP_WAY_COPY);
    assert_string_equal(tcp_send_mode_name(&mode), "copy");
    assert_non_null(strstr(tcp_send_mode_why(&mode), "tcp.zero_copy_send_limit"));
    tcp_send_mode_choose(&mode, 65536, 2);
    assert_string_equal(tcp_send_mode_name(&mode), "zerocopy");
    assert_string_equal(tcp_send_mode_why(&mode), mode.why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_is_copy_while_every_payload_is_too_small),
        cmocka_unit_test(test_auto_begins_with_zerocopy_for_payloads_of_the_limit),
        cmocka_unit_test(test_auto_changes_to_splice_after_a_window_that_the_kernel_copied),
        cmocka_unit_test(test_trial_alternates_and_tells_its_figures),
        cmocka_unit_test(test_payloads_that_still_meet_the_other_way_in_the_buffers_do_not_count),
        cmocka_unit_test(test_small_payloads_are_no_part_of_a_trial),
        cmocka_unit_test(test_auto_copies_where_that_is_clearly_faster_every_time),
        cmocka_unit_test(test_one_slow_moment_does_not_decide_a_trial),
        cmocka_unit_test(test_nearly_equal_rates_change_nothing),
        cmocka_unit_test(test_auto_stays_with_zerocopy_when_the_kernel_copies_a_minority),
        cmocka_unit_test(test_auto_counts_refused_pinning_as_no_zerocopy),
        cmocka_unit_test(test_auto_probes_again_after_the_interval_with_a_few_sends_only),
        cmocka_unit_test(test_auto_returns_to_zerocopy_when_a_probe_is_not_copied),
        cmocka_unit_test(test_failed_probes_come_ever_more_rarely_up_to_the_maximum),
        cmocka_unit_test(test_trial_after_a_probe_may_change_between_splice_and_copy),
        cmocka_unit_test(test_probe_that_half_fails_does_not_change_the_mode),
        cmocka_unit_test(test_late_completions_from_before_a_change_do_not_change_it_back),
        cmocka_unit_test(test_splice_that_fails_is_left_for_copy_and_tried_again_later),
        cmocka_unit_test(
            test_forced_splice_copies_after_a_failure_and_tries_again_ever_more_rarely),
        cmocka_unit_test(test_forced_modes_never_change),
        cmocka_unit_test(test_socket_without_zerocopy_is_never_probed_for_it_and_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
