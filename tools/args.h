/*
 * The part of the command line that embar-pub and embar-sub share: configuration, report, stats and
 * verbosity. One thread, at the start of the process.
 */
#ifndef TOOLS_ARGS_H
#define TOOLS_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include <embar/config.h>

#include "tool.h"

struct args {
    const char *role;            /* "publisher" or "subscriber": whose --listen and --connect */
    const char *help;            /* the answer to --help */
    struct embar_config *config; /* owned */
    const char *config_path;     /* borrowed from argv; NULL: the shipped defaults */
    const char *report;          /* borrowed; a path, "-" for stdout, or NULL */
    uint64_t stats_ns;           /* interval of --stats; 0: none */
    bool print_config;
    bool quiet;
};

/* What getopt_long returns for the options that have no letter, and for --help. */
enum args_option {
    ARGS_HELP = 'h',
    ARGS_SET = 256,
    ARGS_LISTEN,
    ARGS_CONNECT,
    ARGS_STATS,
    ARGS_REPORT,
    ARGS_PRINT_CONFIG,
    ARGS_VERSION,
    ARGS_TOOL, /* the first value a tool may use for options of its own */
};

/* For getopt_long(3), whose header the tool includes. */
#define ARGS_SHORT ":c:f:vqh"
#define ARGS_LONG                                                                                  \
    {"config", required_argument, NULL, 'c'}, {"set", required_argument, NULL, ARGS_SET},          \
        {"listen", required_argument, NULL, ARGS_LISTEN},                                          \
        {"connect", required_argument, NULL, ARGS_CONNECT},                                        \
        {"format", required_argument, NULL, 'f'}, {"stats", required_argument, NULL, ARGS_STATS},  \
        {"report", required_argument, NULL, ARGS_REPORT},                                          \
        {"print-config", no_argument, NULL, ARGS_PRINT_CONFIG},                                    \
        {"verbose", no_argument, NULL, 'v'}, {"quiet", no_argument, NULL, 'q'},                    \
        {"help", no_argument, NULL, ARGS_HELP},                                                    \
    {                                                                                              \
        "version", no_argument, NULL, ARGS_VERSION                                                 \
    }

enum args_next {
    ARGS_RUN,  /* go on */
    ARGS_DONE, /* answered (--help and the like), or the outcome says what is wrong */
};

/* Creates the config with defaults and the environment's values. `role` and `help` are kept. */
enum args_next args_init(struct args *args, const char *role, const char *help,
                         struct outcome *outcome);
void args_destroy(struct args *args);

/* Takes one option as getopt_long returned it. `argv_at` is the argument it was found in, for the
 * sentence about an unknown one. */
enum args_next args_take(struct args *args, int option, const char *value, const char *argv_at,
                         struct outcome *outcome);

/* After the last option: what holds between them and between the keys of the config;
 * --print-config. */
enum args_next args_complete(struct args *args, struct outcome *outcome);

/* Says at the start what would otherwise fail when the run is over: that a file cannot be written.
 * "-" can. */
bool args_check_output(const char *option, const char *path, struct outcome *outcome);

/* The effective value of a key of the config; "" for an unknown one. Returns `value`. */
const char *args_config(const struct args *args, const char *key, char *value, size_t value_bytes);

#endif
