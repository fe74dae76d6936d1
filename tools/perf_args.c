/*
 * The command line of embar-perf. Lists go to the sweep as they are; every point's configuration is
 * made once before the first run, so that a mistake in the last of a hundred is said at once. One
 * thread, at the start of the process.
 */
#include "perf_args.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "perf_plot.h"
#include "perf_sweep.h"
#include "value.h"

enum {
    PERF_OPT_MODE = ARGS_TOOL,                     /* and one for each enum perf_mode */
    PERF_OPT_LIST = PERF_OPT_MODE + PERF_IDLE + 1, /* and one for each enum perf_dimension */
    PERF_OPT_SOURCE = PERF_OPT_LIST + PERF_DIMENSIONS,
    PERF_OPT_TOUCH,
    PERF_OPT_DURATION,
    PERF_OPT_WARMUP,
    PERF_OPT_ROUNDS,
    PERF_OPT_CPUS,
    PERF_OPT_ADDRESS,
    PERF_OPT_NETNS,
    PERF_OPT_JSON,
    PERF_OPT_PLOT,
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, ARGS_SET},
    {"transport", required_argument, NULL, PERF_OPT_LIST + PERF_TRANSPORT},
    {"size", required_argument, NULL, PERF_OPT_LIST + PERF_SIZE},
    {"batch", required_argument, NULL, PERF_OPT_LIST + PERF_BATCH},
    {"lanes", required_argument, NULL, PERF_OPT_LIST + PERF_LANES},
    {"ack", required_argument, NULL, PERF_OPT_LIST + PERF_ACK},
    {"checksum", required_argument, NULL, PERF_OPT_LIST + PERF_CHECKSUM},
    {"in-flight", required_argument, NULL, PERF_OPT_LIST + PERF_IN_FLIGHT},
    {"send-mode", required_argument, NULL, PERF_OPT_LIST + PERF_SEND_MODE},
    {"publishers", required_argument, NULL, PERF_OPT_LIST + PERF_PUBLISHERS},
    {"subscribers", required_argument, NULL, PERF_OPT_LIST + PERF_SUBSCRIBERS},
    {"throughput", no_argument, NULL, PERF_OPT_MODE + PERF_THROUGHPUT},
    {"latency", no_argument, NULL, PERF_OPT_MODE + PERF_LATENCY},
    {"load", required_argument, NULL, PERF_OPT_MODE + PERF_LOAD},
    {"idle", required_argument, NULL, PERF_OPT_MODE + PERF_IDLE},
    {"source", required_argument, NULL, PERF_OPT_SOURCE},
    {"touch", required_argument, NULL, PERF_OPT_TOUCH},
    {"duration", required_argument, NULL, PERF_OPT_DURATION},
    {"warmup", required_argument, NULL, PERF_OPT_WARMUP},
    {"rounds", required_argument, NULL, PERF_OPT_ROUNDS},
    {"cpus", required_argument, NULL, PERF_OPT_CPUS},
    {"address", required_argument, NULL, PERF_OPT_ADDRESS},
    {"subscriber-netns", required_argument, NULL, PERF_OPT_NETNS},
    {"json", required_argument, NULL, PERF_OPT_JSON},
    {"plot", required_argument, NULL, PERF_OPT_PLOT},
    {"print-config", no_argument, NULL, ARGS_PRINT_CONFIG},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, ARGS_HELP},
    {"version", no_argument, NULL, ARGS_VERSION},
    {NULL, 0, NULL, 0},
};

