/*
 * Time and randomness as a context, so that a test can drive everything above by a seed. Code above
 * common asks the env it was given and never the system.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

struct env {
    uint64_t (*now_ns)(void *user);  /* monotonic (CLOCK_MONOTONIC) */
    uint64_t (*wall_ns)(void *user); /* since 1970 (CLOCK_REALTIME) */
    uint64_t (*random)(void *user);  /* 64 unpredictable bits (getrandom(2)) */
    void *user;
};

/* The system's. */
extern const struct env env_system;

static inline uint64_t env_now_ns(const struct env *env)
{
    return env->now_ns(env->user);
}

static inline uint64_t env_wall_ns(const struct env *env)
{
    return env->wall_ns(env->user);
}

static inline uint64_t env_random(const struct env *env)
{
    return env->random(env->user);
}

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

#endif
