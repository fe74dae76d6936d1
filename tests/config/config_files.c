/*
 * Writes the keys of the option tables into config/embar.yaml and docs/man/embar-config.5, or
 * checks that they are there: `config_files write|check yaml|man FILE`. What is written stands
 * between two lines of the file that say BEGIN KEYS and END KEYS; the rest of it is written by
 * hand. Exit status 0 equal or written, 1 different, 2 something failed, 77 the build lacks a
 * backend whose keys are in the file. One thread.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/config.h"
#include "transport/registry.h"

#define LINE_COLUMNS 96

typedef void write_keys_fn(FILE *out, const struct option_table *table);

/* ---- what is written ----------------------------------------------------------------------------
 */

/* Bytes of the group's name with its dot; 0 for a key without a group. */
static size_t group_bytes(const char *key)
{
    const char *dot = strchr(key, '.');

    return dot != NULL ? (size_t)(dot - key) + 1 : 0;
}

static bool begins_group(const struct option_table *table, size_t i)
{
    size_t group = group_bytes(table->options[i].key);

    return group > 0 &&
           (i == 0 || strncmp(table->options[i - 1].key, table->options[i].key, group));
}

static void write_comment(FILE *out, const char *indent, const char *text)
{
    size_t column = 0;

    while (*text != '\0') {
        size_t word = strcspn(text, " ");

        if (column > 0 && column + 1 + word > LINE_COLUMNS) {
            fputc('\n', out);
            column = 0;
        }
        if (column == 0)
            column += (size_t)fprintf(out, "%s#", indent);
        column += (size_t)fprintf(out, " %.*s", (int)word, text);
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static const char *default_text(const struct option *option)
{
    return option->default_value[0] != '\0' ? option->default_value : "empty";
}

static void write_yaml(FILE *out, const struct option_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct option *option = &table->options[i];
        size_t group = group_bytes(option->key);
        const char *indent = group > 0 ? "  " : "";
        char accepts[EMBAR_DIAG_BYTES / 2], line[EMBAR_DIAG_BYTES], yaml[CONFIG_YAML_BYTES];

        fputc('\n', out);
        if (begins_group(table, i))
            fprintf(out, "%.*s:\n", (int)(group - 1), option->key);
        write_comment(out, indent, option->help);
        snprintf(line, sizeof(line), "Accepts %s. Default: %s.",
                 config_accepts(option, accepts, sizeof(accepts)), default_text(option));
        write_comment(out, indent, line);
        fprintf(out, "%s%s: %s\n", indent, option->key + group,
                config_yaml_value(option, option->default_value, yaml));
    }
    fputc('\n', out);
}

/* Text for roff: dashes that are dashes, backslashes that are shown, no accidental request. */
static void write_roff(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text != '\0'; text++) {
        if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else
            fputc(*text, out);
    }
}

static void write_man(FILE *out, const struct option_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct option *option = &table->options[i];
        char accepts[EMBAR_DIAG_BYTES / 2], variable[96];

        fputs(".TP\n.B ", out);
        write_roff(out, option->key);
        fputc('\n', out);
        write_roff(out, option->help);
        fputs("\nAccepts ", out);
        write_roff(out, config_accepts(option, accepts, sizeof(accepts)));
        fputs(". Default: ", out);
        write_roff(out, default_text(option));
        fprintf(out, ".\nEnvironment %s.\n",
                config_variable(option->key, variable, sizeof(variable)));
    }
}

/* ---- files -------------------------------------------------------------------------------------
 */

static int read_all(const char *path, char **text)
{
    FILE *in = fopen(path, "re");
    size_t bytes = 0;
    int rc = 0;

    if (in == NULL || getdelim(text, &bytes, '\0', in) < 0) {
        perror(path);
        rc = -1;
    }
    if (in != NULL)
        fclose(in);
    return rc;
}

/* The file's text with the keys put between its two lines; NULL after a message. */
static char *fill_in(const char *path, const char *text, write_keys_fn *write_keys,
                     const struct option_table *table)
{
    const char *begin = strstr(text, "BEGIN KEYS"), *end = strstr(text, "END KEYS");
    char *filled = NULL;
    size_t bytes = 0;
    FILE *out;

    if (begin == NULL || end == NULL || end < begin) {
        fprintf(stderr, "%s has no lines BEGIN KEYS and END KEYS\n", path);
        return NULL;
    }
    begin += strcspn(begin, "\n") + 1;
    while (end[-1] != '\n')
        end--;
    out = open_memstream(&filled, &bytes);
    if (out == NULL)
        return NULL;
    fprintf(out, "%.*s", (int)(begin - text), text);
    write_keys(out, table);
    fputs(end, out);
    if (fclose(out) != 0) {
        free(filled);
        return NULL;
    }
    return filled;
}

static int write_all(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");

    if (out == NULL || fputs(text, out) < 0 || fclose(out) != 0) {
        perror(path);
        return 2;
    }
    return 0;
}

/* Names the first line that differs. */
static int compare(const char *path, const char *text, const char *wanted)
{
    size_t line = 1;

    if (strcmp(text, wanted) == 0)
        return 0;
    while (*text != '\0' && *text == *wanted) {
        if (*text == '\n')
            line++;
        text++;
        wanted++;
    }
    fprintf(stderr, "%s:%zu differs from the option tables: build the target embar-config-gen\n",
            path, line);
    return 1;
}

/* Whether the file speaks of a backend that this build has not. */
static const char *lacking(const char *text)
{
    static const char *const backends[] = {"shm", "rdma", "tcp"};

    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        char group[16], key[16];

        snprintf(group, sizeof(group), "\n%s:\n", backends[i]);
        snprintf(key, sizeof(key), "\n.B %s.", backends[i]);
        if (registry_missing(backends[i]) != NULL &&
            (strstr(text, group) != NULL || strstr(text, key) != NULL))
            return backends[i];
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct embar_config *config = NULL;
    char *text = NULL, *filled = NULL;
    const char *backend;
    int status = 2;

    if (argc != 4 || embar_config_create(&config, NULL) != 0) {
        fprintf(stderr, "usage: config_files write|check yaml|man FILE\n");
        return 2;
    }
    if (read_all(argv[3], &text) != 0)
        goto out;
    backend = lacking(text);
    if (backend != NULL) {
        fprintf(stderr, "%s has keys of the %s backend, which this build lacks\n", argv[3],
                backend);
        status = 77;
        goto out;
    }
    filled = fill_in(argv[3], text, strcmp(argv[2], "man") == 0 ? write_man : write_yaml,
                     config_options(config));
    if (filled != NULL)
        status = strcmp(argv[1], "write") == 0 ? write_all(argv[3], filled)
                                               : compare(argv[3], text, filled);
out:
    free(filled);
    free(text);
    embar_config_destroy(config);
    return status;
}
