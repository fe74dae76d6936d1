/* One run of one point: the processes are started, waited for, and gone when it returns. */
#ifndef TOOLS_PERF_RUN_H
#define TOOLS_PERF_RUN_H

#include "perf.h"
#include "tool.h"

/*
 * Measures a point once. `results` has room for PERF_WORKERS: the publishers' come first, then the
 * subscribers'; with PERF_LATENCY the pinger's and the ponger's. Blocks for warm-up and duration;
 * an interrupt, a crash, a time-out or a stream that does not add up is said in one sentence.
 */
enum tool_status perf_run(const struct perf_plan *plan, const struct perf_point *point,
                          struct perf_result *results, struct outcome *outcome);

#endif
