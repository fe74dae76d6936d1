/*
 * What a configuration gives to those who use it: the stream's options, a backend's settings,
 * single values. Owns nothing but what it hands out. One thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "stream/config_store.h"

const struct stream_options *config_stream(const struct embar_config *config)
{
    return (const struct stream_options *)(const void *)config->values;
}

const struct option_table *config_options(const struct embar_config *config)
{
    return &config->table;
}

void config_set_env(struct embar_config *config, const struct env *env)
{
    config->env = env;
}

const struct env *config_env(const struct embar_config *config)
{
    return config->env;
}

/* "tcp.send_mode=copy", owned by the caller. */
static char *setting(const struct embar_config *config, size_t key)
{
    const struct option *option = &config->options[key];
    char value[OPTION_LIST_BYTES];
    char *text;

    option_format(option, config->values, value, sizeof(value));
    if (asprintf(&text, "%s=%s", option->key, value) < 0)
        return NULL;
    return text;
}

char **config_settings(const struct embar_config *config, const char *backend)
{
    size_t first = 0, count = 0;
    char **settings;

    for (size_t i = 0; i < config->backend_count; i++) {
        if (strcmp(config->backends[i].name, backend) == 0) {
            first = config->backends[i].first;
            count = config->backends[i].count;
        }
    }
    settings = calloc(count + 1, sizeof(*settings));
    if (settings == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        settings[i] = setting(config, first + i);
        if (settings[i] == NULL) {
            config_settings_free(settings);
            return NULL;
        }
    }
    return settings;
}

void config_settings_free(char **settings)
{
    if (settings == NULL)
        return;
    for (size_t i = 0; settings[i] != NULL; i++)
        free(settings[i]);
    free(settings);
}

int embar_config_get(const struct embar_config *config, const char *key, char *value,
                     size_t value_bytes)
{
    size_t index = config_find(config, key);
    char text[OPTION_LIST_BYTES];

    if (index == CONFIG_NONE)
        return -ENOENT;
    option_format(&config->options[index], config->values, text, sizeof(text));
    if (strlen(text) >= value_bytes)
        return -ENOSPC;
    strcpy(value, text);
    return 0;
}
