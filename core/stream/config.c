/*
 * The configuration: joins the option tables of the stream level and of every backend into one,
 * keeps what each source (file, environment, command line) says of each key, and works out which
 * word holds. Owns all texts and values. One thread; see config_store.h for how a source hands its
 * values over.
 */
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include <embar/transport.h>

#include "common/diag.h"
#include "common/text.h"
#include "stream/config_store.h"
#include "transport/registry.h"

/* Setting one of a pair replaces the other. */
static const char *const pairs[][2] = {
    {"publisher.connect", "publisher.listen"},
    {"subscriber.connect", "subscriber.listen"},
};

/* ---- creation ------------------------------------------------------------------------------- */

static size_t field_bytes(enum option_type type)
{
    switch (type) {
    case OPTION_BOOL:
        return sizeof(bool);
    case OPTION_INT:
        return sizeof(int64_t);
    case OPTION_SIZE:
    case OPTION_DURATION:
        return sizeof(uint64_t);
    case OPTION_ENUM:
        return sizeof(int);
    case OPTION_STRING:
        return OPTION_STRING_BYTES;
    case OPTION_LIST:
        return OPTION_LIST_BYTES;
    }
    return 0;
}

/* Bytes of the struct that a table fills, rounded so that another may follow. */
static size_t target_bytes(const struct option_table *table)
{
    const size_t align = alignof(max_align_t);
    size_t bytes = 0;

    for (size_t i = 0; i < table->count; i++) {
        size_t end = table->options[i].offset + field_bytes(table->options[i].type);

        if (end > bytes)
            bytes = end;
    }
    return (bytes + align - 1) / align * align;
}

/* Copies a table's options, moved to where their struct lies in `values`. */
static void append_table(struct embar_config *config, const struct option_table *table, size_t base)
{
    for (size_t i = 0; i < table->count; i++) {
        struct option *option = &config->options[config->table.count++];

        *option = table->options[i];
        option->offset += base;
    }
}

static int join_tables(struct embar_config *config)
{
    const char *const *names = embar_transport_names();
    size_t options = stream_options.count, bytes = target_bytes(&stream_options), backends = 0;

    for (; names[backends] != NULL; backends++) {
        const struct option_table *table = registry_options(names[backends]);

        options += table->count;
        bytes += target_bytes(table);
    }
    config->options = calloc(options, sizeof(*config->options));
    config->keys = calloc(options, sizeof(*config->keys));
    config->values = calloc(1, bytes);
    config->scratch = calloc(1, bytes);
    config->backends = calloc(backends + 1, sizeof(*config->backends));
    if (config->options == NULL || config->keys == NULL || config->values == NULL ||
        config->scratch == NULL || config->backends == NULL)
        return -ENOMEM;

    append_table(config, &stream_options, 0);
    bytes = target_bytes(&stream_options);
    for (size_t i = 0; i < backends; i++) {
        const struct option_table *table = registry_options(names[i]);

        config->backends[i] = (struct config_backend){names[i], config->table.count, table->count};
        append_table(config, table, bytes);
        bytes += target_bytes(table);
    }
    config->backend_count = backends;
    config->table.options = config->options;
    return 0;
}

int embar_config_create(struct embar_config **result, struct embar_diag *diag)
{
    struct embar_config *config = calloc(1, sizeof(*config));

    if (config == NULL || join_tables(config) != 0) {
        embar_config_destroy(config);
        return diag_fail(diag, ENOMEM, "no memory for a configuration");
    }
    option_defaults(&config->table, config->values);
    config->env = &env_system;
    *result = config;
    return 0;
}

static void said_clear(struct config_said *said)
{
    free(said->text);
    free(said->origin);
    *said = (struct config_said){0};
}

void embar_config_destroy(struct embar_config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config->table.count; i++) {
        for (size_t source = 0; source < CONFIG_SOURCES; source++)
            said_clear(&config->keys[i].said[source]);
    }
    free(config->options);
    free(config->keys);
    free(config->values);
    free(config->scratch);
    free(config->backends);
    free(config);
}

