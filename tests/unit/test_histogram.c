/* Quantiles are within 1/32 of the truth, over the whole range of 64 bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/histogram.h"

static struct histogram h, other;

static int clear(void **state)
{
    (void)state;
    memset(&h, 0, sizeof(h));
    memset(&other, 0, sizeof(other));
    return 0;
}

static void test_histogram_without_records_says_0(void **state)
{
    (void)state;
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    assert_int_equal(histogram_quantile(&h, 1), 0);
}

static void test_histogram_is_exact_below_32(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 20; i++)
        histogram_record(&h, i);
    assert_int_equal(histogram_quantile(&h, 0.5), 10);
    assert_int_equal(histogram_quantile(&h, 0.9), 18);
    assert_int_equal(histogram_quantile(&h, 0.95), 19);
    assert_int_equal(histogram_quantile(&h, 1), 20);
    assert_int_equal(histogram_quantile(&h, 0), 1);
    assert_int_equal(h.count, 20);
    assert_int_equal(h.sum, 210);
}

static void test_histogram_rank_is_rounded_up(void **state)
{
    (void)state;
    histogram_record(&h, 1);
    histogram_record(&h, 2);
    histogram_record(&h, 3);
    assert_int_equal(histogram_quantile(&h, 0.5), 2);
    assert_int_equal(histogram_quantile(&h, 0.67), 3);
    assert_int_equal(histogram_quantile(&h, 0.33), 1);
}

/* A lone value, above which max does not cut: its step's upper edge. */
static uint64_t read_back(uint64_t value)
{
    clear(NULL);
    histogram_record(&h, value);
    histogram_record(&h, UINT64_MAX);
    return histogram_quantile(&h, 0.5);
}

static void test_histogram_error_is_within_one_step_at_every_power_of_two(void **state)
{
    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        const uint64_t power = 1ull << bit;
        const uint64_t values[] = {power - 1, power, power + 1, power + power / 2,
                                   power + power / 3};
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            uint64_t got = read_back(values[i]);
            assert_true(got >= values[i]);
            assert_true(got - values[i] <= values[i] / 32);
        }
    }
    assert_true(read_back(UINT64_MAX) == UINT64_MAX);
}

static void test_histogram_never_says_more_than_the_largest_record(void **state)
{
    (void)state;
    histogram_record(&h, 1000001);
    assert_int_equal(histogram_quantile(&h, 0.5), 1000001);
    assert_int_equal(histogram_quantile(&h, 0.999), 1000001);
    assert_int_equal(h.max, 1000001);
}

static void test_histogram_quantiles_of_many_records(void **state)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};

    (void)state;
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_record(&h, i * 1000);
    for (int i = 0; i < 4; i++) {
        uint64_t truth = (uint64_t)(quantiles[i] * 100000) * 1000;
        assert_in_range(histogram_quantile(&h, quantiles[i]), truth, truth + truth / 32);
    }
    assert_int_equal(histogram_quantile(&h, 1), 100000000);
}

static void test_histogram_takes_any_number_for_a_quantile(void **state)
{
    (void)state;
    histogram_record(&h, 5);
    histogram_record(&h, 9);
    assert_int_equal(histogram_quantile(&h, -1), 5);
    assert_int_equal(histogram_quantile(&h, 7), 9);
    assert_int_equal(histogram_quantile(&h, __builtin_nan("")), 5);
}

static void test_histogram_merge_is_as_if_recorded_in_one(void **state)
{
    static struct histogram both;

    (void)state;
    memset(&both, 0, sizeof(both));
    srand(3);
    for (int i = 0; i < 1000; i++) {
        uint64_t value = (uint64_t)rand() << (rand() % 30);
        histogram_record(i % 3 ? &h : &other, value);
        histogram_record(&both, value);
    }
    histogram_merge(&h, &other);
    assert_memory_equal(&h, &both, sizeof(both));
}

static void test_histogram_sum_does_not_wrap(void **state)
{
    (void)state;
    histogram_record(&h, UINT64_MAX);
    histogram_record(&h, UINT64_MAX);
    assert_true(h.sum == UINT64_MAX);
    histogram_record(&other, 5);
    histogram_merge(&h, &other);
    assert_true(h.sum == UINT64_MAX);
    assert_int_equal(h.count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_histogram_without_records_says_0, clear),
        cmocka_unit_test_setup(test_histogram_is_exact_below_32, clear),
        cmocka_unit_test_setup(test_histogram_rank_is_rounded_up, clear),
        cmocka_unit_test_setup(test_histogram_error_is_within_one_step_at_every_power_of_two,
                               clear),
        cmocka_unit_test_setup(test_histogram_never_says_more_than_the_largest_record, clear),
        cmocka_unit_test_setup(test_histogram_quantiles_of_many_records, clear),
        cmocka_unit_test_setup(test_histogram_takes_any_number_for_a_quantile, clear),
        cmocka_unit_test_setup(test_histogram_merge_is_as_if_recorded_in_one, clear),
        cmocka_unit_test_setup(test_histogram_sum_does_not_wrap, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
