/*
 * A histogram of durations with a bounded relative error of 1/32: 64 powers of two, each cut into
 * 32 steps. Recording is a few instructions and never allocates. One thread.
 */
#ifndef COMMON_HISTOGRAM_H
#define COMMON_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS   32
#define HISTOGRAM_BUCKETS (60 * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count, max, sum;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_record(struct histogram *h, uint64_t value);

/* The value below which `quantile` (0 .. 1) of the records lie (upper edge of its step, never above
 * max); 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double quantile);

/* Adds all of `from` into `into`. */
void histogram_merge(struct histogram *into, const struct histogram *from);

#endif
