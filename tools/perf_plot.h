/* Pictures of a sweep, drawn by gnuplot from scripts that stay beside them. */
#ifndef TOOLS_PERF_PLOT_H
#define TOOLS_PERF_PLOT_H

#include "perf_figures.h"

/* Whether gnuplot can be run; says which package it is in when not. Asked before anything is
 * measured. */
enum tool_status perf_plot_check(struct outcome *outcome);

/* Writes NAME.gp into `folder`, each with its data in it, and has gnuplot make NAME.svg and
 * NAME.png of it. Blocks until gnuplot has ended. */
enum tool_status perf_plot_write(const char *folder, const struct perf_plan *plan,
                                 const struct perf_series *series, size_t count,
                                 struct outcome *outcome);

/* Runs gnuplot on `script` in `folder`; NULL asks for its version only. */
enum tool_status perf_gnuplot(const char *folder, const char *script, struct outcome *outcome);

#endif
