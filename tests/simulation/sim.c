/* The simulation's clock, its random numbers, and the applications at both ends. */
#include "simulation/sim.h"
#include "simulation/byhand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/config.h"
#include "support/backend_mem.h"

#define FINISH_STEPS 200000

/* Outlives a simulation whose test has failed in the middle, so that its objects can be closed. */
static struct {
    uint64_t now_ns, random_state;
    struct embar_publisher *pub[SIM_PUBLISHERS];
    struct embar_subscriber *sub[SIM_SUBSCRIBERS];
} world;

static uint64_t sim_now(void *user)
{
    (void)user;
    world.now_ns += NS_PER_US;
    return world.now_ns;
}

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64: any seed will do, 0 too */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t sim_env_random(void *user)
{
    (void)user;
    return next_random(&world.random_state);
}

static const struct env simulated = {sim_now, sim_now, sim_env_random, NULL};

const struct env *sim_env(void)
{
    return &simulated;
}

static void close_world(void)
{
    for (unsigned i = 0; i < SIM_PUBLISHERS; i++)
        embar_publisher_close(world.pub[i]);
    for (unsigned i = 0; i < SIM_SUBSCRIBERS; i++)
        embar_subscriber_close(world.sub[i]);
    memset(world.pub, 0, sizeof world.pub);
    memset(world.sub, 0, sizeof world.sub);
}

static void print_line(enum embar_log_level level, const char *line, void *user)
{
    (void)user;
    fprintf(stderr, "%d %s\n", level, line);
}

void sim_init(struct sim *sim, uint64_t seed)
{
    if (getenv("EMBAR_TEST_LOG"))
        embar_log_set(EMBAR_LOG_DEBUG, print_line, NULL);
    backend_mem_add();
    close_world();
    byhand_close_all();
    memset(sim, 0, sizeof *sim);
    world.now_ns = NS_PER_S;
    world.random_state = seed;
}

uint64_t sim_random(struct sim *sim, uint64_t below)
{
    (void)sim;
    return next_random(&world.random_state) % below;
}

void sim_sleep(struct sim *sim, uint64_t ns)
{
    (void)sim;
    world.now_ns += ns;
}

uint64_t sim_now_ns(void)
{
    return world.now_ns;
}

static struct embar_config *sim_config(va_list settings)
{
    static const char *const small[] = {"transport=mem", "buffer.size=64KiB", "batch.size=4KiB",
                                        "hugepages=never", "progress=poll"};
    struct embar_config *config;
    struct embar_diag diag = {0};
    const char *setting;

    assert_int_equal(embar_config_create(&config, &diag), 0);
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        assert_int_equal(embar_config_set(config, small[i], &diag), 0);
    while ((setting = va_arg(settings, const char *)))
        if (embar_config_set(config, setting, &diag) < 0)
            fail_msg("%s: %s", setting, diag.text);
    config_set_env(config, &simulated);
    return config;
}

struct embar_publisher *sim_publisher(struct sim *sim, unsigned i, ...)
{
    struct embar_config *config;
    struct embar_diag diag = {0};
    va_list settings;

    va_start(settings, i);
    config = sim_config(settings);
    va_end(settings);
    if (embar_publisher_open(config, &sim->pub[i], &diag) < 0)
        fail_msg("%s", diag.text);
    embar_config_destroy(config);
    world.pub[i] = sim->pub[i];
    return sim->pub[i];
}

struct embar_subscriber *sim_subscriber(struct sim *sim, unsigned i, ...)
{
    struct embar_config *config;
    struct embar_diag diag = {0};
    va_list settings;

    va_start(settings, i);
    config = sim_config(settings);
    va_end(settings);
    if (embar_subscriber_open(config, &sim->sub[i].s, &diag) < 0)
        fail_msg("%s", diag.text);
    embar_config_destroy(config);
    world.sub[i] = sim->sub[i].s;
    return sim->sub[i].s;
}

void sim_close_publisher(struct sim *sim, unsigned i)
{
    embar_publisher_close(sim->pub[i]);
    sim->pub[i] = world.pub[i] = NULL;
}

void sim_close_subscriber(struct sim *sim, unsigned i)
{
    embar_subscriber_close(sim->sub[i].s);
    sim->sub[i].s = world.sub[i] = NULL;
}

