/* From what the processes of a run counted to the figures of a table, and their medians over
 * rounds. One list of figures serves table, JSON and plots. */
#ifndef TOOLS_PERF_FIGURES_H
#define TOOLS_PERF_FIGURES_H

#include "perf.h"
#include "tool.h"

enum perf_figure {
    PERF_CONSUMED_GBPS, /* over all links */
    PERF_PLACED_GBPS,
    PERF_SENT_GBPS,
    PERF_MESSAGES_PER_S, /* over all links */
    PERF_PUBLISHER_CPU,  /* seconds per GB over all links */
    PERF_SUBSCRIBER_CPU,
    PERF_PUBLISHER_CALLS, /* system calls per batch */
    PERF_SUBSCRIBER_CALLS,
    PERF_PUBLISHER_BUSY, /* percent of a core, the busiest of them */
    PERF_SUBSCRIBER_BUSY,
    PERF_LATENCY_P50, /* us */
    PERF_LATENCY_P90,
    PERF_LATENCY_P99,
    PERF_LATENCY_P999,
    PERF_LATENCY_MAX,
    PERF_MEMORY, /* MiB of buffers per link, both ends together */
    PERF_FIGURES,
};

struct perf_figure_info {
    const char *key;     /* in the JSON */
    const char *heading; /* in the table */
    int digits;          /* after the point, in the table */
    unsigned modes;      /* bits 1 << enum perf_mode: where the table shows it */
};

extern const struct perf_figure_info perf_figure_info[PERF_FIGURES];

/* One run of one point. */
struct perf_figures {
    double of[PERF_FIGURES];
    uint64_t messages, bytes, batches; /* of all publishers */
    uint64_t size_bytes;
    double seconds;
    char transport[16], send_mode[16], page_kind[16];
    char transport_why[256], send_mode_why[160];
};

/* All runs of one point. */
struct perf_series {
    struct perf_point point;
    struct perf_figures *runs; /* owned; one of each round */
    uint64_t run_count;
};

void perf_figures_of(const struct perf_plan *plan, const struct perf_point *point,
                     const struct perf_result *results, struct perf_figures *figures);

/* Median, least and most of a figure over the runs; 0 when there are none. */
double perf_series_median(const struct perf_series *series, enum perf_figure figure);
void perf_series_range(const struct perf_series *series, enum perf_figure figure, double *least,
                       double *most);

#endif
