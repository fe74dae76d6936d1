/* The results of a sweep as a table for a terminal. */
#ifndef TOOLS_PERF_TABLE_H
#define TOOLS_PERF_TABLE_H

#include <stdio.h>

#include "perf_figures.h"

/* Prints one row for each series that has runs, and below what the transport chose and why. */
void perf_table_print(const struct perf_plan *plan, const struct perf_series *series, size_t count,
                      FILE *out);

/* A dimension's value of a point, "full" sizes included. */
const char *perf_point_value(const struct perf_point *point, enum perf_dimension dimension);

#endif
