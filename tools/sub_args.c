/* The command line of embar-sub: what it takes and its --help. One thread, at the start. */
#include "sub_args.h"

#include <getopt.h>
#include <string.h>

#include "progress.h"

enum {
    SUB_COUNT = ARGS_TOOL,
    SUB_VERIFY,
    SUB_ONCE,
};

static const struct option long_options[] = {
    ARGS_LONG,
    {"output", required_argument, NULL, 'o'},
    {"count", required_argument, NULL, SUB_COUNT},
    {"verify", no_argument, NULL, SUB_VERIFY},
    {"once", no_argument, NULL, SUB_ONCE},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "embar-sub takes the messages of a stream's publishers and writes them to a file, a directory "
    "or\n"
    "standard output.\n"
    "\n"
    "  embar-sub [-c FILE] [-o PATH|-|null] [-f raw|lines|records] [OPTION]...\n"
    "\n"
    "  -c, --config FILE        YAML configuration; without it the shipped defaults hold\n"
    "      --set KEY=VALUE      one key of the configuration; stronger than file and environment\n"
    "      --listen HOST:PORT   listen for publishers (subscriber.listen)\n"
    "      --connect HOST:PORT[,...]  connect to publishers (subscriber.connect)\n"
    "  -o, --output PATH        a file; a directory, which gets a file for each publisher, named "
    "by\n"
    "                           its session id; - is standard output, and the default; null "
    "writes\n"
    "                           nothing, and is the default with --verify\n"
    "  -f, --format FORMAT      raw: bytes without boundaries (default); lines: a line per "
    "message;\n"
    "                           records: a 32-bit little-endian length before each message\n"
    "      --count N            end after so many messages\n"
    "      --verify             check messages that embar-pub --generate has made\n"
    "      --once               end when all publishers that have joined have finished\n"
    "      --stats SECONDS      print a line of rates that often\n"
    "      --report FILE        write a JSON report; - is standard output\n"
    "      --print-config       print the effective configuration and where it came from\n"
    "  -v, --verbose            log every change of state\n"
    "  -q, --quiet              print errors only\n"
    "  -h, --help; --version\n"
    "\n"
    "Exit status: 0 all was delivered, and verified with --verify; 1 data is missing or wrong;\n"
    "2 usage or configuration; 3 transport. More in embar-sub(1); every key of the configuration\n"
    "in embar-config(5) and in --print-config.\n";

/* An option of this tool's own; `*known` says whether it is one. */
static enum tool_status take_own(struct sub_args *args, int option, const char *value, bool *known,
                                 struct outcome *outcome)
{
    *known = true;
    switch (option) {
    case 'o':
        args->output = value;
        return TOOL_OK;
    case 'f':
        return value_format(value, &args->format, outcome);
    case SUB_COUNT:
        args->has_count = true;
        return value_count("--count", value, &args->count, outcome);
    case SUB_VERIFY:
        args->verify = true;
        return TOOL_OK;
    case SUB_ONCE:
        args->once = true;
        return TOOL_OK;
    default:
        *known = false;
        return TOOL_OK;
    }
}

static enum args_next complete(struct sub_args *args, int argc, char **argv,
                               struct outcome *outcome)
{
    if (!args->output)
        args->output = args->verify ? "null" : "-";
    if (optind < argc)
        outcome_fail(outcome, TOOL_USAGE, "'%s' is no option; the output is named with -o",
                     argv[optind]);
    else if (args->common.report && strcmp(args->common.report, "-") == 0 &&
             strcmp(args->output, "-") == 0)
        outcome_fail(
            outcome, TOOL_USAGE,
            "messages and the report cannot both go to standard output; name a file with -o "
            "or --report");
    if (outcome->status != TOOL_OK) {
        args->common.report = NULL;
        return ARGS_DONE;
    }
    if (args_complete(&args->common, outcome) == ARGS_DONE)
        return ARGS_DONE;
    args->progress = !args->common.quiet && progress_foot_default();
    return ARGS_RUN;
}

enum args_next sub_args_parse(struct sub_args *args, int argc, char **argv, struct outcome *outcome)
{
    enum args_next next;
    int option;

    *args = (struct sub_args){0};
    next = args_init(&args->common, "subscriber", help, outcome);
    opterr = 0;
    while (next == ARGS_RUN &&
           (option = getopt_long(argc, argv, ARGS_SHORT "o:", long_options, NULL)) != -1) {
        bool known;

        if (take_own(args, option, optarg, &known, outcome) != TOOL_OK)
            return ARGS_DONE;
        if (!known)
            next = args_take(&args->common, option, optarg, argv[optind - 1], outcome);
    }
    return next == ARGS_RUN ? complete(args, argc, argv, outcome) : ARGS_DONE;
}

void sub_args_destroy(struct sub_args *args)
{
    args_destroy(&args->common);
}
