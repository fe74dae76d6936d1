/*
 * What a sweep looks like. The longest list of numbers in it becomes the x axis, equally spaced as
 * it was given; every combination of the rest is a line. Without one the points stand side by side
 * as bars, or, for latency, as lines over the percentiles. Medians are drawn, with whiskers from
 * the lowest to the highest run. One thread, at the end.
 */
#include "perf_plot.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "perf_sweep.h"
#include "perf_table.h"

#define LABEL_BYTES 160
#define NO_AXIS     PERF_DIMENSIONS

struct picture {
    const char *name, *title, *unit;
    enum perf_figure figures[5]; /* one line for each of them */
    const char *labels[5];       /* "" for an only one */
    unsigned figure_count;
    bool is_log;
    bool by_figure; /* without an x axis: the figures are it */
};

static const struct picture throughput = {"throughput", "Throughput, consumed, over all links",
                                          "GB/s",       {PERF_CONSUMED_GBPS},
                                          {""},         1,
                                          false,        false};
static const struct picture messages = {"messages",   "Messages consumed, over all links",
                                        "messages/s", {PERF_MESSAGES_PER_S},
                                        {""},         1,
                                        true,         false};
static const struct picture cost = {"cost",
                                    "CPU time of each end",
                                    "CPU seconds per GB",
                                    {PERF_PUBLISHER_CPU, PERF_SUBSCRIBER_CPU},
                                    {"publisher", "subscriber"},
                                    2,
                                    false,
                                    false};
static const struct picture percentiles = {
    "latency",
    "",
    "microseconds",
    {PERF_LATENCY_P50, PERF_LATENCY_P90, PERF_LATENCY_P99, PERF_LATENCY_P999, PERF_LATENCY_MAX},
    {"p50", "p90", "p99", "p99.9", "max"},
    5,
    true,
    true};
static const struct picture latency_over = {
    "latency",      "", "microseconds", {PERF_LATENCY_P50, PERF_LATENCY_P99},
    {"p50", "p99"}, 2,  true,           false};
static const struct picture idle = {"idle",
                                    "Joined and silent",
                                    "percent of a core",
                                    {PERF_PUBLISHER_BUSY, PERF_SUBSCRIBER_BUSY},
                                    {"publisher", "subscriber"},
                                    2,
                                    false,
                                    false};

struct plot {
    const struct perf_plan *plan;
    const struct perf_series *series;
    size_t count;
    unsigned axis; /* an enum perf_dimension, or NO_AXIS */
    FILE *out;
};

static unsigned choose_axis(const struct perf_plan *plan)
{
    unsigned axis = NO_AXIS, most = 1;

    for (unsigned d = 0; d < PERF_DIMENSIONS; d++)
        if (perf_dimension_is_number(d) && plan->value_count[d] > most) {
            axis = d;
            most = plan->value_count[d];
        }
    return axis;
}

/* What tells the point from the others, the x axis aside: "tcp, batch 2MiB". */
static const char *label_point(const struct plot *plot, const struct perf_series *series,
                               char *label)
{
    size_t used = 0;

    label[0] = '\0';
    for (unsigned d = 0; d < PERF_DIMENSIONS; d++) {
        const char *value = perf_point_value(&series->point, d);
        bool is_number = perf_dimension_is_number(d);

        if (d == plot->axis || (plot->plan->value_count[d] < 2 && d != PERF_TRANSPORT))
            continue;
        if (d == PERF_TRANSPORT && series->run_count > 0)
            value = series->runs[0].transport;
        used +=
            (size_t)snprintf(label + used, LABEL_BYTES - used, "%s%s%s%s", used ? ", " : "",
                             is_number ? perf_dimension_name(d) : "", is_number ? " " : "", value);
        if (used >= LABEL_BYTES)
            return label;
    }
    return label;
}

/* Points of one line: they differ in the x axis only. */
static bool is_same_line(const struct plot *plot, const struct perf_series *a,
                         const struct perf_series *b)
{
    for (unsigned d = 0; d < PERF_DIMENSIONS; d++)
        if (d != plot->axis && a->point.values[d] != b->point.values[d])
            return false;
    return true;
}

static void write_row(const struct plot *plot, size_t x, const char *tic,
                      const struct perf_series *series, enum perf_figure figure)
{
    double least, most;

    if (series->run_count == 0)
        return;
    perf_series_range(series, figure, &least, &most);
    fprintf(plot->out, "%zu \"%s\" %.9g %.9g %.9g\n", x, tic, perf_series_median(series, figure),
            least, most);
}

