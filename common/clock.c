/*
 * The system's time and randomness: the one place of the library that asks for them. Any thread.
 */
#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec now;

    /* Both clocks exist on every kernel; clock_gettime(2) has no other way to fail here. */
    if (clock_gettime(id, &now) != 0)
        abort();
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t system_now_ns(void *user)
{
    (void)user;
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t system_wall_ns(void *user)
{
    (void)user;
    return read_clock(CLOCK_REALTIME);
}

static uint64_t system_random(void *user)
{
    uint64_t bits;
    ssize_t got;

    (void)user;
    do {
        got = getrandom(&bits, sizeof(bits), 0);
    } while (got < 0 && errno == EINTR);
    /* Keys and session ids rest on these bits: to go on with guessable ones would be worse. */
    if (got != (ssize_t)sizeof(bits))
        abort();
    return bits;
}

const struct env env_system = {
    .now_ns = system_now_ns,
    .wall_ns = system_wall_ns,
    .random = system_random,
};
