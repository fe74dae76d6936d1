/* What the stream level and the tests see of a config, beside the public calls. */
#ifndef STREAM_CONFIG_H
#define STREAM_CONFIG_H

#include <embar/config.h>

#include "common/clock.h"
#include "stream/options.h"

/* The effective stream options; valid until the config changes. */
const struct stream_options *config_stream(const struct embar_config *config);

/* The effective settings of a backend as a NULL-terminated "key=value" array for
 * embar_transport_open; owned by the caller, freed with config_settings_free. NULL: out of memory.
 */
char **config_settings(const struct embar_config *config, const char *backend);
void config_settings_free(char **settings);

/* The transports to use, in order of preference, with 'auto' written out as shm, rdma, tcp. Some
 * may not be in this build: registry_missing says why. Names are in static storage. Returns how
 * many; -EINVAL an unknown name, -ENOSPC more than `capacity`. */
int config_transports(const struct embar_config *config, const char *names[], int capacity);

/* Every key with offsets of no use to the caller, for documents. Valid as long as the config. */
const struct option_table *config_options(const struct embar_config *config);

/* embar_config_load with the file's contents given; `path` is its name in sentences and origins. */
int config_read_yaml(struct embar_config *config, const char *path, const char *text,
                     size_t len_bytes, struct embar_diag *diag);

/* The environment variable of a key: EMBAR_TCP_SEND_MODE for tcp.send_mode. Returns `name`. */
const char *config_variable(const char *key, char *name, size_t name_bytes);

/* Writes a value as YAML: quoted where it must be, a list of several items in brackets. Returns
 * `yaml`. */
#define CONFIG_YAML_BYTES (4 * OPTION_LIST_BYTES)
const char *config_yaml_value(const struct option *option, const char *text,
                              char yaml[CONFIG_YAML_BYTES]);

/* What a key accepts, with its unit: "1 .. 16 links", "a list of HOST:PORT". Returns `text`. */
const char *config_accepts(const struct option *option, char *text, size_t text_bytes);

/* Time and randomness for the objects opened with it; env_system unless set. Borrowed. */
void config_set_env(struct embar_config *config, const struct env *env);
const struct env *config_env(const struct embar_config *config);

#endif