static size_t axis_place(const struct plot *plot, const struct perf_series *series)
{
    for (size_t i = 0; i < plot->plan->value_count[plot->axis]; i++)
        if (plot->plan->values[plot->axis][i] == series->point.values[plot->axis])
            return i;
    return 0;
}

/* One block for each line and figure; `titles` receives the legend of each. Returns how many. */
static unsigned write_lines(const struct plot *plot, const struct picture *picture)
{
    unsigned blocks = 0;

    for (size_t first = 0; first < plot->count; first++) {
        bool is_first = true;
        char label[LABEL_BYTES];

        for (size_t i = 0; i < first; i++)
            is_first &= !is_same_line(plot, &plot->series[i], &plot->series[first]);
        for (unsigned f = 0; is_first && f < picture->figure_count; f++) {
            label_point(plot, &plot->series[first], label);
            fprintf(plot->out, "title%u = \"%s%s%s\"\n$block%u << END\n", blocks, label,
                    picture->labels[f][0] ? ", " : "", picture->labels[f], blocks);
            for (size_t i = first; i < plot->count; i++)
                if (is_same_line(plot, &plot->series[i], &plot->series[first]))
                    write_row(plot, axis_place(plot, &plot->series[i]),
                              plot->series[i].point.values[plot->axis], &plot->series[i],
                              picture->figures[f]);
            fprintf(plot->out, "END\n");
            blocks++;
        }
    }
    return blocks;
}

/* The figures are the x axis: one block for each point. */
static unsigned write_percentiles(const struct plot *plot, const struct picture *picture)
{
    char label[LABEL_BYTES];

    for (size_t i = 0; i < plot->count; i++) {
        fprintf(plot->out, "title%zu = \"%s\"\n$block%zu << END\n", i,
                label_point(plot, &plot->series[i], label), i);
        for (unsigned f = 0; f < picture->figure_count; f++)
            write_row(plot, f, picture->labels[f], &plot->series[i], picture->figures[f]);
        fprintf(plot->out, "END\n");
    }
    return (unsigned)plot->count;
}

/* Bars: one block for each figure, a bar in it for each point. */
static unsigned write_bars(const struct plot *plot, const struct picture *picture)
{
    char label[LABEL_BYTES];

    for (unsigned f = 0; f < picture->figure_count; f++) {
        fprintf(plot->out, "title%u = \"%s\"\n$block%u << END\n", f, picture->labels[f], f);
        for (size_t i = 0; i < plot->count; i++)
            write_row(plot, i, label_point(plot, &plot->series[i], label), &plot->series[i],
                      picture->figures[f]);
        fprintf(plot->out, "END\n");
    }
    return picture->figure_count;
}

static void write_title(const struct plot *plot, const struct picture *picture)
{
    const struct perf_plan *plan = plot->plan;
    char load[96];

    snprintf(load, sizeof(load), "One-way latency at %" PRIu64 " messages/s", plan->load_rate);
    fprintf(plot->out, "set title \"%s\\n{/*0.75 %s of %" PRIu64 " run%s of %g s}\"\n",
            picture->title[0]            ? picture->title
            : plan->mode == PERF_LATENCY ? "One-way latency, half a ping-pong"
                                         : load,
            plan->rounds > 1 ? "median, lowest and highest" : "result", plan->rounds,
            plan->rounds > 1 ? "s" : "", (double)plan->duration_ns / NS_PER_S);
}

static void write_look(const struct plot *plot, const struct picture *picture)
{
    static const char *const names[PERF_DIMENSIONS] = {
        [PERF_SIZE] = "message size (bytes)", [PERF_BATCH] = "batch size (bytes)",
        [PERF_LANES] = "lanes of a link",     [PERF_IN_FLIGHT] = "batches in flight on a link",
        [PERF_PUBLISHERS] = "publishers",     [PERF_SUBSCRIBERS] = "subscribers",
    };

    write_title(plot, picture);
    fprintf(plot->out,
            "set ylabel \"%s\"\nset grid ytics linetype 1 linewidth 1 linecolor rgb \"#dddddd\"\n"
            "set border 3\nset tics nomirror\nset key tmargin center horizontal\n"
            "set style fill solid 0.85 noborder\nset offsets 0, 0, graph "
            "0.06, 0\n",
            picture->unit);
    if (plot->axis != NO_AXIS)
        fprintf(plot->out, "set xlabel \"%s\"\n", names[plot->axis]);
    if (picture->is_log)
        fprintf(plot->out, "set logscale y\nset format y \"%s\"\n",
                picture == &messages ? "%.0s%c" : "%g");
    else
        fprintf(plot->out, "set yrange [0:*]\n");
    fprintf(plot->out, "colour(n) = word(\"#0072b2 #d55e00 #009e73 #cc79a7 #e69f00 #56b4e9 #7f7f7f "
                       "#332288\", n %% 8 + 1)\n");
}