static const char help[] =
    "embar-perf measures a stream between publishers and subscribers that it starts itself on this "
    "host,\n"
    "each a process on a core of its own.\n"
    "\n"
    "  embar-perf [-c FILE] [--throughput | --latency | --load RATE | --idle SECONDS] "
    "[OPTION]...\n"
    "\n"
    "What is measured:\n"
    "      --throughput         as much as goes (default); rates are of bytes that were consumed\n"
    "      --latency            ping-pong of lone messages; half the round trip\n"
    "      --load RATE          one-way latency at RATE messages/s, from when each was due\n"
    "      --idle SECONDS       CPU of both ends while joined and silent\n"
    "\n"
    "What is varied; each takes a list A,B,C, and every combination is measured:\n"
    "      --transport NAME     tcp, shm, rdma\n"
    "      --size BYTES         of a message; full: it fills the batch (default with "
    "--throughput;\n"
    "                           otherwise 64)\n"
    "      --batch BYTES        batch.size\n"
    "      --lanes N            tcp.lanes\n"
    "      --ack LEVEL          sent, placed, consumed\n"
    "      --checksum NAME      none, crc32c\n"
    "      --in-flight N        batch.in_flight\n"
    "      --send-mode NAME     tcp.send_mode\n"
    "      --publishers N       processes that publish, each to all subscribers (default 1)\n"
    "      --subscribers N      processes that subscribe (default 1)\n"
    "\n"
    "What the two ends do with a message:\n"
    "      --source WAY         number: reserved in place, only its number is written (default);\n"
    "                           fill: copied by embar_publish; in-place: every byte is written in "
    "place\n"
    "      --touch WHAT         none: a look at each batch; headers: every message's number is "
    "checked\n"
    "                           (default); all: every cache line of the payload is read as well\n"
    "\n"
    "How:\n"
    "      --duration S         measured time of a run (default 2)\n"
    "      --warmup S           time before it that does not count (default 0.3)\n"
    "      --rounds N           run all combinations N times in turn; medians are shown (default "
    "1)\n"
    "      --cpus LIST          cores, publishers first, then subscribers; again from the front "
    "when it\n"
    "                           is too short; none: leave it to the kernel (default: all cores "
    "allowed)\n"
    "      --address HOST       where subscribers listen (default 127.0.0.1); for RDMA the "
    "device's address\n"
    "      --subscriber-netns NAME  network namespace of the subscribers (ip-netns(8))\n"
    "\n"
    "  -c, --config FILE        YAML configuration; without it the shipped defaults hold\n"
    "      --set KEY=VALUE      one key of the configuration; stronger than file and environment\n"
    "      --json FILE          write all runs as one JSON object; - is standard output\n"
    "      --plot DIR           draw pictures (SVG and PNG, by gnuplot) into this folder\n"
    "      --print-config       print the effective configuration and end\n"
    "  -v, --verbose            log every state change, of the processes too\n"
    "  -q, --quiet              log errors only\n"
    "  -h, --help               this text\n"
    "      --version            the version\n"
    "\n"
    "Exit status: 0 measured; 1 a stream did not add up, or interrupted; 2 usage or "
    "configuration;\n"
    "3 transport, or a process that died.\n";

static bool choose(const char *option, const char *value, const char *const *names, int *chosen,
                   struct outcome *outcome)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(value, names[i]) == 0) {
            *chosen = i;
            return true;
        }
    outcome_fail(outcome, TOOL_USAGE, "%s: '%s' is not one of %s, %s, %s", option, value, names[0],
                 names[1], names[2]);
    return false;
}

static bool take_source(struct perf_plan *plan, const char *value, struct outcome *outcome)
{
    static const char *const names[] = {"number", "fill", "in-place", NULL};
    int chosen;

    if (!choose("--source", value, names, &chosen, outcome))
        return false;
    plan->source = (enum perf_source)chosen;
    return true;
}

static bool take_touch(struct perf_plan *plan, const char *value, struct outcome *outcome)
{
    static const char *const names[] = {"none", "headers", "all", NULL};
    int chosen;

    if (!choose("--touch", value, names, &chosen, outcome))
        return false;
    plan->touch = (enum perf_touch)chosen;
    return true;
}

