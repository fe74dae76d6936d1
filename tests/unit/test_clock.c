/* The system's time and randomness are of the kinds that the rest of the library counts on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "common/clock.h"

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void test_now_is_the_monotonic_clock(void **state)
{
    uint64_t before = read_clock(CLOCK_MONOTONIC);
    uint64_t now = env_now_ns(&env_system);

    (void)state;
    assert_in_range(now, before, read_clock(CLOCK_MONOTONIC));
}

static void test_wall_is_the_time_since_1970(void **state)
{
    uint64_t wall = env_wall_ns(&env_system), real = read_clock(CLOCK_REALTIME);

    (void)state;
    /* A minute apart would need the clock to be set in between. */
    assert_in_range(wall, real - 60 * NS_PER_S, real + 60 * NS_PER_S);
}

static void test_random_bits_are_all_used_and_do_not_repeat(void **state)
{
    uint64_t ones = 0, zeros = 0, previous = env_random(&env_system);

    (void)state;
    for (int i = 0; i < 200; i++) {
        uint64_t bits = env_random(&env_system);
        assert_int_not_equal(bits, previous);
        ones |= bits;
        zeros |= ~bits;
        previous = bits;
    }
    assert_true(ones == UINT64_MAX && zeros == UINT64_MAX);
}

static uint64_t given(void *user)
{
    return ++*(uint64_t *)user;
}

static void test_an_env_of_ones_own_is_asked_with_its_user(void **state)
{
    uint64_t counter = 40;
    const struct env env = {.now_ns = given, .wall_ns = given, .random = given, .user = &counter};

    (void)state;
    assert_int_equal(env_now_ns(&env), 41);
    assert_int_equal(env_wall_ns(&env), 42);
    assert_int_equal(env_random(&env), 43);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now_is_the_monotonic_clock),
        cmocka_unit_test(test_wall_is_the_time_since_1970),
        cmocka_unit_test(test_random_bits_are_all_used_and_do_not_repeat),
        cmocka_unit_test(test_an_env_of_ones_own_is_asked_with_its_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
