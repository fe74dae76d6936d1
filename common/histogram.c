/*
 * A histogram with steps that grow with the value: below 32 each value has a bucket of its own,
 * above that each power of two is cut into 32. Owned by its one thread; no allocation.
 */
#include "common/histogram.h"

#define STEP_BITS 5 /* HISTOGRAM_STEPS is 2^5 */

_Static_assert(HISTOGRAM_STEPS == 1 << STEP_BITS, "steps are a power of two");
_Static_assert(HISTOGRAM_BUCKETS == (64 - STEP_BITS + 1) * HISTOGRAM_STEPS,
               "every value has a bucket");

static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - STEP_BITS;
    return (shift + 1) * HISTOGRAM_STEPS + (unsigned)(value >> shift) - HISTOGRAM_STEPS;
}

/* The largest value that falls into the bucket. */
static uint64_t upper_edge(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    /* The last bucket's edge wraps to UINT64_MAX, which is what it should be. */
    return ((uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS + 1) << shift) - 1;
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

void histogram_record(struct histogram *h, uint64_t value)
{
    h->count++;
    h->sum = add_capped(h->sum, value);
    if (value > h->max)
        h->max = value;
    h->buckets[bucket_of(value)]++;
}

uint64_t histogram_quantile(const struct histogram *h, double quantile)
{
    if (h->count == 0)
        return 0;
    if (!(quantile > 0))
        quantile = 0;
    if (quantile >= 1)
        return h->max;

    /* The rank of the record wanted, from 1, rounded up: p50 of three records is the second. */
    double exact = quantile * (double)h->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            uint64_t edge = upper_edge(i);
            return edge < h->max ? edge : h->max;
        }
    }
    return h->max;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    into->sum = add_capped(into->sum, from->sum);
    if (from->max > into->max)
        into->max = from->max;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}
