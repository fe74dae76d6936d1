/* The pool hands out hot slots first and never one slot twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "common/slot_pool.h"

static void test_slot_pool_hands_out_slot_0_first(void **state)
{
    struct slot_pool pool;
    uint32_t slot;

    (void)state;
    assert_int_equal(slot_pool_init(&pool, 3), 0);
    assert_int_equal(pool.free_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(slot_pool_get(&pool, &slot), 0);
        assert_int_equal(slot, i);
    }
    slot_pool_destroy(&pool);
}

static void test_slot_pool_returns_most_recently_freed_slot_first(void **state)
{
    struct slot_pool pool;
    uint32_t slot;

    (void)state;
    assert_int_equal(slot_pool_init(&pool, 128), 0);
    for (uint32_t i = 0; i < 10; i++)
        slot_pool_get(&pool, &slot);
    assert_int_equal(slot_pool_put(&pool, 7), 0);
    assert_int_equal(slot_pool_put(&pool, 2), 0);
    assert_int_equal(slot_pool_get(&pool, &slot), 0);
    assert_int_equal(slot, 2);
    assert_int_equal(slot_pool_get(&pool, &slot), 0);
    assert_int_equal(slot, 7);
    assert_int_equal(slot_pool_get(&pool, &slot), 0);
    assert_int_equal(slot, 10);
    slot_pool_destroy(&pool);
}

static void test_slot_pool_without_a_free_slot_says_again(void **state)
{
    struct slot_pool pool;
    uint32_t slot = 77;

    (void)state;
    assert_int_equal(slot_pool_init(&pool, 1), 0);
    assert_int_equal(slot_pool_get(&pool, &slot), 0);
    slot = 77;
    assert_int_equal(slot_pool_get(&pool, &slot), -EAGAIN);
    assert_int_equal(slot, 77);
    slot_pool_destroy(&pool);
}

static void test_slot_pool_refuses_a_slot_that_is_not_out(void **state)
{
    struct slot_pool pool;
    uint32_t slot;

    (void)state;
    assert_int_equal(slot_pool_init(&pool, 65), 0);
    assert_int_equal(slot_pool_get(&pool, &slot), 0);
    assert_int_equal(slot_pool_put(&pool, 1), -EINVAL);
    assert_int_equal(slot_pool_put(&pool, 65), -EINVAL);
    assert_int_equal(slot_pool_put(&pool, UINT32_MAX), -EINVAL);
    assert_int_equal(pool.free_count, 64);
    assert_int_equal(slot_pool_put(&pool, slot), 0);
    assert_int_equal(slot_pool_put(&pool, slot), -EINVAL);
    assert_int_equal(pool.free_count, 65);
    slot_pool_destroy(&pool);
}

static void test_slot_pool_takes_a_particular_slot(void **state)
{
    struct slot_pool pool;
    uint32_t slot;

    (void)state;
    assert_int_equal(slot_pool_init(&pool, 4), 0);
    assert_int_equal(slot_pool_take(&pool, 1), 0);
    assert_int_equal(slot_pool_take(&pool, 1), -EBUSY);
    assert_int_equal(slot_pool_take(&pool, 4), -EINVAL);
    assert_true(slot_pool_is_taken(&pool, 1));
    assert_int_equal(pool.free_count, 3);
    static const uint32_t rest[] = {0, 2, 3}; /* in the order of before */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(slot_pool_get(&pool, &slot), 0);
        assert_int_equal(slot, rest[i]);
    }
    assert_int_equal(slot_pool_take(&pool, 0), -EBUSY);
    assert_int_equal(slot_pool_put(&pool, 1), 0);
    slot_pool_destroy(&pool);
}

static void test_slot_pool_of_no_slots_is_refused(void **state)
{
    struct slot_pool pool;

    (void)state;
    assert_int_equal(slot_pool_init(&pool, 0), -EINVAL);
}

static void test_slot_pool_never_has_a_slot_out_twice(void **state)
{
    enum { SLOTS = 130 };
    struct slot_pool pool;
    int out[SLOTS] = {0};
    uint32_t held = 0, slot;

    (void)state;
    srand(1);
    assert_int_equal(slot_pool_init(&pool, SLOTS), 0);
    for (int i = 0; i < 100000; i++) {
        uint32_t any = (uint32_t)rand() % (SLOTS + 2);
        switch (rand() % 3) {
        case 0:
            assert_int_equal(slot_pool_get(&pool, &slot), held == SLOTS ? -EAGAIN : 0);
            if (held == SLOTS)
                break;
            assert_int_equal(out[slot]++, 0);
            held++;
            break;
        case 1:
            if (slot_pool_put(&pool, any) == 0) {
                assert_int_equal(out[any]--, 1);
                held--;
            } else {
                assert_true(any >= SLOTS || out[any] == 0);
            }
            break;
        case 2:
            if (slot_pool_take(&pool, any) == 0) {
                assert_int_equal(out[any]++, 0);
                held++;
            } else {
                assert_true(any >= SLOTS || out[any] == 1);
            }
            break;
        }
        assert_int_equal(pool.free_count, SLOTS - held);
        assert_int_equal(slot_pool_is_taken(&pool, any), any < SLOTS && out[any] == 1);
    }
    slot_pool_destroy(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slot_pool_hands_out_slot_0_first),
        cmocka_unit_test(test_slot_pool_returns_most_recently_freed_slot_first),
        cmocka_unit_test(test_slot_pool_without_a_free_slot_says_again),
        cmocka_unit_test(test_slot_pool_refuses_a_slot_that_is_not_out),
        cmocka_unit_test(test_slot_pool_takes_a_particular_slot),
        cmocka_unit_test(test_slot_pool_of_no_slots_is_refused),
        cmocka_unit_test(test_slot_pool_never_has_a_slot_out_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
