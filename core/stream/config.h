/* What the stream level and the tests see of a config, beside the public calls. */
#ifndef STREAM_CONFIG_H
#define STREAM_CONFIG_H

#include <embar/config.h>

#include "common/clock.h"
#include "stream/options.h"

/* The effective stream options; valid until the config changes. */
const struct stream_options *config_stream(const struct embar_config *config);

/* The effective settings of a backend as a NULL-terminated "key=value" array for
 * embar_transport_open; owned by the caller, freed with config_settings_free. NULL: out of memory. */
char **config_settings(const struct embar_config *config, const char *backend);
void config_settings_free(char **settings);

/* Time and randomness for the objects opened with it; env_system unless set. Borrowed. */
void config_set_env(struct embar_config *config, const struct env *env);
const struct env *config_env(const struct embar_config *config);

#endif
