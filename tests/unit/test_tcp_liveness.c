/* A host is taken for dead only when it leaves data or probes unanswered, never because it is slow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tcp/liveness.h"

#define TIMEOUT_NS (10 * NS_PER_S)
#define STEP_NS    (TIMEOUT_NS / 4)

static struct tcp_liveness liveness;

/* Asks `looks` times in the usual rhythm with facts that stay the same but for the silence. Returns
 * at which look the host was taken for dead; 0: never. */
static unsigned look(struct tcp_liveness_facts facts, unsigned looks, bool silent)
{
    uint64_t now = 5 * NS_PER_S;

    liveness = (struct tcp_liveness){0};
    for (unsigned i = 1; i <= looks; i++) {
        now += STEP_NS;
        facts.since_ack_ms = silent ? (uint32_t)(i * STEP_NS / NS_PER_MS) : 10;
        if (tcp_liveness_judge(&liveness, &facts, TIMEOUT_NS, now))
            return i;
    }
    return 0;
}

static void test_data_unacknowledged_for_the_timeout_means_dead(void **state)
{
    struct tcp_liveness_facts facts = {.unacked_segments = 5, .acked_bytes = 100};

    (void)state;
    /* The first look only sees that data wait. */
    assert_int_equal(look(facts, 20, true), 5);
}

static void test_idle_link_is_alive(void **state)
{
    struct tcp_liveness_facts facts = {.acked_bytes = 100};

    (void)state;
    assert_int_equal(look(facts, 1000, true), 0);
}

static void test_data_sent_after_a_long_silence_get_the_whole_timeout(void **state)
{
    struct tcp_liveness_facts facts = {.acked_bytes = 100, .since_ack_ms = 3600000};

    (void)state;
    liveness = (struct tcp_liveness){0};
    assert_false(tcp_liveness_judge(&liveness, &facts, TIMEOUT_NS, 100 * NS_PER_S));
    facts.unacked_segments = 1;
    assert_false(tcp_liveness_judge(&liveness, &facts, TIMEOUT_NS, 101 * NS_PER_S));
    assert_false(tcp_liveness_judge(&liveness, &facts, TIMEOUT_NS, 110 * NS_PER_S));
    assert_true(tcp_liveness_judge(&liveness, &facts, TIMEOUT_NS, 111 * NS_PER_S));
}

static void test_progress_starts_the_time_anew(void **state)
{
    struct tcp_liveness_facts facts = {.unacked_segments = 5, .since_ack_ms = 60000};

    (void)state;
    liveness = (struct tcp_liveness){0};
    for (uint64_t now = 1; now < 1000; now++) {
        facts.acked_bytes = now;
        assert_false(tcp_liveness_judge(&liveness, &facts, TIMEOUT_NS, now * NS_PER_S));
    }
}

static void test_host_that_acknowledges_without_taking_is_alive(void **state)
{
    struct tcp_liveness_facts facts = {.unacked_segments = 1, .acked_bytes = 100};

    (void)state;
    assert_int_equal(look(facts, 1000, false), 0);
}

static void test_closed_window_with_answered_probes_is_alive(void **state)
{
    /* Probes may be minutes apart, so the last answer may be old. */
    struct tcp_liveness_facts facts = {.unanswered_probes = 1, .acked_bytes = 100};

    (void)state;
    assert_int_equal(look(facts, 1000, true), 0);
}

static void test_closed_window_with_unanswered_probes_is_dead(void **state)
{
    struct tcp_liveness_facts facts = {.unanswered_probes = 3, .acked_bytes = 100};

    (void)state;
    assert_int_equal(look(facts, 20, true), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_unacknowledged_for_the_timeout_means_dead),
        cmocka_unit_test(test_idle_link_is_alive),
        cmocka_unit_test(test_data_sent_after_a_long_silence_get_the_whole_timeout),
        cmocka_unit_test(test_progress_starts_the_time_anew),
        cmocka_unit_test(test_host_that_acknowledges_without_taking_is_alive),
        cmocka_unit_test(test_closed_window_with_answered_probes_is_alive),
        cmocka_unit_test(test_closed_window_with_unanswered_probes_is_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
