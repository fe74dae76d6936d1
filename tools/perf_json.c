/*
 * The JSON of embar-perf: the plan, and for each point its settings, the medians, and every single
 * run. Figures that the mode does not give are left out rather than zero. One thread, at the end.
 */
#include "perf_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "perf_sweep.h"
#include "perf_table.h"
#include "report.h"
#include "report_value.h"

static json_t *settings(const struct perf_point *point)
{
    json_t *object = json_object();

    for (unsigned d = 0; d < PERF_DIMENSIONS; d++) {
        const char *value = perf_point_value(point, d);

        if (value[0])
            json_object_set_new(object, perf_dimension_name(d), json_string(value));
    }
    return object;
}

static void add_figures(const struct perf_plan *plan, json_t *object,
                        const struct perf_series *series, const struct perf_figures *run)
{
    for (unsigned f = 0; f < PERF_FIGURES; f++)
        if (perf_figure_info[f].modes & 1u << plan->mode)
            json_object_set_new(object, perf_figure_info[f].key,
                                real(run ? run->of[f] : perf_series_median(series, f), 1e6));
}

static json_t *describe_run(const struct perf_plan *plan, const struct perf_figures *run)
{
    json_t *object = json_object();

    json_object_set_new(object, "messages", number(run->messages));
    json_object_set_new(object, "bytes", number(run->bytes));
    json_object_set_new(object, "batches", number(run->batches));
    json_object_set_new(object, "seconds", real(run->seconds, 1e6));
    json_object_set_new(object, "size_bytes", number(run->size_bytes));
    add_figures(plan, object, NULL, run);
    json_object_set_new(object, "transport", json_string(run->transport));
    json_object_set_new(object, "transport_why", json_string(run->transport_why));
    json_object_set_new(object, "send_mode", json_string(run->send_mode));
    json_object_set_new(object, "send_mode_why", json_string(run->send_mode_why));
    json_object_set_new(object, "pages", json_string(run->page_kind));
    return object;
}

static json_t *describe_point(const struct perf_plan *plan, const struct perf_series *series)
{
    json_t *object = json_object(), *median = json_object(), *runs = json_array();

    add_figures(plan, median, series, NULL);
    for (uint64_t i = 0; i < series->run_count; i++)
        json_array_append_new(runs, describe_run(plan, &series->runs[i]));
    json_object_set_new(object, "settings", settings(&series->point));
    json_object_set_new(object, "median", median);
    json_object_set_new(object, "runs", runs);
    return object;
}

static json_t *describe_plan(const struct perf_plan *plan)
{
    static const char *const modes[] = {"throughput", "latency", "load", "idle"};
    static const char *const sources[] = {"number", "fill", "in-place"};
    static const char *const touches[] = {"none", "headers", "all"};
    json_t *object = json_object(), *cpus = json_array();

    for (unsigned i = 0; i < plan->cpu_count; i++)
        json_array_append_new(cpus, json_integer(plan->cpus[i]));
    json_object_set_new(object, "mode", json_string(modes[plan->mode]));
    if (plan->mode == PERF_THROUGHPUT)
        json_object_set_new(object, "source", json_string(sources[plan->source]));
    if (plan->mode == PERF_THROUGHPUT || plan->mode == PERF_LOAD)
        json_object_set_new(object, "touch", json_string(touches[plan->touch]));
    json_object_set_new(object, "rounds", number(plan->rounds));
    json_object_set_new(object, "duration_seconds",
                        real((double)plan->duration_ns / NS_PER_S, 1e6));
    json_object_set_new(object, "warmup_seconds", real((double)plan->warmup_ns / NS_PER_S, 1e6));
    if (plan->mode == PERF_LOAD)
        json_object_set_new(object, "load_messages_per_s", number(plan->load_rate));
    json_object_set_new(object, "address", json_string(plan->address));
    json_object_set_new(object, "cpus", cpus);
    return object;
}

static char *build(const struct perf_plan *plan, const struct perf_series *series, size_t count,
                   const struct outcome *outcome)
{
    json_t *object = json_object(), *points = json_array();
    char *text;

    for (size_t i = 0; i < count; i++)
        json_array_append_new(points, describe_point(plan, &series[i]));
    json_object_set_new(object, "tool", json_string(tool_name()));
    json_object_set_new(object, "version", json_string(embar_version()));
    json_object_set_new(object, "exit_status", number(outcome->status));
    json_object_set_new(object, "error",
                        outcome->error[0] ? json_string(outcome->error) : json_null());
    json_object_set_new(object, "plan", describe_plan(plan));
    json_object_set_new(object, "points", points);
    text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(object);
    return text;
}

enum tool_status perf_json_write(const char *path, const struct perf_plan *plan,
                                 const struct perf_series *series, size_t count,
                                 struct outcome *outcome)
{
    return report_write_text(path, build(plan, series, count, outcome), "results", outcome);
}