static bool take_cpus(struct perf_plan *plan, const char *list, struct outcome *outcome)
{
    const char *at = list;

    plan->cpu_count = 0;
    if (strcmp(list, "none") == 0)
        return true;
    for (;;) {
        char *end;
        long cpu = strtol(at, &end, 10);

        if (end == at || cpu < 0 || cpu >= CPU_SETSIZE || (*end != ',' && *end != '\0') ||
            plan->cpu_count == PERF_WORKERS) {
            outcome_fail(outcome, TOOL_USAGE,
                         "--cpus: '%s' is not a list of core numbers; write them separated by "
                         "commas, or none",
                         list);
            return false;
        }
        plan->cpus[plan->cpu_count++] = (int)cpu;
        if (*end == '\0')
            return true;
        at = end + 1;
    }
}

static void default_cpus(struct perf_plan *plan)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE && plan->cpu_count < PERF_WORKERS; cpu++)
        if (CPU_ISSET((size_t)cpu, &set))
            plan->cpus[plan->cpu_count++] = cpu;
}

static bool take_mode(struct perf_args *args, enum perf_mode mode, const char *value,
                      bool *has_mode, struct outcome *outcome)
{
    struct perf_plan *plan = &args->plan;

    if (*has_mode) {
        outcome_fail(outcome, TOOL_USAGE,
                     "give one of --throughput, --latency, --load and --idle, once");
        return false;
    }
    *has_mode = true;
    plan->mode = mode;
    if (mode == PERF_IDLE)
        return value_seconds("--idle", value, &plan->duration_ns, outcome) == TOOL_OK;
    if (mode != PERF_LOAD)
        return true;
    if (value_count("--load", value, &plan->load_rate, outcome) != TOOL_OK)
        return false;
    if (plan->load_rate > 0 && plan->load_rate <= 1000000000)
        return true;
    outcome_fail(outcome, TOOL_USAGE, "--load: '%s' is not 1 to 1000000000 messages/s", value);
    return false;
}

/* Keeps what the configuration of every point begins with. */
static bool keep_setting(struct perf_plan *plan, bool is_file, const char *value,
                         struct outcome *outcome)
{
    if (plan->setting_count == PERF_SOURCES) {
        outcome_fail(outcome, TOOL_USAGE, "--set was given more than %d times; use a file",
                     PERF_SOURCES - 1);
        return false;
    }
    plan->settings[plan->setting_count++] = (struct perf_setting){is_file, value};
    return true;
}

static bool take_own(struct perf_args *args, int option, const char *value, bool *has_mode,
                     struct outcome *outcome)
{
    struct perf_plan *plan = &args->plan;

    switch (option) {
    case PERF_OPT_SOURCE:
        return take_source(plan, value, outcome);
    case PERF_OPT_TOUCH:
        return take_touch(plan, value, outcome);
    case PERF_OPT_DURATION:
        return value_seconds("--duration", value, &plan->duration_ns, outcome) == TOOL_OK;
    case PERF_OPT_WARMUP:
        plan->warmup_ns = 0;
        return strcmp(value, "0") == 0 ||
               value_seconds("--warmup", value, &plan->warmup_ns, outcome) == TOOL_OK;
    case PERF_OPT_ROUNDS:
        if (value_count("--rounds", value, &plan->rounds, outcome) != TOOL_OK)
            return false;
        if (plan->rounds >= 1 && plan->rounds <= 10000)
            return true;
        outcome_fail(outcome, TOOL_USAGE, "--rounds: '%s' is not 1 to 10000", value);
        return false;
    case PERF_OPT_CPUS:
        return take_cpus(plan, value, outcome);
    case PERF_OPT_ADDRESS:
        plan->address = value;
        return true;
    case PERF_OPT_NETNS:
        plan->subscriber_netns = value;
        return true;
    case PERF_OPT_JSON:
        args->json = value;
        return true;
    case PERF_OPT_PLOT:
        args->plot = value;
        return true;
    default:
        if (option >= PERF_OPT_LIST)
            return perf_sweep_list(plan, (enum perf_dimension)(option - PERF_OPT_LIST), value,
                                   outcome) == TOOL_OK;
        return take_mode(args, (enum perf_mode)(option - PERF_OPT_MODE), value, has_mode, outcome);
    }
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool check_points(struct perf_args *args, struct outcome *outcome)
{
    for (size_t i = 0; i < perf_sweep_points(&args->plan); i++) {
        struct embar_config *config = NULL;
        struct embar_diag diag = {0};
        struct perf_point point;
        int rc;

        if (perf_sweep_point(&args->plan, i, &point, outcome) != TOOL_OK)
            return false;
        rc = perf_sweep_config(&args->plan, &point, &config, &diag);
        if (rc == 0)
            rc = embar_config_check(config, &diag);
        embar_config_destroy(config);
        if (rc != 0) {
            outcome_fail(outcome, TOOL_USAGE, "%s", diag.text);
            return false;
        }
    }
    return true;
}

/* What a mode does not do is refused rather than left undone. */
static bool check_mode(const struct perf_plan *plan, bool has_source, bool has_touch,
                       struct outcome *outcome)
{
    bool is_flow = plan->mode == PERF_THROUGHPUT || plan->mode == PERF_LOAD;

