/* The results of a sweep as one JSON object. */
#ifndef TOOLS_PERF_JSON_H
#define TOOLS_PERF_JSON_H

#include "perf_figures.h"

/* Writes to a file, which appears complete or not at all, or to "-". */
enum tool_status perf_json_write(const char *path, const struct perf_plan *plan,
                                 const struct perf_series *series, size_t count,
                                 struct outcome *outcome);

#endif
