/* The command line of embar-perf: --help, what goes together, the plan it makes. One thread. */
#ifndef TOOLS_PERF_ARGS_H
#define TOOLS_PERF_ARGS_H

#include "args.h"
#include "perf.h"

struct perf_args {
    struct args common; /* -c and --set, checked as they come */
    struct perf_plan plan;
    const char *json; /* borrowed; a path, "-" for stdout, or NULL */
    const char *plot; /* borrowed; a folder, or NULL */
};

/* ARGS_RUN, or ARGS_DONE when it is answered or refused. Every point of the sweep has a valid
 * configuration when it returns ARGS_RUN. */
enum args_next perf_args_parse(struct perf_args *args, int argc, char **argv,
                               struct outcome *outcome);

void perf_args_destroy(struct perf_args *args);

#endif
