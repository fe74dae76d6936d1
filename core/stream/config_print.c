/*
 * Prints a configuration as a YAML file that can be read back, and the list of all keys for --help.
 * Both follow the order of the option tables, in which the keys of a group stand together. Owns
 * nothing beyond a call.
 */
#include <errno.h>
#include <string.h>

#include "common/text.h"
#include "stream/config_store.h"

#define COMMENT_COLUMN 40
#define HELP_COLUMNS   92

/* Bytes of the group's name with its dot; 0 for a key without a group. */
static size_t group_bytes(const char *key)
{
    const char *dot = strchr(key, '.');

    return dot != NULL ? (size_t)(dot - key) + 1 : 0;
}

/* Begins the key's group, when it is the first of it. */
static void print_group(const struct option_table *table, size_t key, FILE *out)
{
    const char *name = table->options[key].key;
    size_t group = group_bytes(name);

    if (group > 0 && (key == 0 || strncmp(table->options[key - 1].key, name, group) != 0))
        fprintf(out, "%.*s:\n", (int)(group - 1), name);
}

int embar_config_print(const struct embar_config *config, FILE *out)
{
    for (size_t i = 0; i < config->table.count; i++) {
        const struct option *option = &config->options[i];
        size_t group = group_bytes(option->key);
        char value[OPTION_LIST_BYTES], yaml[CONFIG_YAML_BYTES], origin[512];
        int column;

        print_group(&config->table, i, out);
        option_format(option, config->values, value, sizeof(value));
        column = fprintf(out, "%s%s: %s", group > 0 ? "  " : "", option->key + group,
                         config_yaml_value(option, value, yaml));
        fprintf(out, "%*s # %s\n", column < COMMENT_COLUMN ? COMMENT_COLUMN - column : 0, "",
                config_origin(config, i, origin, sizeof(origin)));
    }
    return fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
}

/* Prints a sentence in lines of at most HELP_COLUMNS. */
static void print_wrapped(const char *text, FILE *out)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t word = strcspn(text, " ");

        if (column > 0 && column + 1 + word > HELP_COLUMNS) {
            fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%s%.*s", column > 0 ? " " : "        ", (int)word, text);
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

int embar_config_describe(FILE *out)
{
    struct embar_config *config;
    int rc = embar_config_create(&config, NULL);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < config->table.count; i++) {
        const struct option *option = &config->options[i];
        char accepts[EMBAR_DIAG_BYTES / 2];

        fprintf(out, "    %s=%s  (%s)\n", option->key, option->default_value,
                config_accepts(option, accepts, sizeof(accepts)));
        print_wrapped(option->help, out);
    }
    rc = fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
    embar_config_destroy(config);
    return rc;
}
