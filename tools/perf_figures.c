/*
 * Figures from counters. Rates are of bytes that reached a level between the beginning of the
 * measured time and the last of them, summed over all links: what a subscriber gets counts once for
 * each subscriber. Pure.
 */
#include "perf_figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T (1u << PERF_THROUGHPUT)
#define P (1u << PERF_LATENCY)
#define L (1u << PERF_LOAD)
#define I (1u << PERF_IDLE)

const struct perf_figure_info perf_figure_info[PERF_FIGURES] = {
    [PERF_CONSUMED_GBPS] = {"consumed_gbps", "GB/s", 2, T},
    [PERF_PLACED_GBPS] = {"placed_gbps", "placed", 2, T},
    [PERF_SENT_GBPS] = {"sent_gbps", "sent", 2, T},
    [PERF_MESSAGES_PER_S] = {"messages_per_s", "messages/s", 0, T | P | L},
    [PERF_PUBLISHER_CPU] = {"publisher_cpu_s_per_gb", "pub s/GB", 3, T},
    [PERF_SUBSCRIBER_CPU] = {"subscriber_cpu_s_per_gb", "sub s/GB", 3, T},
    [PERF_PUBLISHER_CALLS] = {"publisher_calls_per_batch", "pub calls", 2, T},
    [PERF_SUBSCRIBER_CALLS] = {"subscriber_calls_per_batch", "sub calls", 2, T},
    [PERF_PUBLISHER_BUSY] = {"publisher_cpu_percent", "pub CPU %", 1, P | L | I},
    [PERF_SUBSCRIBER_BUSY] = {"subscriber_cpu_percent", "sub CPU %", 1, P | L | I},
    [PERF_LATENCY_P50] = {"latency_us_p50", "p50 us", 2, P | L},
    [PERF_LATENCY_P90] = {"latency_us_p90", "p90", 2, P | L},
    [PERF_LATENCY_P99] = {"latency_us_p99", "p99", 2, P | L},
    [PERF_LATENCY_P999] = {"latency_us_p999", "p99.9", 2, P | L},
    [PERF_LATENCY_MAX] = {"latency_us_max", "max", 1, P | L},
    [PERF_MEMORY] = {"buffer_mib_per_link", "MiB/link", 0, T | I},
};

static uint64_t cpu_ns(const struct perf_result *result)
{
    return result->end.user_ns + result->end.system_ns - result->begin.user_ns -
           result->begin.system_ns;
}

static uint64_t calls(const struct perf_result *result)
{
    const struct embar_stats *begin = &result->begin.stats, *end = &result->end.stats;

    return end->send_calls + end->receive_calls - begin->send_calls - begin->receive_calls;
}

static double busy(const struct perf_result *result)
{
    uint64_t ns = result->end.at_ns - result->begin.at_ns;

    return ns > 0 ? 100.0 * (double)cpu_ns(result) / (double)ns : 0;
}

static double rate(const struct perf_result *publisher, enum embar_level level)
{
    const struct embar_stats *begin = &publisher->begin.stats, *end = &publisher->end.stats;

    if (end->level_ns[level] <= publisher->begin.at_ns)
        return 0;
    return (double)(end->level_bytes[level] - begin->level_bytes[level]) /
           (double)(end->level_ns[level] - publisher->begin.at_ns);
}

static void describe(struct perf_figures *figures, const struct perf_result *publisher)
{
    const struct embar_stats *stats = &publisher->end.stats;

    figures->size_bytes = publisher->size_bytes;
    snprintf(figures->transport, sizeof(figures->transport), "%s", stats->transport);
    snprintf(figures->transport_why, sizeof(figures->transport_why), "%s", stats->transport_why);
    snprintf(figures->send_mode, sizeof(figures->send_mode), "%s", stats->send_mode);
    snprintf(figures->send_mode_why, sizeof(figures->send_mode_why), "%s", stats->send_mode_why);
}

/* The worst of all buffers': what is not hugetlb is said. */
static void describe_pages(struct perf_figures *figures, const struct perf_result *results,
                           unsigned count)
{
    static const char *const worse[] = {"hugetlb", "thp", "ordinary"};

    for (unsigned kind = 0; kind < sizeof(worse) / sizeof(*worse); kind++)
        for (unsigned i = 0; i < count; i++)
            if (strcmp(results[i].end.stats.page_kind, worse[kind]) == 0)
                snprintf(figures->page_kind, sizeof(figures->page_kind), "%s", worse[kind]);
}

