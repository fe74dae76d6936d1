/*
 * The cross product of the lists given to embar-perf, and what each combination means as a
 * configuration. Dimensions with a key go through the configuration's own parser, so their values
 * are checked where those of a file are. One thread; owns copies of the lists.
 */
#include "perf_sweep.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value.h"

static const struct {
    const char *name;
    const char *key; /* NULL: the tool's own */
    bool is_number;
} dimensions[PERF_DIMENSIONS] = {
    [PERF_TRANSPORT] = {"transport", "transport", false},
    [PERF_SIZE] = {"size", NULL, true},
    [PERF_BATCH] = {"batch", "batch.size", true},
    [PERF_LANES] = {"lanes", "tcp.lanes", true},
    [PERF_ACK] = {"ack", "ack", false},
    [PERF_CHECKSUM] = {"checksum", "checksum", false},
    [PERF_IN_FLIGHT] = {"in-flight", "batch.in_flight", true},
    [PERF_SEND_MODE] = {"send-mode", "tcp.send_mode", false},
    [PERF_PUBLISHERS] = {"publishers", NULL, true},
    [PERF_SUBSCRIBERS] = {"subscribers", NULL, true},
};

const char *perf_dimension_name(enum perf_dimension dimension)
{
    return dimensions[dimension].name;
}

bool perf_dimension_is_number(enum perf_dimension dimension)
{
    return dimensions[dimension].is_number;
}

void perf_sweep_free(struct perf_plan *plan)
{
    for (unsigned d = 0; d < PERF_DIMENSIONS; d++)
        for (unsigned i = 0; i < plan->value_count[d]; i++)
            free((char *)plan->values[d][i]);
    memset(plan->value_count, 0, sizeof(plan->value_count));
}

enum tool_status perf_sweep_list(struct perf_plan *plan, enum perf_dimension dimension,
                                 const char *list, struct outcome *outcome)
{
    const char *name = dimensions[dimension].name;
    const char *item = list;

    if (plan->value_count[dimension] > 0)
        return outcome_fail(outcome, TOOL_USAGE, "--%s was given twice; separate values by commas",
                            name);
    for (;;) {
        size_t len = strcspn(item, ",");
        char *copy;

        if (len == 0)
            return outcome_fail(outcome, TOOL_USAGE,
                                "--%s: '%s' has an empty item; write values separated by commas",
                                name, list);
        if (plan->value_count[dimension] == PERF_VALUES)
            return outcome_fail(outcome, TOOL_USAGE, "--%s: more than %d values", name,
                                PERF_VALUES);
        copy = strndup(item, len);
        if (!copy)
            return outcome_fail(outcome, TOOL_TRANSPORT, "out of memory");
        plan->values[dimension][plan->value_count[dimension]++] = copy;
        if (item[len] == '\0')
            return TOOL_OK;
        item += len + 1;
    }
}

size_t perf_sweep_points(const struct perf_plan *plan)
{
    size_t points = 1;

    for (unsigned d = 0; d < PERF_DIMENSIONS; d++)
        if (plan->value_count[d] > 0)
            points *= plan->value_count[d];
    return points;
}

static enum tool_status workers(const char *option, const char *value, unsigned *count,
                                struct outcome *outcome)
{
    uint64_t number = 1;

    if (value && value_count(option, value, &number, outcome) != TOOL_OK)
        return TOOL_USAGE;
    if (number < 1 || number > PERF_WORKERS - 1)
        return outcome_fail(outcome, TOOL_USAGE, "%s: '%s' is not 1 to %d processes", option, value,
                            PERF_WORKERS - 1);
    *count = (unsigned)number;
    return TOOL_OK;
}

static enum tool_status read_numbers(const struct perf_plan *plan, struct perf_point *point,
                                     struct outcome *outcome)
{
    const char *size = point->values[PERF_SIZE];

    point->size_bytes = plan->mode == PERF_THROUGHPUT ? 0 : 64;
    if (size && strcmp(size, "full") == 0) {
        point->size_bytes = 0;
    } else if (size) {
        if (value_size("--size", size, &point->size_bytes, outcome) != TOOL_OK)
            return TOOL_USAGE;
        if (point->size_bytes < PERF_SIZE_MIN)
            return outcome_fail(outcome, TOOL_USAGE,
                                "--size: '%s' is too small; a message has at least %d bytes, for "
                                "its number and time",
                                size, PERF_SIZE_MIN);
    }
    if (workers("--publishers", point->values[PERF_PUBLISHERS], &point->publishers, outcome) !=
            TOOL_OK ||
        workers("--subscribers", point->values[PERF_SUBSCRIBERS], &point->subscribers, outcome) !=
            TOOL_OK)
        return TOOL_USAGE;
    if (point->publishers + point->subscribers > PERF_WORKERS)
        return outcome_fail(outcome, TOOL_USAGE,
                            "--publishers and --subscribers: %u processes are more than %d",
                            point->publishers + point->subscribers, PERF_WORKERS);
    if (plan->mode == PERF_LATENCY && point->publishers + point->subscribers != 2)
        return outcome_fail(outcome, TOOL_USAGE,
                            "--latency is between two processes; leave out --publishers and "
                            "--subscribers, or use --load");
    return TOOL_OK;
}

enum tool_status perf_sweep_point(const struct perf_plan *plan, size_t index,
                                  struct perf_point *point, struct outcome *outcome)
{
    memset(point, 0, sizeof(*point));
    for (unsigned d = PERF_DIMENSIONS; d-- > 0;) {
        if (plan->value_count[d] == 0)
            continue;
        point->values[d] = plan->values[d][index % plan->value_count[d]];
        index /= plan->value_count[d];
    }
    return read_numbers(plan, point, outcome);
}

int perf_config_set(struct embar_config *config, struct embar_diag *diag, const char *fmt, ...)
{
    char assignment[2048];
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(assignment, sizeof(assignment), fmt, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof(assignment)) {
        *diag = (struct embar_diag){.error = EINVAL, .text = "the list of addresses is too long"};
        return -EINVAL;
    }
    return embar_config_set(config, assignment, diag);
}

static int apply(const struct perf_plan *plan, const struct perf_point *point,
                 struct embar_config *config, struct embar_diag *diag)
{
    int rc = embar_config_load_env(config, diag);

    for (unsigned i = 0; i < plan->setting_count && rc == 0; i++) {
        const struct perf_setting *setting = &plan->settings[i];
        rc = setting->is_file ? embar_config_load(config, setting->value, diag)
                              : embar_config_set(config, setting->value, diag);
    }
    for (unsigned d = 0; d < PERF_DIMENSIONS && rc == 0; d++)
        if (dimensions[d].key && point->values[d])
            rc = perf_config_set(config, diag, "%s=%s", dimensions[d].key, point->values[d]);
    if (rc == 0)
        rc = perf_config_set(config, diag, "publisher.min_subscribers=%u", point->subscribers);
    if (rc == 0)
        rc = perf_config_set(config, diag, "subscriber.max_links=%u", point->publishers);
    return rc;
}

int perf_sweep_config(const struct perf_plan *plan, const struct perf_point *point,
                      struct embar_config **config, struct embar_diag *diag)
{
    struct embar_config *made;
    int rc = embar_config_create(&made, diag);

    if (rc != 0)
        return rc;
    rc = apply(plan, point, made, diag);
    if (rc != 0) {
        embar_config_destroy(made);
        return rc;
    }
    *config = made;
    return 0;
}
