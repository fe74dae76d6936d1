/* Durations of the configuration become the right codes: never shorter than asked, never two steps
 * longer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/clock.h"
#include "rdma/timing.h"

static void test_rdma_ack_timeout_is_rounded_up_to_a_power_of_two(void **state)
{
    (void)state;
    assert_int_equal(rdma_ack_timeout_code(0), 1);
    assert_int_equal(rdma_ack_timeout_code(8192), 1);
    assert_int_equal(rdma_ack_timeout_code(8193), 2);
    assert_int_equal(rdma_ack_timeout_code(67 * NS_PER_MS), 14);
    assert_int_equal(rdma_ack_timeout_code(500 * NS_PER_MS), 17);
    assert_int_equal(rdma_ack_timeout_code(60 * NS_PER_S), 24);
    assert_int_equal(rdma_ack_timeout_code(UINT64_MAX), 31);
    for (uint8_t code = 2; code <= 31; code++) {
        assert_int_equal(rdma_ack_timeout_code(rdma_ack_timeout_ns(code)), code);
        assert_int_equal(rdma_ack_timeout_code(rdma_ack_timeout_ns(code) - 1), code);
    }
}

static void test_rdma_rnr_timer_codes_are_those_of_the_specification(void **state)
{
    /* InfiniBand Architecture Specification 1, table 45: from, to, in units of 10 us. */
    static const struct {
        uint8_t code;
        uint64_t hundredths_ms;
    } rows[] = {{0, 65536}, {1, 1},     {5, 6},     {12, 64},    {14, 128},
                {19, 768},  {20, 1024}, {24, 4096}, {28, 16384}, {31, 49152}};

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(rdma_rnr_timer_ns(rows[i].code), rows[i].hundredths_ms * 10 * NS_PER_US);
        assert_int_equal(rdma_rnr_timer_code(rows[i].hundredths_ms * 10 * NS_PER_US), rows[i].code);
    }
    for (uint8_t code = 2; code <= 31; code++)
        assert_true(rdma_rnr_timer_ns(code) > rdma_rnr_timer_ns((uint8_t)(code - 1)));
}

static void test_rdma_rnr_timer_is_rounded_up(void **state)
{
    (void)state;
    assert_int_equal(rdma_rnr_timer_code(0), 1);
    assert_int_equal(rdma_rnr_timer_code(640 * NS_PER_US), 12);
    assert_int_equal(rdma_rnr_timer_code(641 * NS_PER_US), 13);
    assert_int_equal(rdma_rnr_timer_code(500 * NS_PER_MS), 0);
}

static void test_rdma_dead_cable_is_noticed_after_the_first_try_and_all_retries(void **state)
{
    (void)state;
    assert_int_equal(rdma_dead_cable_ns(17, 7), 8 * rdma_ack_timeout_ns(17));
    assert_int_equal(rdma_dead_cable_ns(14, 0), rdma_ack_timeout_ns(14));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rdma_ack_timeout_is_rounded_up_to_a_power_of_two),
        cmocka_unit_test(test_rdma_rnr_timer_codes_are_those_of_the_specification),
        cmocka_unit_test(test_rdma_rnr_timer_is_rounded_up),
        cmocka_unit_test(test_rdma_dead_cable_is_noticed_after_the_first_try_and_all_retries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