/* ---- keys ----------------------------------------------------------------------------------- */

size_t config_find(const struct embar_config *config, const char *key)
{
    const struct option *option = option_find(&config->table, key);

    return option != NULL ? (size_t)(option - config->options) : CONFIG_NONE;
}

bool config_is_group(const struct embar_config *config, const char *group)
{
    size_t len = strlen(group);

    for (size_t i = 0; i < config->table.count; i++) {
        const char *key = config->options[i].key;

        if (strncmp(key, group, len) == 0 && key[len] == '.')
            return true;
    }
    return false;
}

const char *config_lacks(const char *key)
{
    char backend[OPTION_STRING_BYTES];

    text_format(backend, sizeof(backend), "%.*s", (int)strcspn(key, "."), key);
    return registry_missing(backend);
}

int config_unknown(const struct embar_config *config, const char *key, struct embar_diag *diag)
{
    const char *why = config_lacks(key);

    if (why != NULL)
        return diag_fail(diag, ENOENT, "%s cannot be set: %s", key, why);
    return option_set(&config->table, key, "", config->scratch, diag);
}

/* The other key of a pair, or CONFIG_NONE. */
static size_t partner(const struct embar_config *config, size_t key)
{
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        for (size_t side = 0; side < 2; side++) {
            if (strcmp(config->options[key].key, pairs[i][side]) == 0)
                return config_find(config, pairs[i][1 - side]);
        }
    }
    return CONFIG_NONE;
}

/* Whether the field in `values` is an empty string or list. */
static bool field_empty(const struct option *option, const unsigned char *values)
{
    return (option->type == OPTION_STRING || option->type == OPTION_LIST) &&
           values[option->offset] == '\0';
}

const char *config_origin(const struct embar_config *config, size_t key, char *text,
                          size_t text_bytes)
{
    const struct config_key *state = &config->keys[key];

    if (state->replaced)
        return text_format(text, text_bytes, "replaced by %s",
                           config->options[partner(config, key)].key);
    if (state->source == CONFIG_DEFAULT)
        return text_format(text, text_bytes, "default");
    return text_format(text, text_bytes, "%s", state->said[state->source].origin);
}

/* ---- values --------------------------------------------------------------------------------- */

/* Empties the weaker one of each pair that has two values. */
static void resolve_pairs(struct embar_config *config)
{
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        size_t a = config_find(config, pairs[i][0]), b = config_find(config, pairs[i][1]);
        size_t loser;

        if (field_empty(&config->options[a], config->values) ||
            field_empty(&config->options[b], config->values))
            continue;
        /* Never equal: one source gives one of them, and only one has a default. */
        loser = config->keys[a].source < config->keys[b].source ? a : b;
        config->keys[loser].replaced = true;
        config->values[config->options[loser].offset] = '\0';
    }
}

/* Works the effective values out anew. Cannot fail but by a value that was never checked. */
static int resolve(struct embar_config *config, struct embar_diag *diag)
{
    option_defaults(&config->table, config->values);
    for (size_t i = 0; i < config->table.count; i++) {
        struct config_key *key = &config->keys[i];
        int rc;

        key->replaced = false;
        key->source = CONFIG_SOURCES - 1;
        while (key->source > CONFIG_DEFAULT && key->said[key->source].text == NULL)
            key->source--;
        if (key->source == CONFIG_DEFAULT)
            continue;
        rc = option_parse(&config->options[i], key->said[key->source].text, config->values, diag);
        if (rc != 0)
            return rc;
    }
    resolve_pairs(config);
    return 0;
}

int config_stage_open(struct config_stage *stage, struct embar_config *config,
                      enum config_source source, struct embar_diag *diag)
{
    *stage = (struct config_stage){.config = config, .source = source};
    stage->said = calloc(config->table.count, sizeof(*stage->said));
    if (stage->said == NULL)
        return diag_fail(diag, ENOMEM, "no memory for a configuration");
    return 0;
}

