/*
 * Values on the command line, read by the same parsers as those of the config file. Apart from
 * args.c because <getopt.h> and common/option.h both have a struct option. Pure.
 */
#include "value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/option.h"

enum tool_status value_format(const char *value, enum format *format, struct outcome *outcome)
{
    static const char *const names[] = {"raw", "lines", "records"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i]) == 0) {
            *format = (enum format)i;
            return TOOL_OK;
        }
    }
    return outcome_fail(outcome, TOOL_USAGE,
                        "-f: '%s' is not a format; write raw, lines or records", value);
}

/* One value through the same parser as the config file's. */
static enum tool_status parse(const struct option *option, const char *value, void *target,
                              struct outcome *outcome)
{
    struct embar_diag diag = {0};

    if (option_parse(option, value, target, &diag) != 0)
        return outcome_fail(outcome, TOOL_USAGE, "%s", diag.text);
    return TOOL_OK;
}

enum tool_status value_size(const char *option, const char *value, uint64_t *bytes,
                            struct outcome *outcome)
{
    struct option size = {.key = option, .type = OPTION_SIZE, .unit = "bytes"};

    return parse(&size, value, bytes, outcome);
}

enum tool_status value_count(const char *option, const char *value, uint64_t *count,
                             struct outcome *outcome)
{
    struct option number = {.key = option, .type = OPTION_INT, .min = 0, .max = INT64_MAX};
    int64_t parsed;

    if (parse(&number, value, &parsed, outcome) != TOOL_OK)
        return TOOL_USAGE;
    *count = (uint64_t)parsed;
    return TOOL_OK;
}

enum tool_status value_seconds(const char *option, const char *value, uint64_t *ns,
                               struct outcome *outcome)
{
    struct option duration = {
        .key = option, .type = OPTION_DURATION, .min = NS_PER_MS, .max = 1000000 * NS_PER_S};
    char *end;
    double seconds = strtod(value, &end);

    if (end == value || *end != '\0')
        return parse(&duration, value, ns, outcome);
    if (!isfinite(seconds) || seconds < 0.001 || seconds > 1e6)
        return outcome_fail(outcome, TOOL_USAGE,
                            "%s: '%s' is not a time in seconds; write 0.001 to 1000000", option,
                            value);
    *ns = (uint64_t)(seconds * 1e9);
    return TOOL_OK;
}

enum tool_status value_time(const char *option, const char *value, uint64_t *ns,
                            struct outcome *outcome)
{
    struct option duration = {.key = option, .type = OPTION_DURATION};

    return parse(&duration, value, ns, outcome);
}

enum tool_status value_level(const char *option, const char *value, enum embar_level *level,
                             struct outcome *outcome)
{
    static const char *const names[] = {"sent", "placed", "consumed"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(value, names[i]) == 0) {
            *level = (enum embar_level)i;
            return TOOL_OK;
        }
    }
    return outcome_fail(outcome, TOOL_USAGE,
                        "%s: '%s' is not a level; write sent, placed or consumed", option, value);
}
