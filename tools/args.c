/*
 * The shared part of the command line. Applies configuration options as they come: the config
 * itself knows which source is stronger, so their order does not matter. One thread.
 */
#include "args.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "value.h"

#define ADDRESSES_BYTES 1024 /* the config takes no longer list */

static enum args_next refuse(struct outcome *outcome, const struct embar_diag *diag)
{
    outcome_fail(outcome, TOOL_USAGE, "%s", diag->text);
    return ARGS_DONE;
}

enum args_next args_init(struct args *args, const char *role, const char *help,
                         struct outcome *outcome)
{
    struct embar_diag diag = {0};

    *args = (struct args){.role = role, .help = help};
    if (embar_config_create(&args->config, &diag) != 0 ||
        embar_config_load_env(args->config, &diag) != 0)
        return refuse(outcome, &diag);
    return ARGS_RUN;
}

void args_destroy(struct args *args)
{
    embar_config_destroy(args->config);
    args->config = NULL;
}

static enum args_next load(struct args *args, const char *path, struct outcome *outcome)
{
    struct embar_diag diag = {0};

    if (args->config_path) {
        outcome_fail(outcome, TOOL_USAGE, "-c was given twice; give one configuration file");
        return ARGS_DONE;
    }
    args->config_path = path;
    if (embar_config_load(args->config, path, &diag) != 0)
        return refuse(outcome, &diag);
    return ARGS_RUN;
}

static enum args_next set(struct args *args, const char *assignment, struct outcome *outcome)
{
    struct embar_diag diag = {0};

    if (embar_config_set(args->config, assignment, &diag) != 0)
        return refuse(outcome, &diag);
    return ARGS_RUN;
}

/* --listen and --connect: short for the role's own key. */
static enum args_next set_address(struct args *args, const char *key, const char *value,
                                  struct outcome *outcome)
{
    char assignment[ADDRESSES_BYTES + 64];

    if (strlen(value) >= ADDRESSES_BYTES) {
        outcome_fail(outcome, TOOL_USAGE, "--%s: the value is longer than %d bytes", key,
                     ADDRESSES_BYTES - 1);
        return ARGS_DONE;
    }
    snprintf(assignment, sizeof(assignment), "%s.%s=%s", args->role, key, value);
    return set(args, assignment, outcome);
}

/* getopt_long answers '?' for an unknown option and ':' for one whose value is missing. */
static enum args_next refuse_option(int option, const char *argv_at, struct outcome *outcome)
{
    char letter[] = {'-', (char)optopt, '\0'};
    const char *name =
        optopt > ' ' && optopt <= '~' && strncmp(argv_at, "--", 2) != 0 ? letter : argv_at;

    outcome_fail(outcome, TOOL_USAGE,
                 option == ':' ? "%s needs a value; see %s --help"
                               : "%s is no option; see %s --help",
                 name, tool_name());
    return ARGS_DONE;
}

enum args_next args_take(struct args *args, int option, const char *value, const char *argv_at,
                         struct outcome *outcome)
{
    switch (option) {
    case 'c':
        return load(args, value, outcome);
    case ARGS_SET:
        return set(args, value, outcome);
    case ARGS_LISTEN:
        return set_address(args, "listen", value, outcome);
    case ARGS_CONNECT:
        return set_address(args, "connect", value, outcome);
    case ARGS_STATS:
        return value_seconds("--stats", value, &args->stats_ns, outcome) == TOOL_OK ? ARGS_RUN
                                                                                    : ARGS_DONE;
    case ARGS_REPORT:
        args->report = value;
        return ARGS_RUN;
    case ARGS_PRINT_CONFIG:
        args->print_config = true;
        return ARGS_RUN;
    case ARGS_HELP:
        fputs(args->help, stdout);
        return ARGS_DONE;
    case ARGS_VERSION:
        printf("%s %s\n", tool_name(), embar_version());
        return ARGS_DONE;
    case 'v':
        args->quiet = false;
        tool_set_log_level(EMBAR_LOG_DEBUG);
        return ARGS_RUN;
    case 'q':
        args->quiet = true;
        tool_set_log_level(EMBAR_LOG_ERROR);
        return ARGS_RUN;
    default:
        return refuse_option(option, argv_at, outcome);
    }
}

bool args_check_output(const char *option, const char *path, struct outcome *outcome)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat st;
    bool exists = stat(path, &st) == 0;

    if (strcmp(path, "-") == 0)
        return true;
    if (exists && S_ISDIR(st.st_mode)) {
        outcome_fail(outcome, TOOL_USAGE, "%s %s: is a directory; name a file", option, path);
        return false;
    }
    if (exists && !S_ISREG(st.st_mode))
        return true;
    if (!slash)
        snprintf(folder, sizeof(folder), ".");
    else
        snprintf(folder, sizeof(folder), "%.*s", slash > path ? (int)(slash - path) : 1, path);
    if (access(folder, W_OK | X_OK) != 0) {
        outcome_fail(outcome, TOOL_USAGE, "%s %s: cannot write into %s: %s", option, path, folder,
                     strerror(errno));
        return false;
    }
    return true;
}

static enum args_next print_config(const struct args *args, struct outcome *outcome)
{
    int rc = embar_config_print(args->config, stdout);

    if (rc != 0)
        outcome_fail(outcome, TOOL_DATA, "writing the configuration failed: %s", strerror(-rc));
    return ARGS_DONE;
}

enum args_next args_complete(struct args *args, struct outcome *outcome)
{
    struct embar_diag diag = {0};

    if (args->report && !args_check_output("--report", args->report, outcome)) {
        args->report = NULL; /* said; the end of the run need not say it again */
        return ARGS_DONE;
    }
    if (embar_config_check(args->config, &diag) != 0)
        return refuse(outcome, &diag);
    return args->print_config ? print_config(args, outcome) : ARGS_RUN;
}

const char *args_config(const struct args *args, const char *key, char *value, size_t value_bytes)
{
    if (!args->config || embar_config_get(args->config, key, value, value_bytes) != 0)
        snprintf(value, value_bytes, "%s", "");
    return value;
}