    if (has_source && plan->mode != PERF_THROUGHPUT)
        outcome_fail(outcome, TOOL_USAGE, "--source is for --throughput only");
    else if (has_touch && !is_flow)
        outcome_fail(outcome, TOOL_USAGE, "--touch is for --throughput and --load only");
    else
        return true;
    return false;
}

static enum args_next complete(struct perf_args *args, struct outcome *outcome)
{
    enum args_next next = args_complete(&args->common, outcome);

    if (next != ARGS_RUN)
        return next;
    if (args->json && !args_check_output("--json", args->json, outcome)) {
        args->json = NULL; /* said */
        return ARGS_DONE;
    }
    if (args->plot && !is_folder(args->plot) && mkdir(args->plot, 0777) != 0) {
        outcome_fail(outcome, TOOL_USAGE, "--plot %s: cannot make this folder: %m", args->plot);
        return ARGS_DONE;
    }
    if (args->plot && perf_plot_check(outcome) != TOOL_OK)
        return ARGS_DONE;
    return check_points(args, outcome) ? ARGS_RUN : ARGS_DONE;
}

enum args_next perf_args_parse(struct perf_args *args, int argc, char **argv,
                               struct outcome *outcome)
{
    enum args_next next = args_init(&args->common, "subscriber", help, outcome);
    bool has_mode = false, has_cpus = false, has_source = false, has_touch = false;
    int option;

    args->plan.duration_ns = 2000000000;
    args->plan.warmup_ns = 300000000;
    args->plan.rounds = 1;
    args->plan.touch = PERF_TOUCH_HEADERS;
    args->plan.address = "127.0.0.1";
    opterr = 0;
    while (next == ARGS_RUN &&
           (option = getopt_long(argc, argv, ":c:vqh", long_options, NULL)) != -1) {
        bool is_setting = option == 'c' || option == ARGS_SET;

        has_cpus |= option == PERF_OPT_CPUS;
        has_source |= option == PERF_OPT_SOURCE;
        has_touch |= option == PERF_OPT_TOUCH;
        args->plan.verbose = option == 'v' || (args->plan.verbose && option != 'q');
        if (option >= PERF_OPT_MODE)
            next = take_own(args, option, optarg, &has_mode, outcome) ? ARGS_RUN : ARGS_DONE;
        else
            next = args_take(&args->common, option, optarg, argv[optind - 1], outcome);
        if (next == ARGS_RUN && is_setting &&
            !keep_setting(&args->plan, option == 'c', optarg, outcome))
            next = ARGS_DONE;
    }
    if (next != ARGS_RUN)
        return next;
    if (optind < argc) {
        outcome_fail(outcome, TOOL_USAGE, "'%s' is no option; see %s --help", argv[optind],
                     tool_name());
        return ARGS_DONE;
    }
    if (!check_mode(&args->plan, has_source, has_touch, outcome))
        return ARGS_DONE;
    if (!has_cpus)
        default_cpus(&args->plan);
    return complete(args, outcome);
}

void perf_args_destroy(struct perf_args *args)
{
    perf_sweep_free(&args->plan);
    args_destroy(&args->common);
}