void sim_close(struct sim *sim)
{
    (void)sim;
    close_world();
}

/* Mostly small, now and then as large as a slot takes. */
static size_t message_length(uint64_t number, size_t most)
{
    uint64_t state = number;
    uint64_t draw = next_random(&state);

    if (draw % 16 == 0)
        return most - (draw >> 8) % 3;
    return (draw >> 8) % 200;
}

static uint8_t message_byte(uint64_t number, size_t at)
{
    return (uint8_t)(number * 31 + at * 7 + (at >> 8));
}

size_t sim_message(uint64_t number, size_t most, uint8_t bytes[SIM_MESSAGE_BYTES])
{
    size_t len = message_length(number, most - 8);

    memcpy(bytes, &number, 8);
    for (size_t at = 0; at < len; at++)
        bytes[8 + at] = message_byte(number, at);
    return 8 + len;
}

int sim_publish(struct sim *sim, unsigned i)
{
    uint8_t bytes[SIM_MESSAGE_BYTES];
    uint64_t number = sim->published[i];
    size_t len = sim_message(number, embar_publisher_max_message(sim->pub[i]), bytes);
    int rc;

    if (number % 3 == 0) {
        void *room;

        rc = embar_reserve(sim->pub[i], len, &room);
        if (rc == 0) {
            memcpy(room, bytes, len);
            rc = embar_commit(sim->pub[i], len);
        }
    } else {
        rc = embar_publish(sim->pub[i], bytes, len);
    }
    if (rc == 0)
        sim->published[i]++;
    return rc;
}

static void check_message(struct sim_sub *sub, uint64_t publisher, const uint8_t *data, size_t len)
{
    unsigned from = 0;
    uint64_t number;

    assert_true(len >= 8);
    memcpy(&number, data, 8);
    while (sub->from[from].id != 0 && sub->from[from].id != publisher)
        assert_true(++from < SIM_PUBLISHERS);
    if (sub->from[from].id == 0) {
        sub->from[from].id = publisher;
        sub->from[from].first = number;
        sub->from[from].next = number;
    }
    assert_true(number >= sub->from[from].next);
    sub->from[from].missing += number - sub->from[from].next;
    sub->from[from].next = number + 1;
    assert_int_equal(len - 8, message_length(number, 4096 - 68 - 8));
    for (size_t at = 0; at < len - 8; at++)
        if (data[8 + at] != message_byte(number, at))
            fail_msg("message %llu differs at byte %zu", (unsigned long long)number, at);
    sub->messages++;
}

/* Reads a message of somebody who may lie about it: a sanitizer tells when it is not there. */
static void touch(const uint8_t *data, size_t len)
{
    static volatile uint8_t sink;

    for (size_t at = 0; at < len; at++)
        sink = (uint8_t)(sink + data[at]);
}

/* What a batch consists of: FNV-1a (Fowler, Noll, Vo). 0: its publisher may change it. */
static uint64_t sum_of(const struct sim_sub *sub, const struct embar_batch *batch)
{
    const struct embar_iter iter = embar_iterate(batch);
    uint64_t sum = 0xcbf29ce484222325u;
    struct embar_batch_info info;

    embar_batch_info(batch, &info);
    if (sub->trusted && info.publisher != sub->trusted)
        return 0;
    for (const uint8_t *at = iter.pos; at < iter.end; at++)
        sum = (sum ^ *at) * 0x100000001b3u;
    return sum;
}

int sim_take(struct sim *sim, unsigned i)
{
    struct sim_sub *sub = &sim->sub[i];
    int taken = 0;

    while (sub->held_count < SIM_HOLD) {
        struct embar_batch *batch;
        struct embar_batch_info info;
        struct embar_iter iter;
        const void *data;
        size_t len;
        int rc = embar_next(sub->s, &batch, 0);

        if (rc <= 0)
            break;
        embar_batch_info(batch, &info);
        iter = embar_iterate(batch);
        if (sub->trusted && info.publisher != sub->trusted) {
            while (embar_iter_next(&iter, &data, &len) == 1)
                touch(data, len);
        } else {
            while ((rc = embar_iter_next(&iter, &data, &len)) == 1)
                check_message(sub, info.publisher, data, len);
            assert_int_equal(rc, 0);
        }
        sub->held_sum[sub->held_count] = sum_of(sub, batch);
        sub->held[sub->held_count++] = batch;
        taken++;
    }
    return taken;
}

