/*
 * embar-perf: measures streams between processes that it starts itself. Reads its command line,
 * runs all points of the sweep round after round, prints a table, writes JSON and pictures. Owns
 * the results; one thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "perf_args.h"
#include "perf_json.h"
#include "perf_plot.h"
#include "perf_run.h"
#include "perf_sweep.h"
#include "perf_table.h"

struct perf {
    struct perf_args args;
    struct outcome outcome;
    struct perf_series *series; /* owned; one for each point */
    size_t count;
    struct perf_result *results; /* owned; of one run */
};

static bool prepare(struct perf *perf)
{
    const struct perf_plan *plan = &perf->args.plan;

    perf->count = perf_sweep_points(plan);
    perf->series = calloc(perf->count, sizeof(*perf->series));
    perf->results = calloc(PERF_WORKERS, sizeof(*perf->results));
    if (!perf->series || !perf->results)
        goto no_memory;
    for (size_t i = 0; i < perf->count; i++) {
        if (perf_sweep_point(plan, i, &perf->series[i].point, &perf->outcome) != TOOL_OK)
            return false;
        perf->series[i].runs = calloc(plan->rounds, sizeof(*perf->series[i].runs));
        if (!perf->series[i].runs)
            goto no_memory;
    }
    return true;

no_memory:
    outcome_fail(&perf->outcome, TOOL_TRANSPORT, "out of memory for %zu points of %" PRIu64 " runs",
                 perf->count, plan->rounds);
    return false;
}

static void release(struct perf *perf)
{
    for (size_t i = 0; perf->series && i < perf->count; i++)
        free(perf->series[i].runs);
    free(perf->series);
    free(perf->results);
    perf_args_destroy(&perf->args);
}

static void show_progress(const struct perf *perf, uint64_t round, size_t point)
{
    char line[128];

    if (!isatty(STDERR_FILENO) || perf->args.common.quiet)
        return;
    snprintf(line, sizeof(line), "round %" PRIu64 " of %" PRIu64 ", point %zu of %zu", round + 1,
             perf->args.plan.rounds, point + 1, perf->count);
    tool_foot(line);
}

/* All points, round after round, so that what disturbs the machine for a while disturbs all alike.
 */
static void measure(struct perf *perf)
{
    const struct perf_plan *plan = &perf->args.plan;

    for (uint64_t round = 0; round < plan->rounds; round++)
        for (size_t i = 0; i < perf->count; i++) {
            struct perf_series *series = &perf->series[i];

            show_progress(perf, round, i);
            if (perf_run(plan, &series->point, perf->results, &perf->outcome) != TOOL_OK)
                return;
            perf_figures_of(plan, &series->point, perf->results,
                            &series->runs[series->run_count++]);
        }
}

int main(int argc, char **argv)
{
    static struct perf perf;
    struct perf_args *args = &perf.args;

    tool_start("embar-perf");
    if (perf_args_parse(args, argc, argv, &perf.outcome) == ARGS_RUN && prepare(&perf)) {
        measure(&perf);
        tool_foot(NULL);
        if (perf.series[0].run_count > 0)
            perf_table_print(&args->plan, perf.series, perf.count,
                             args->json && args->json[0] == '-' && !args->json[1] ? stderr
                                                                                  : stdout);
        if (args->json)
            perf_json_write(args->json, &args->plan, perf.series, perf.count, &perf.outcome);
        if (args->plot && perf.outcome.status == TOOL_OK)
            perf_plot_write(args->plot, &args->plan, perf.series, perf.count, &perf.outcome);
    }
    release(&perf);
    return (int)perf.outcome.status;
}
