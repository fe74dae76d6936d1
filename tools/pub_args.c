/*
 * The command line of embar-pub: what it takes, what goes together, and its --help. Owns the array
 * of input paths. One thread, at the start of the process.
 */
#include "pub_args.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

enum {
    PUB_GENERATE = ARGS_TOOL,
    PUB_SIZE,
    PUB_TOTAL,
    PUB_COUNT,
    PUB_DURATION,
    PUB_RATE,
    PUB_FLUSH_LEVEL,
    PUB_PROGRESS,
};

static const struct option long_options[] = {
    ARGS_LONG,
    {"input", required_argument, NULL, 'i'},
    {"generate", no_argument, NULL, PUB_GENERATE},
    {"size", required_argument, NULL, PUB_SIZE},
    {"total", required_argument, NULL, PUB_TOTAL},
    {"count", required_argument, NULL, PUB_COUNT},
    {"duration", required_argument, NULL, PUB_DURATION},
    {"rate", required_argument, NULL, PUB_RATE},
    {"flush-level", required_argument, NULL, PUB_FLUSH_LEVEL},
    {"progress", no_argument, NULL, PUB_PROGRESS},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "embar-pub publishes files, standard input or generated messages to the subscribers of a "
    "stream.\n"
    "\n"
    "  embar-pub [-c FILE] [-i PATH|-]... [-f raw|lines|records] [OPTION]...\n"
    "  embar-pub [-c FILE] --generate --size BYTES (--total BYTES | --count N | --duration S) "
    "[OPTION]...\n"
    "\n"
    "  -c, --config FILE        YAML configuration; without it the shipped defaults hold\n"
    "      --set KEY=VALUE      one key of the configuration; stronger than file and environment\n"
    "      --listen HOST:PORT   listen for subscribers (publisher.listen)\n"
    "      --connect HOST:PORT[,...]  connect to subscribers (publisher.connect)\n"
    "  -i, --input PATH         publish this file; several are published one after the other; - "
    "is\n"
    "                           standard input, and the default\n"
    "  -f, --format FORMAT      raw: bytes without boundaries (default); lines: a message per "
    "line;\n"
    "                           records: a 32-bit little-endian length before each message\n"
    "      --generate           publish numbered messages that embar-sub --verify can check\n"
    "      --size BYTES         size of each generated message\n"
    "      --total BYTES        end after so many bytes\n"
    "      --count N            end after so many messages\n"
    "      --duration S         end after so many seconds\n"
    "      --rate BYTES/s       publish no faster than this\n"
    "      --flush-level LEVEL  end when all is sent, placed or consumed (default)\n"
    "      --stats SECONDS      print a line of rates that often\n"
    "      --progress           a line of progress on the terminal; the default on a terminal\n"
    "      --report FILE        write a JSON report; - is standard output\n"
    "      --print-config       print the effective configuration and where it came from\n"
    "  -v, --verbose            log every change of state\n"
    "  -q, --quiet              print errors only\n"
    "  -h, --help; --version\n"
    "\n"
    "BYTES take KiB, MiB or GiB. Exit status: 0 all was delivered; 1 data is missing or wrong;\n"
    "2 usage or configuration; 3 transport. More in embar-pub(1); every key of the configuration\n"
    "in embar-config(5) and in --print-config.\n";

static enum tool_status take_rate(const char *value, uint64_t *rate, struct outcome *outcome)
{
    size_t len = strlen(value);
    char bytes[64];

    /* "100MiB/s" says what is meant as well. */
    if (len > 2 && len < sizeof(bytes) && strcmp(value + len - 2, "/s") == 0)
        len -= 2;
    if (len >= sizeof(bytes))
        len = sizeof(bytes) - 1;
    snprintf(bytes, sizeof(bytes), "%.*s", (int)len, value);
    return value_size("--rate", bytes, rate, outcome);
}

/* An option of this tool's own; `*known` says whether it is one. */
static enum tool_status take_own(struct pub_args *args, int option, const char *value, bool *known,
                                 struct outcome *outcome)
{
    *known = true;
    switch (option) {
    case 'i':
        args->paths[args->path_count++] = value;
        return TOOL_OK;
    case 'f':
        args->has_format = true;
        return value_format(value, &args->format, outcome);
    case PUB_GENERATE:
        args->generating = true;
        return TOOL_OK;
    case PUB_SIZE:
        args->has_size = true;
        return value_size("--size", value, &args->size_bytes, outcome);
    case PUB_TOTAL:
        args->has_total = true;
        return value_size("--total", value, &args->total_bytes, outcome);
    case PUB_COUNT:
        args->has_count = true;
        return value_count("--count", value, &args->count, outcome);
    case PUB_DURATION:
        args->has_duration = true;
        return value_seconds("--duration", value, &args->duration_ns, outcome);
    case PUB_RATE:
        args->has_rate = true;
        return take_rate(value, &args->rate, outcome);
    case PUB_FLUSH_LEVEL:
        return value_level("--flush-level", value, &args->flush_level, outcome);
    case PUB_PROGRESS:
        args->has_progress = true;
        return TOOL_OK;
    default:
        *known = false;
        return TOOL_OK;
    }
}

/* What does not go together; NULL when all does. */
static const char *conflict(const struct pub_args *args)
{
    bool bounded = args->has_total || args->has_count || args->has_duration;

    if (!args->generating)
        return args->has_size || bounded || args->has_rate
                   ? "--size, --total, --count, --duration and --rate need --generate"
                   : NULL;
    if (args->path_count > 0 || args->has_format)
        return "--generate makes messages of its own; leave out -i and -f";
    if (!args->has_size)
        return "--generate needs --size BYTES";
    if (!bounded)
        return "--generate needs an end: --total BYTES, --count N or --duration S";
    if (args->size_bytes == 0 && (args->has_total || args->has_rate))
        return "--size 0 has no bytes to count; use --count N or --duration S";
    if (args->has_rate && args->rate == 0)
        return "--rate 0 would never publish anything; leave it out to publish without pause";
    return NULL;
}

static enum args_next complete(struct pub_args *args, int argc, char **argv,
                               struct outcome *outcome)
{
    const char *why = conflict(args);

    if (optind < argc)
        outcome_fail(outcome, TOOL_USAGE, "'%s' is no option; files to publish are named with -i",
                     argv[optind]);
    else if (why)
        outcome_fail(outcome, TOOL_USAGE, "%s", why);
    if (outcome->status != TOOL_OK || args_complete(&args->common, outcome) == ARGS_DONE)
        return ARGS_DONE;
    if (args->path_count == 0)
        args->paths[args->path_count++] = "-";
    args->progress = args->has_progress || (!args->common.quiet && progress_foot_default());
    return ARGS_RUN;
}

enum args_next pub_args_parse(struct pub_args *args, int argc, char **argv, struct outcome *outcome)
{
    enum args_next next;
    int option;

    *args = (struct pub_args){.flush_level = EMBAR_CONSUMED};
    next = args_init(&args->common, "publisher", help, outcome);
    args->paths = calloc((size_t)argc + 1, sizeof(*args->paths));
    if (!args->paths) {
        outcome_fail(outcome, TOOL_USAGE, "no memory for the command line");
        return ARGS_DONE;
    }
    opterr = 0;
    while (next == ARGS_RUN &&
           (option = getopt_long(argc, argv, ARGS_SHORT "i:", long_options, NULL)) != -1) {
        bool known;

        if (take_own(args, option, optarg, &known, outcome) != TOOL_OK)
            return ARGS_DONE;
        if (!known)
            next = args_take(&args->common, option, optarg, argv[optind - 1], outcome);
    }
    return next == ARGS_RUN ? complete(args, argc, argv, outcome) : ARGS_DONE;
}

void pub_args_destroy(struct pub_args *args)
{
    free(args->paths);
    args->paths = NULL;
    args_destroy(&args->common);
}
