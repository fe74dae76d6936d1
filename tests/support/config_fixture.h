/*
 * For tests of the configuration: a backend "demo" with an option of every type, and short ways to
 * read and to ask. Owns nothing but what it hands out; one thread.
 */
#ifndef SUPPORT_CONFIG_FIXTURE_H
#define SUPPORT_CONFIG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "stream/config.h"
#include "transport/backend.h"
#include "transport/registry.h"

struct demo_settings {
    bool quick;
    int64_t level;
    uint64_t room;
    uint64_t pause_ns;
    int mode;
    char label[OPTION_STRING_BYTES];
    char names[OPTION_LIST_BYTES];
};

static const char *const demo_modes[] = {"slow", "fast", NULL};
#define DEMO(field) offsetof(struct demo_settings, field)
static const struct option demo_options[] = {
    {.key = "demo.quick",
     .type = OPTION_BOOL,
     .offset = DEMO(quick),
     .default_value = "false",
     .help = "A truth."},
    {.key = "demo.level",
     .type = OPTION_INT,
     .offset = DEMO(level),
     .default_value = "3",
     .min = (uint64_t)-5,
     .max = 5,
     .help = "A number."},
    {.key = "demo.room",
     .type = OPTION_SIZE,
     .offset = DEMO(room),
     .default_value = "64KiB",
     .unit = "bytes",
     .help = "A size."},
    {.key = "demo.pause",
     .type = OPTION_DURATION,
     .offset = DEMO(pause_ns),
     .default_value = "20ms",
     .help = "A time."},
    {.key = "demo.mode",
     .type = OPTION_ENUM,
     .offset = DEMO(mode),
     .default_value = "fast",
     .choices = demo_modes,
     .help = "A choice."},
    {.key = "demo.label",
     .type = OPTION_STRING,
     .offset = DEMO(label),
     .default_value = "",
     .help = "A text."},
    {.key = "demo.names",
     .type = OPTION_LIST,
     .offset = DEMO(names),
     .default_value = "a,b",
     .unit = "WORD",
     .help = "Some texts."},
};
static const struct option_table demo_table = {demo_options,
                                               sizeof(demo_options) / sizeof(demo_options[0])};
static const struct backend backend_demo = {
    .name = "demo", .options = &demo_table, .settings_size = sizeof(struct demo_settings)};

/* All defaults, with the demo backend's keys. */
static inline struct embar_config *fresh_config(void)
{
    struct embar_config *config = NULL;

    if (registry_find("demo") == NULL)
        assert_int_equal(registry_add(&backend_demo), 0);
    assert_int_equal(embar_config_create(&config, NULL), 0);
    return config;
}

static inline int read_text(struct embar_config *config, const char *yaml, struct embar_diag *diag)
{
    return config_read_yaml(config, "f.yaml", yaml, strlen(yaml), diag);
}

/* Reads what must be right, and shows the sentence when it is not. */
static inline void read_good(struct embar_config *config, const char *yaml)
{
    struct embar_diag diag = {0};

    if (read_text(config, yaml, &diag) != 0)
        fail_msg("'%s' was refused: %s", yaml, diag.text);
}

static inline void set_good(struct embar_config *config, const char *assignment)
{
    struct embar_diag diag = {0};

    if (embar_config_set(config, assignment, &diag) != 0)
        fail_msg("'%s' was refused: %s", assignment, diag.text);
}

static inline void assert_setting(const struct embar_config *config, const char *key,
                                  const char *value)
{
    char text[OPTION_LIST_BYTES];

    assert_int_equal(embar_config_get(config, key, text, sizeof(text)), 0);
    if (strcmp(text, value) != 0)
        fail_msg("%s is '%s' and not '%s'", key, text, value);
}

/* The sentence begins so, holds all parts (NULL-terminated) and is one line. */
static inline void assert_sentence(const struct embar_diag *diag, const char *begin,
                                   const char *const *parts)
{
    if (strncmp(diag->text, begin, strlen(begin)) != 0)
        fail_msg("'%s' does not begin with '%s'", diag->text, begin);
    for (; *parts != NULL; parts++) {
        if (strstr(diag->text, *parts) == NULL)
            fail_msg("'%s' does not hold '%s'", diag->text, *parts);
    }
    assert_null(strchr(diag->text, '\n'));
    assert_true(diag->error > 0);
}

/* What embar_config_print prints; freed by the caller. */
static inline char *printed(const struct embar_config *config)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    assert_int_equal(embar_config_print(config, out), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* Both give the same value for every key. */
static inline void assert_same_settings(const struct embar_config *a, const struct embar_config *b)
{
    const struct option_table *table = config_options(a);

    for (size_t i = 0; i < table->count; i++) {
        char value[OPTION_LIST_BYTES];

        assert_int_equal(embar_config_get(a, table->options[i].key, value, sizeof(value)), 0);
        assert_setting(b, table->options[i].key, value);
    }
}

/* Reads the environment with one variable set. */
static inline void load_env(struct embar_config *config, const char *name, const char *value)
{
    struct embar_diag diag = {0};

    setenv(name, value, 1);
    if (embar_config_load_env(config, &diag) != 0)
        fail_msg("%s=%s was refused: %s", name, value, diag.text);
    unsetenv(name);
}

#endif