static void add_rates(struct perf_figures *figures, const struct perf_result *publishers,
                      unsigned count, double links)
{
    for (unsigned i = 0; i < count; i++) {
        const struct perf_result *result = &publishers[i];
        double seconds = (double)(result->end.at_ns - result->begin.at_ns) * 1e-9;

        figures->of[PERF_CONSUMED_GBPS] += rate(result, EMBAR_CONSUMED) * links;
        figures->of[PERF_PLACED_GBPS] += rate(result, EMBAR_PLACED) * links;
        figures->of[PERF_SENT_GBPS] += rate(result, EMBAR_SENT) * links;
        figures->of[PERF_MESSAGES_PER_S] += (double)result->messages / seconds * links;
        figures->messages += result->messages;
        figures->bytes += result->end.stats.bytes - result->begin.stats.bytes;
        figures->batches += result->end.stats.batches - result->begin.stats.batches;
        if (seconds > figures->seconds)
            figures->seconds = seconds;
    }
}

/* Of one end: CPU time per GB, calls per batch, the busiest process. */
static void add_cost(struct perf_figures *figures, const struct perf_result *results,
                     unsigned count, double gigabytes, double batches, enum perf_figure cpu,
                     enum perf_figure per_batch, enum perf_figure percent)
{
    uint64_t all_cpu_ns = 0, all_calls = 0;

    for (unsigned i = 0; i < count; i++) {
        all_cpu_ns += cpu_ns(&results[i]);
        all_calls += calls(&results[i]);
        if (busy(&results[i]) > figures->of[percent])
            figures->of[percent] = busy(&results[i]);
    }
    if (gigabytes > 0)
        figures->of[cpu] = (double)all_cpu_ns * 1e-9 / gigabytes;
    if (batches > 0)
        figures->of[per_batch] = (double)all_calls / batches;
}

static void add_latency(struct perf_figures *figures, const struct perf_result *results,
                        unsigned count)
{
    static const struct {
        enum perf_figure figure;
        double quantile;
    } quantiles[] = {{PERF_LATENCY_P50, 0.5},
                     {PERF_LATENCY_P90, 0.9},
                     {PERF_LATENCY_P99, 0.99},
                     {PERF_LATENCY_P999, 0.999}};
    struct histogram all = {0};

    for (unsigned i = 0; i < count; i++)
        histogram_merge(&all, &results[i].latency);
    for (unsigned i = 0; i < sizeof(quantiles) / sizeof(*quantiles); i++)
        figures->of[quantiles[i].figure] =
            (double)histogram_quantile(&all, quantiles[i].quantile) * 1e-3;
    figures->of[PERF_LATENCY_MAX] = (double)all.max * 1e-3;
}

void perf_figures_of(const struct perf_plan *plan, const struct perf_point *point,
                     const struct perf_result *results, struct perf_figures *figures)
{
    unsigned publishers = point->publishers, subscribers = point->subscribers;
    double links = (double)subscribers, gigabytes, batches;
    uint64_t memory = 0;

    *figures = (struct perf_figures){0};
    describe(figures, &results[0]);
    describe_pages(figures, results, publishers + subscribers);
    add_rates(figures, results, publishers, links);
    gigabytes = (double)figures->bytes * links * 1e-9;
    batches = (double)figures->batches * links;
    add_cost(figures, results, publishers, gigabytes, batches, PERF_PUBLISHER_CPU,
             PERF_PUBLISHER_CALLS, PERF_PUBLISHER_BUSY);
    add_cost(figures, results + publishers, subscribers, gigabytes, batches, PERF_SUBSCRIBER_CPU,
             PERF_SUBSCRIBER_CALLS, PERF_SUBSCRIBER_BUSY);
    add_latency(figures, plan->mode == PERF_LATENCY ? results : results + publishers,
                plan->mode == PERF_LATENCY ? 1 : subscribers);
    for (unsigned i = 0; i < publishers + subscribers; i++)
        memory += results[i].end.stats.buffer_bytes;
    figures->of[PERF_MEMORY] =
        (double)memory / (1024.0 * 1024.0) / (double)(publishers * subscribers);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double perf_series_median(const struct perf_series *series, enum perf_figure figure)
{
    uint64_t count = series->run_count;
    double *values = count > 0 ? malloc(count * sizeof(*values)) : NULL;
    double median;

    if (!values)
        return 0;
    for (uint64_t i = 0; i < count; i++)
        values[i] = series->runs[i].of[figure];
    qsort(values, count, sizeof(*values), compare);
    median = count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
    free(values);
    return median;
}

void perf_series_range(const struct perf_series *series, enum perf_figure figure, double *least,
                       double *most)
{
    *least = *most = series->run_count > 0 ? series->runs[0].of[figure] : 0;
    for (uint64_t i = 1; i < series->run_count; i++) {
        double value = series->runs[i].of[figure];

        if (value < *least)
            *least = value;
        if (value > *most)
            *most = value;
    }
}
