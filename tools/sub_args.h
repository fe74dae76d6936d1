/* The command line of embar-sub. One thread, at the start of the process. */
#ifndef TOOLS_SUB_ARGS_H
#define TOOLS_SUB_ARGS_H

#include "args.h"
#include "value.h"

struct sub_args {
    struct args common;
    const char *output; /* borrowed: a path, "-" or "null" */
    enum format format;
    bool verify, once, has_count;
    uint64_t count;
    bool progress;
};

enum args_next sub_args_parse(struct sub_args *args, int argc, char **argv,
                              struct outcome *outcome);
void sub_args_destroy(struct sub_args *args);

#endif
