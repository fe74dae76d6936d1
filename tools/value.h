/* Values on the command line: formats, sizes, counts, times. A bad one is said with the option's
 * name and what is accepted. Pure but for that. */
#ifndef TOOLS_VALUE_H
#define TOOLS_VALUE_H

#include <stdint.h>

#include <embar/embar.h>

#include "tool.h"

/* How messages lie in a file. */
enum format {
    FORMAT_RAW,     /* bytes without boundaries */
    FORMAT_LINES,   /* a message per line */
    FORMAT_RECORDS, /* a u32 little-endian length before each message */
};

enum tool_status value_format(const char *value, enum format *format, struct outcome *outcome);
enum tool_status value_size(const char *option, const char *value, uint64_t *bytes,
                            struct outcome *outcome);
enum tool_status value_count(const char *option, const char *value, uint64_t *count,
                             struct outcome *outcome);
/* Seconds, with a fraction if need be, or a duration with us, ms or s; at least 1 ms. */
enum tool_status value_seconds(const char *option, const char *value, uint64_t *ns,
                               struct outcome *outcome);

/* A duration as the config writes it: with us, ms or s. */
enum tool_status value_time(const char *option, const char *value, uint64_t *ns,
                            struct outcome *outcome);

/* sent, placed or consumed. */
enum tool_status value_level(const char *option, const char *value, enum embar_level *level,
                             struct outcome *outcome);

#endif