/* Whether the same source gives the other of a pair too, and neither is empty. */
static int check_pair(const struct config_stage *stage, size_t key, struct embar_diag *diag)
{
    const struct embar_config *config = stage->config;
    size_t other = partner(config, key);
    const struct config_said *said;

    if (other == CONFIG_NONE || field_empty(&config->options[key], config->scratch))
        return 0;
    said = &stage->said[other];
    /* The command line comes in one assignment after the other; a file in one piece. */
    if (stage->source == CONFIG_COMMAND_LINE)
        said = &config->keys[other].said[CONFIG_COMMAND_LINE];
    if (said->text == NULL || said->empty)
        return 0;
    return diag_fail(diag, EINVAL, "%s and %s (%s) are both given: give one of them",
                     config->options[key].key, config->options[other].key, said->origin);
}

int config_stage_put(struct config_stage *stage, size_t key, const char *text, const char *origin,
                     struct embar_diag *diag)
{
    struct embar_config *config = stage->config;
    const struct option *option = &config->options[key];
    struct config_said *said = &stage->said[key];
    const char *flaw = config_text_flaw(text, strlen(text));
    int rc;

    if (said->text != NULL)
        return diag_fail(diag, EINVAL, "%s is given twice, first by %s: give it once", option->key,
                         said->origin);
    if (flaw != NULL)
        return diag_fail(diag, EINVAL, "the value of %s %s: write it in printable UTF-8",
                         option->key, flaw);
    rc = option_parse(option, text, config->scratch, diag);
    if (rc != 0)
        return rc;
    rc = check_pair(stage, key, diag);
    if (rc != 0)
        return rc;
    said->text = strdup(text);
    said->origin = strdup(origin);
    said->empty = field_empty(option, config->scratch);
    if (said->text == NULL || said->origin == NULL) {
        said_clear(said);
        return diag_fail(diag, ENOMEM, "no memory for the value of %s", option->key);
    }
    return 0;
}

int config_stage_commit(struct config_stage *stage, struct embar_diag *diag)
{
    struct embar_config *config = stage->config;

    /* An earlier file's word on the other of a pair is as weak and older: it goes. */
    for (size_t i = 0; i < config->table.count; i++) {
        size_t other = partner(config, i);

        if (other != CONFIG_NONE && stage->said[i].text != NULL && !stage->said[i].empty)
            said_clear(&config->keys[other].said[stage->source]);
    }
    for (size_t i = 0; i < config->table.count; i++) {
        if (stage->said[i].text == NULL)
            continue;
        said_clear(&config->keys[i].said[stage->source]);
        config->keys[i].said[stage->source] = stage->said[i];
        stage->said[i] = (struct config_said){0};
    }
    return resolve(config, diag);
}

void config_stage_close(struct config_stage *stage)
{
    if (stage->said == NULL)
        return;
    for (size_t i = 0; i < stage->config->table.count; i++)
        said_clear(&stage->said[i]);
    free(stage->said);
    stage->said = NULL;
}

int embar_config_set(struct embar_config *config, const char *assignment, struct embar_diag *diag)
{
    const char *equals = strchr(assignment, '=');
    char key[OPTION_STRING_BYTES];
    struct config_stage stage;
    size_t index;
    int rc;

    if (equals == NULL || equals == assignment)
        return diag_fail(diag, EINVAL, "'%s' is not of the form KEY=VALUE",
                         text_format(key, sizeof(key), "%s", assignment));
    text_format(key, sizeof(key), "%.*s", (int)(equals - assignment), assignment);
    index = config_find(config, key);
    if (index == CONFIG_NONE)
        return config_unknown(config, key, diag);

    rc = config_stage_open(&stage, config, CONFIG_COMMAND_LINE, diag);
    if (rc == 0)
        rc = config_stage_put(&stage, index, equals + 1, "command line", diag);
    if (rc == 0)
        rc = config_stage_commit(&stage, diag);
    config_stage_close(&stage);
    return rc;
}
