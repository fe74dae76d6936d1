/*
 * The table on the terminal: the settings that differ between points, then the figures of the mode.
 * Cells are made first and printed when the width of every column is known. One thread.
 */
#include "perf_table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "perf_sweep.h"

#define CELL_BYTES   32
#define COLUMNS_MOST (PERF_DIMENSIONS + PERF_FIGURES + 4)

struct column {
    char heading[CELL_BYTES];
    bool is_text; /* to the left */
    size_t width;
};

struct table {
    struct column columns[COLUMNS_MOST];
    unsigned column_count;
    char (*cells)[COLUMNS_MOST][CELL_BYTES]; /* owned; a row for each series */
};

const char *perf_point_value(const struct perf_point *point, enum perf_dimension dimension)
{
    if (point->values[dimension])
        return point->values[dimension];
    if (dimension == PERF_SIZE)
        return point->size_bytes ? "64" : "full";
    return dimension == PERF_PUBLISHERS || dimension == PERF_SUBSCRIBERS ? "1" : "";
}

static struct column *add_column(struct table *table, const char *heading, bool is_text)
{
    struct column *column = &table->columns[table->column_count++];

    snprintf(column->heading, sizeof(column->heading), "%s", heading);
    column->is_text = is_text;
    column->width = strlen(heading);
    return column;
}

__attribute__((format(printf, 3, 4))) static void cell(struct table *table, size_t row,
                                                       const char *fmt, ...)
{
    struct column *column = &table->columns[table->column_count - 1];
    char *text = table->cells[row][table->column_count - 1];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, CELL_BYTES, fmt, args);
    va_end(args);
    if (strlen(text) > column->width)
        column->width = strlen(text);
}

static void add_settings(const struct perf_plan *plan, struct table *table,
                         const struct perf_series *series, size_t count)
{
    add_column(table, "transport", true);
    for (size_t i = 0; i < count; i++)
        if (series[i].run_count > 0)
            cell(table, i, "%s", series[i].runs[0].transport);
    add_column(table, "size", false);
    for (size_t i = 0; i < count; i++)
        if (series[i].run_count > 0)
            cell(table, i, "%" PRIu64, series[i].runs[0].size_bytes);
    for (unsigned d = PERF_BATCH; d < PERF_DIMENSIONS; d++) {
        if (plan->value_count[d] < 2)
            continue;
        add_column(table, perf_dimension_name(d), !perf_dimension_is_number(d));
        for (size_t i = 0; i < count; i++)
            cell(table, i, "%s", series[i].point.values[d]);
    }
}

static void add_figures(const struct perf_plan *plan, struct table *table,
                        const struct perf_series *series, size_t count)
{
    for (unsigned f = 0; f < PERF_FIGURES; f++) {
        const struct perf_figure_info *info = &perf_figure_info[f];

        if (!(info->modes & 1u << plan->mode))
            continue;
        add_column(table, info->heading, false);
        for (size_t i = 0; i < count; i++)
            cell(table, i, "%.*f", info->digits, perf_series_median(&series[i], f));
        if (plan->rounds < 2 || (f != PERF_CONSUMED_GBPS && f != PERF_LATENCY_P50))
            continue;
        add_column(table, "low-high", false);
        for (size_t i = 0; i < count; i++) {
            double least, most;

            perf_series_range(&series[i], f, &least, &most);
            cell(table, i, "%.*f-%.*f", info->digits, least, info->digits, most);
        }
    }
}

static void add_choices(struct table *table, const struct perf_series *series, size_t count)
{
    add_column(table, "mode", true);
    for (size_t i = 0; i < count; i++)
        if (series[i].run_count > 0)
            cell(table, i, "%s", series[i].runs[series[i].run_count - 1].send_mode);
    add_column(table, "pages", true);
    for (size_t i = 0; i < count; i++)
        if (series[i].run_count > 0)
            cell(table, i, "%s", series[i].runs[series[i].run_count - 1].page_kind);
}

static void print_cell(const struct column *column, const char *text, bool is_last, FILE *out)
{
    if (is_last)
        fprintf(out, "%s\n", text);
    else
        fprintf(out, column->is_text ? "%-*s  " : "%*s  ", (int)column->width, text);
}

