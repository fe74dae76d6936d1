/* The table of writes in flight: capacity, reuse, and tokens that are good for one end only. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/write_table.h"

static struct embar_buffer *const buffer = (struct embar_buffer *)(uintptr_t)64;

static void test_the_table_takes_its_capacity_and_gives_back_what_was_noted(void **state)
{
    struct write_table table;
    struct write_record record;
    uint64_t tokens[5];

    (void)state;
    assert_int_equal(write_table_init(&table, 4), 0);
    for (uint64_t i = 0; i < 4; i++) /* the caller's tokens need not differ */
        assert_int_equal(write_table_add(&table, buffer, 100 + i, 9, &tokens[i]), 0);
    assert_int_equal(write_table_add(&table, buffer, 1, 9, &tokens[4]), -EAGAIN);
    assert_int_equal(table.in_flight, 4);
    for (uint64_t i = 4; i-- > 0;) {
        assert_int_equal(write_table_take(&table, tokens[i], &record), 0);
        assert_ptr_equal(record.buffer, buffer);
        assert_int_equal(record.len_bytes, 100 + i);
        assert_int_equal(record.token, 9);
    }
    assert_int_equal(table.in_flight, 0);
    write_table_destroy(&table);
}

static void test_a_token_ends_one_write_and_never_a_later_one(void **state)
{
    struct write_table table;
    uint64_t first, second;

    (void)state;
    assert_int_equal(write_table_init(&table, 1), 0);
    assert_int_equal(write_table_add(&table, buffer, 1, 1, &first), 0);
    assert_int_equal(write_table_take(&table, first, NULL), 0);
    assert_int_equal(write_table_take(&table, first, NULL), -ENOENT);
    assert_int_equal(write_table_add(&table, buffer, 1, 2, &second), 0); /* the same record */
    assert_int_equal(write_table_take(&table, first, NULL), -ENOENT);
    assert_int_equal(write_table_take(&table, second + 1, NULL), -ENOENT); /* out of range */
    assert_int_equal(table.in_flight, 1);
    assert_int_equal(write_table_take(&table, second, NULL), 0);
    write_table_destroy(&table);
}

static void test_taking_any_empties_the_table(void **state)
{
    struct write_table table;
    struct write_record record;
    uint64_t token, sum = 0;

    (void)state;
    assert_int_equal(write_table_init(&table, 8), 0);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(write_table_add(&table, buffer, 1, i, &token), 0);
    while (write_table_take_any(&table, &record) == 0)
        sum += record.token;
    assert_int_equal(sum, 6);
    assert_int_equal(table.in_flight, 0);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(write_table_add(&table, buffer, 1, i, &token), 0);
    write_table_destroy(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table_takes_its_capacity_and_gives_back_what_was_noted),
        cmocka_unit_test(test_a_token_ends_one_write_and_never_a_later_one),
        cmocka_unit_test(test_taking_any_empties_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
