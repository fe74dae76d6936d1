/*
 * A publisher and subscribers over the in-memory backend, in one thread, with time and randomness
 * from a seed: the same seed gives the same run. Time passes by itself, one microsecond whenever
 * anybody looks at the clock, and by sim_sleep.
 */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <embar/embar.h>

#include "common/clock.h"

#define SIM_SUBSCRIBERS 4
#define SIM_PUBLISHERS  4
#define SIM_HOLD        8 /* batches that a subscriber's application holds at most */

/* How many of so many seeds are run: a sanitizer, which looks for another kind of defect, makes
 * each of them slow. */
#ifdef __SANITIZE_ADDRESS__
#define SIM_SEEDS(count) ((count) / 3)
#else
#define SIM_SEEDS(count) (count)
#endif

/* A subscriber and its application, which checks every message. */
struct sim_sub {
    struct embar_subscriber *s;
    struct embar_batch *held[SIM_HOLD];
    uint64_t held_sum[SIM_HOLD]; /* of their bytes when they were taken */
    unsigned held_count;
    uint64_t trusted; /* publisher whose messages are checked; 0: all */
    struct {
        uint64_t id;
        uint64_t first;   /* number of the first message that came */
        uint64_t next;    /* number of the message due next */
        uint64_t missing; /* numbers skipped */
    } from[SIM_PUBLISHERS];
    uint64_t messages;
};

struct sim {
    struct embar_publisher *pub[SIM_PUBLISHERS];
    uint64_t published[SIM_PUBLISHERS];
    struct sim_sub sub[SIM_SUBSCRIBERS];
};

void sim_init(struct sim *sim, uint64_t seed);
uint64_t sim_random(struct sim *sim, uint64_t below);
void sim_sleep(struct sim *sim, uint64_t ns);

uint64_t sim_now_ns(void); /* without letting time pass */

/* The simulation's time and randomness, for transports that a test opens by itself. */
const struct env *sim_env(void);

/* Opens with small buffers (16 slots of 4 KiB) and `settings`, "KEY=VALUE" strings up to NULL.
 * Publisher i and subscriber i connect and listen as the settings say; without any, subscriber 0
 * listens and publishers connect to it. */
struct embar_publisher *sim_publisher(struct sim *sim, unsigned i, ...);
struct embar_subscriber *sim_subscriber(struct sim *sim, unsigned i, ...);

/* Close one, or all that are open. */
void sim_close_publisher(struct sim *sim, unsigned i);
void sim_close_subscriber(struct sim *sim, unsigned i);
void sim_close(struct sim *sim);

/* Builds message `number`, whose length and bytes follow from it; returns its length. */
#define SIM_MESSAGE_BYTES 4096
size_t sim_message(uint64_t number, size_t most, uint8_t bytes[SIM_MESSAGE_BYTES]);

/* Publishes message number `published[i]`, of a length and bytes that follow from the number. */
int sim_publish(struct sim *sim, unsigned i);

/* Lets subscriber `i` take what it can hold, checking messages: their bytes, and that numbers only
 * grow. Returns how many batches it took. */
int sim_take(struct sim *sim, unsigned i);

/* Releases the batch held the longest. */
void sim_release(struct sim *sim, unsigned i);

/* Polls everybody once; subscribers take and release everything. */
void sim_step(struct sim *sim);

/* Steps until publisher i has finished; returns what finish returned, -ETIMEDOUT after many steps.
 */
int sim_finish(struct sim *sim, unsigned i);

/* Steps until publisher i has started. */
void sim_join(struct sim *sim, unsigned i);

/* What most tests begin with: a publisher and a subscriber by their defaults, joined. */
void sim_init_pair(struct sim *sim);

/* Runs everybody as an event loop would, for `ns`: who can sleep is not called before its
 * descriptor would wake it. Applications take batches and release them, if `release`. Fails when
 * somebody who says that there is work never finds any. */
void sim_event_loop(struct sim *sim, uint64_t ns, bool release);

struct embar_stats sim_pub_stats(const struct sim *sim, unsigned i);
struct embar_stats sim_sub_stats(const struct sim *sim, unsigned i);

#endif