static const struct perf_figures *last_run(const struct perf_series *series)
{
    return series->run_count > 0 ? &series->runs[series->run_count - 1] : NULL;
}

/* Why each transport sends as it does, once. */
static void print_reasons(const struct perf_series *series, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct perf_figures *run = last_run(&series[i]), *earlier;
        bool said = false;

        for (size_t j = 0; run && j < i; j++)
            said |= (earlier = last_run(&series[j])) &&
                    strcmp(earlier->transport, run->transport) == 0 &&
                    strcmp(earlier->send_mode, run->send_mode) == 0;
        if (run && !said && run->send_mode_why[0])
            fprintf(out, "%s, send mode %s: %s\n", run->transport, run->send_mode,
                    run->send_mode_why);
    }
}

/* A rate at which nobody moved the bytes must not pass for one of memory. */
static void print_untouched(const struct perf_plan *plan, const struct perf_series *series,
                            size_t count, FILE *out)
{
    bool mapped = false;

    for (size_t i = 0; i < count; i++) {
        const struct perf_figures *run = last_run(&series[i]);

        mapped |=
            run && (strcmp(run->send_mode, "in-place") == 0 || strcmp(run->send_mode, "lent") == 0);
    }
    if (mapped && plan->mode == PERF_THROUGHPUT && plan->source == PERF_NUMBER)
        fprintf(
            out,
            "In place, or lent, nothing copies the payload, and here nothing wrote it either: such "
            "a rate is one of batches. --source in-place --touch all moves every byte.\n");
}

/* An interrupted plan has not come to all of its rounds at every point. */
static uint64_t fewest_runs(const struct perf_series *series, size_t count)
{
    uint64_t fewest = UINT64_MAX;

    for (size_t i = 0; i < count; i++)
        if (series[i].run_count > 0 && series[i].run_count < fewest)
            fewest = series[i].run_count;
    return fewest;
}

static void print_heading(const struct perf_plan *plan, uint64_t rounds, FILE *out)
{
    static const char *const modes[] = {
        [PERF_THROUGHPUT] = "Throughput, consumed, over all links",
        [PERF_LATENCY] = "Ping-pong, half the round trip",
        [PERF_LOAD] = "One-way latency under load, from when each message was due",
        [PERF_IDLE] = "Idle",
    };
    static const char *const sources[] = {"numbered only", "copied by publish",
                                          "every byte written in place"};
    static const char *const touches[] = {"batches only", "every message's number",
                                          "every cache line"};

    fprintf(out, "%s; %g s each, ", modes[plan->mode], (double)plan->duration_ns / NS_PER_S);
    if (rounds > 1)
        fprintf(out, "median of %" PRIu64, rounds);
    else
        fprintf(out, "one run");
    if (plan->mode == PERF_LOAD)
        fprintf(out, "; %" PRIu64 " messages/s from each publisher", plan->load_rate);
    if (plan->mode == PERF_THROUGHPUT)
        fprintf(out, "; payload %s; subscriber reads %s", sources[plan->source],
                touches[plan->touch]);
    fprintf(out, "\n");
}

void perf_table_print(const struct perf_plan *plan, const struct perf_series *series, size_t count,
                      FILE *out)
{
    struct table table = {.cells = calloc(count, sizeof(*table.cells))};

    if (!table.cells)
        return;
    add_settings(plan, &table, series, count);
    add_figures(plan, &table, series, count);
    add_choices(&table, series, count);
    print_heading(plan, fewest_runs(series, count), out);
    for (unsigned c = 0; c < table.column_count; c++)
        print_cell(&table.columns[c], table.columns[c].heading, c + 1 == table.column_count, out);
    for (size_t i = 0; i < count; i++)
        for (unsigned c = 0; c < table.column_count && series[i].run_count > 0; c++)
            print_cell(&table.columns[c], table.cells[i][c], c + 1 == table.column_count, out);
    print_reasons(series, count, out);
    print_untouched(plan, series, count, out);
    free(table.cells);
}
