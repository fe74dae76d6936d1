/* The command line of embar-pub. One thread, at the start of the process. */
#ifndef TOOLS_PUB_ARGS_H
#define TOOLS_PUB_ARGS_H

#include "args.h"
#include "generate.h"
#include "input.h"
#include "value.h"

struct pub_args {
    struct args common;
    const char **paths; /* owned array of borrowed arguments */
    size_t path_count;
    enum format format;
    bool generating;
    /* Which options were given, to find those that do not go together. */
    bool has_format, has_size, has_total, has_count, has_duration, has_rate, has_progress;
    uint64_t size_bytes, total_bytes, count, duration_ns, rate;
    enum embar_level flush_level;
    bool progress;
};

enum args_next pub_args_parse(struct pub_args *args, int argc, char **argv,
                              struct outcome *outcome);
void pub_args_destroy(struct pub_args *args);

#endif
