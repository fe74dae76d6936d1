/*
 * The option table of the shm backend. Constant; any thread.
 */
#include "settings.h"

#include "common/clock.h"

#define AT(field) offsetof(struct shm_settings, field)

static const struct option options[] = {
    {.key = "shm.allow_other_users",
     .type = OPTION_BOOL,
     .offset = AT(allow_other_users),
     .default_value = "false",
     .help = "Whether a peer may be a process of another user than this one's and root. A peer "
             "can write into the mapped buffer at any time, so allow it among users that trust "
             "each other."},
    {.key = "shm.connect_timeout",
     .type = OPTION_DURATION,
     .offset = AT(connect_timeout_ns),
     .default_value = "5s",
     .min = NS_PER_MS,
     .max = 3600 * NS_PER_S,
     .unit = "ms",
     .help = "How long one attempt to connect may take, the peer's answer included."},
    {.key = "shm.handshake_timeout",
     .type = OPTION_DURATION,
     .offset = AT(handshake_timeout_ns),
     .default_value = "5s",
     .min = NS_PER_MS,
     .max = 3600 * NS_PER_S,
     .unit = "ms",
     .help = "How long a connection to a listener may stay silent before it asks for a link."},
};

const struct option_table shm_options = {options, sizeof(options) / sizeof(options[0])};