void sim_release(struct sim *sim, unsigned i)
{
    struct sim_sub *sub = &sim->sub[i];

    if (sub->held_count == 0)
        return;
    if (sum_of(sub, sub->held[0]) != sub->held_sum[0])
        fail_msg("a batch changed while subscriber %u held it", i);
    embar_release(sub->held[0]);
    sub->held_count--;
    memmove(sub->held, sub->held + 1, sub->held_count * sizeof *sub->held);
    memmove(sub->held_sum, sub->held_sum + 1, sub->held_count * sizeof *sub->held_sum);
}

void sim_step(struct sim *sim)
{
    for (unsigned i = 0; i < SIM_PUBLISHERS; i++)
        if (sim->pub[i])
            embar_publisher_poll(sim->pub[i], 0);
    for (unsigned i = 0; i < SIM_SUBSCRIBERS; i++) {
        if (!sim->sub[i].s)
            continue;
        sim_take(sim, i);
        while (sim->sub[i].held_count > 0)
            sim_release(sim, i);
        embar_subscriber_poll(sim->sub[i].s, 0);
    }
    sim_sleep(sim, 20 * NS_PER_US);
}

/* What is on its way may be due only after some polls. */
#define IDLE_WAKES 500

void sim_event_loop(struct sim *sim, uint64_t ns, bool release)
{
    uint64_t end = world.now_ns + ns;
    unsigned idle[SIM_PUBLISHERS + SIM_SUBSCRIBERS] = {0};

    while (world.now_ns < end) {
        for (unsigned i = 0; i < SIM_PUBLISHERS; i++) {
            if (!sim->pub[i] || embar_publisher_arm(sim->pub[i]) == 0)
                idle[i] = 0;
            else if (embar_publisher_poll(sim->pub[i], 0) == 0 && ++idle[i] > IDLE_WAKES)
                fail_msg("publisher %u is woken for nothing", i);
        }
        for (unsigned i = 0; i < SIM_SUBSCRIBERS; i++) {
            unsigned *wakes = &idle[SIM_PUBLISHERS + i];

            if (!sim->sub[i].s || embar_subscriber_arm(sim->sub[i].s) == 0)
                *wakes = 0;
            else if (sim_take(sim, i) == 0 && embar_subscriber_poll(sim->sub[i].s, 0) == 0 &&
                     ++*wakes > IDLE_WAKES)
                fail_msg("subscriber %u is woken for nothing", i);
            while (release && sim->sub[i].held_count > 0)
                sim_release(sim, i);
        }
        sim_sleep(sim, 20 * NS_PER_US);
    }
}

int sim_finish(struct sim *sim, unsigned i)
{
    for (int step = 0; step < FINISH_STEPS; step++) {
        int rc = embar_publisher_finish(sim->pub[i], 0);

        if (rc != -ETIMEDOUT)
            return rc;
        sim_step(sim);
    }
    return -ETIMEDOUT;
}

void sim_join(struct sim *sim, unsigned i)
{
    for (int step = 0; step < 10000; step++) {
        if (embar_publisher_wait(sim->pub[i], 0) == 0)
            return;
        sim_step(sim);
    }
    fail_msg("publisher %u did not start: %s", i, embar_publisher_failure(sim->pub[i])->text);
}

void sim_init_pair(struct sim *sim)
{
    sim_init(sim, 1);
    sim_subscriber(sim, 0, NULL);
    sim_publisher(sim, 0, NULL);
    sim_join(sim, 0);
}

struct embar_stats sim_pub_stats(const struct sim *sim, unsigned i)
{
    struct embar_stats stats;

    embar_publisher_stats(sim->pub[i], &stats);
    return stats;
}

struct embar_stats sim_sub_stats(const struct sim *sim, unsigned i)
{
    struct embar_stats stats;

    embar_subscriber_stats(sim->sub[i].s, &stats);
    return stats;
}
