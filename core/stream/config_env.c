/*
 * Takes the configuration's values from the environment: EMBAR_<KEY>, upper case, dots as
 * underscores. A variable that looks like one of Embar's and is none is an error, because a slip of
 * the pen would otherwise be silent. Owns nothing beyond a call. Reads environ(7), so no other
 * thread may change it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/text.h"
#include "stream/config_store.h"

#define PREFIX         "EMBAR_"
#define HUGETLB        "EMBAR_USE_HUGETLB"
#define VARIABLE_BYTES 96

/* For Embar's own scripts and tests; a name that ends in '_' stands for all that begin so. */
static const char *const reserved[] = {"EMBAR_LAB", "EMBAR_LAB_", "EMBAR_TEST_", "EMBAR_BIN",
                                       "EMBAR_SOURCE"};

/* The keys by the names of their variables. */
struct variables {
    char (*names)[VARIABLE_BYTES]; /* owned */
    struct option *options;        /* owned; only the key is filled in */
    struct option_table table;     /* of `options` */
};

static int variables_open(struct variables *variables, const struct embar_config *config)
{
    size_t count = config->table.count;

    variables->names = calloc(count, sizeof(*variables->names));
    variables->options = calloc(count, sizeof(*variables->options));
    if (variables->names == NULL || variables->options == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        variables->options[i].key = config_variable(config->options[i].key, variables->names[i],
                                                    sizeof(variables->names[i]));
    variables->table = (struct option_table){variables->options, count};
    return 0;
}

static void variables_close(struct variables *variables)
{
    free(variables->names);
    free(variables->options);
}

static bool is_reserved(const char *name)
{
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        size_t len = strlen(reserved[i]);

        if (reserved[i][len - 1] == '_' ? strncmp(name, reserved[i], len) == 0
                                        : strcmp(name, reserved[i]) == 0)
            return true;
    }
    return false;
}

static int unknown_variable(const struct variables *variables, const char *name,
                            struct embar_diag *diag)
{
    unsigned distance;
    const struct option *nearest = option_nearest(&variables->table, name, &distance);

    if (nearest != NULL)
        return diag_fail(diag, EINVAL, "environment %s: no key has this variable; did you mean %s?",
                         name, nearest->key);
    return diag_fail(diag, EINVAL,
                     "environment %s: no key has this variable; unset it, or see embar-config(5)",
                     name);
}

/* Stages a value, with the variable's name before whatever sentence comes of it. */
static int put(struct config_stage *stage, size_t key, const char *name, const char *value,
               struct embar_diag *diag)
{
    char origin[VARIABLE_BYTES + 16];
    int rc;

    text_format(origin, sizeof(origin), "environment %s", name);
    rc = config_stage_put(stage, key, value, origin, diag);
    if (rc != 0)
        diag_prefix(diag, "%s", origin);
    return rc;
}

static int put_hugetlb(struct config_stage *stage, const char *value, struct embar_diag *diag)
{
    bool one = strcmp(value, "1") == 0;

    if (!one && strcmp(value, "0") != 0)
        return diag_fail(diag, EINVAL,
                         "environment " HUGETLB ": '%.64s' is not accepted; write 1 (hugepages "
                         "require) or 0 (never), or unset it",
                         value);
    return put(stage, config_find(stage->config, "hugepages"), HUGETLB, one ? "require" : "never",
               diag);
}

/* Takes one "NAME=VALUE" that begins with the prefix. */
static int take(struct config_stage *stage, const struct variables *variables,
                const char *assignment, struct embar_diag *diag)
{
    const char *equals = strchr(assignment, '=');
    const struct option *option;
    char name[VARIABLE_BYTES];

    if (equals == NULL) /* not of the form that environ(7) promises, so nobody's variable */
        return 0;
    text_format(name, sizeof(name), "%.*s", (int)(equals - assignment), assignment);
    if (strcmp(name, HUGETLB) == 0)
        return put_hugetlb(stage, equals + 1, diag);
    if (is_reserved(name))
        return 0;
    option = option_find(&variables->table, name);
    if (option == NULL)
        return unknown_variable(variables, name, diag);
    return put(stage, (size_t)(option - variables->options), name, equals + 1, diag);
}

int embar_config_load_env(struct embar_config *config, struct embar_diag *diag)
{
    struct variables variables = {0};
    struct config_stage stage = {0};
    int rc;

    if (variables_open(&variables, config) != 0)
        rc = diag_fail(diag, ENOMEM, "no memory to read the environment");
    else
        rc = config_stage_open(&stage, config, CONFIG_ENVIRONMENT, diag);
    for (char **entry = environ; rc == 0 && entry != NULL && *entry != NULL; entry++) {
        if (strncmp(*entry, PREFIX, strlen(PREFIX)) == 0)
            rc = take(&stage, &variables, *entry, diag);
    }
    if (rc == 0)
        rc = config_stage_commit(&stage, diag);
    config_stage_close(&stage);
    variables_close(&variables);
    return rc;
}