static void write_plot_of_lines(const struct plot *plot, unsigned blocks, size_t places)
{
    fprintf(plot->out, "set xrange [-0.3:%zu.3]\n", places - 1);
    for (unsigned b = 0; b < blocks; b++)
        fprintf(plot->out,
                "%s $block%u using 1:3:4:5:xtic(2) with yerrorlines linecolor rgb colour(%u) "
                "linewidth 2 pointtype %u pointsize 0.9 title title%u",
                b ? ", \\\n    " : "plot", b, b, b % 2 ? 5 : 7, b);
    fprintf(plot->out, "\n");
}

static void write_plot_of_bars(const struct plot *plot, unsigned blocks)
{
    double width = 0.7 / blocks;

    fprintf(plot->out, "set boxwidth %g\nset xrange [-0.6:%zu.6]\n%s", width, plot->count - 1,
            plot->count > 5 ? "set xtics rotate by -30\n" : "");
    if (blocks == 1)
        fprintf(plot->out, "set key off\n");
    for (unsigned b = 0; b < blocks; b++) {
        double shift = (b - (blocks - 1) / 2.0) * width;

        fprintf(plot->out,
                "%s $block%u using ($1+%g):3 with boxes linecolor rgb colour(%u) title title%u, "
                "\\\n    '' using ($1+%g):4:(0):($5-$4) with vectors nohead linecolor rgb "
                "\"#333333\" notitle, \\\n    '' using ($1+%g):5:(sprintf(\"%%.3g\", $3)) "
                "with labels offset 0,0.7 notitle, \\\n    '' using 1:(NaN):xtic(2) with points "
                "notitle",
                b ? ", \\\n    " : "plot", b, shift, b, b, shift, shift);
    }
    fprintf(plot->out, "\n");
}

static enum tool_status draw(const struct plot *with, const struct picture *picture,
                             const char *folder, struct outcome *outcome)
{
    char path[PATH_MAX], script[64];
    struct plot plot = *with;
    unsigned blocks;

    snprintf(script, sizeof(script), "%s.gp", picture->name);
    snprintf(path, sizeof(path), "%s/%s", folder, script);
    plot.out = fopen(path, "we");
    if (!plot.out)
        return outcome_fail(outcome, TOOL_USAGE, "--plot: cannot write %s: %s", path,
                            strerror(errno));
    fprintf(plot.out, "# gnuplot %s makes %s.svg and %s.png\nset encoding utf8\n", script,
            picture->name, picture->name);
    write_look(&plot, picture);
    blocks = plot.axis != NO_AXIS ? write_lines(&plot, picture)
             : picture->by_figure ? write_percentiles(&plot, picture)
                                  : write_bars(&plot, picture);
    fprintf(plot.out,
            "set terminal svg size 960,600 font \"sans-serif,15\" background "
            "\"white\"\nset output \"%s.svg\"\n",
            picture->name);
    if (plot.axis != NO_AXIS || picture->by_figure)
        write_plot_of_lines(&plot, blocks,
                            plot.axis != NO_AXIS ? plot.plan->value_count[plot.axis]
                                                 : picture->figure_count);
    else
        write_plot_of_bars(&plot, blocks);
    fprintf(plot.out,
            "set terminal pngcairo size 1200,750 font \"sans,14\"\nset output "
            "\"%s.png\"\nreplot\n",
            picture->name);
    if (fclose(plot.out) != 0)
        return outcome_fail(outcome, TOOL_USAGE, "--plot: cannot write %s: %s", path,
                            strerror(errno));
    return perf_gnuplot(folder, script, outcome);
}

enum tool_status perf_plot_write(const char *folder, const struct perf_plan *plan,
                                 const struct perf_series *series, size_t count,
                                 struct outcome *outcome)
{
    struct plot plot = {.plan = plan, .series = series, .count = count, .axis = choose_axis(plan)};
    const struct picture *pictures[3] = {NULL};

    switch (plan->mode) {
    case PERF_THROUGHPUT:
        pictures[0] = &throughput;
        pictures[1] = &cost;
        pictures[2] = plot.axis == PERF_SIZE ? &messages : NULL;
        break;
    case PERF_LATENCY:
    case PERF_LOAD:
        pictures[0] = plot.axis == NO_AXIS ? &percentiles : &latency_over;
        break;
    case PERF_IDLE:
        pictures[0] = &idle;
        break;
    }
    for (unsigned i = 0; i < 3 && pictures[i]; i++)
        if (draw(&plot, pictures[i], folder, outcome) != TOOL_OK)
            return outcome->status;
    return TOOL_OK;
}
