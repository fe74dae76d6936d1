/* The settings of the shm backend: the target of its option table, keys `shm.*`. */
#ifndef SHM_SETTINGS_H
#define SHM_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/option.h"

struct shm_settings {
    bool allow_other_users;
    uint64_t connect_timeout_ns, handshake_timeout_ns;
};

extern const struct option_table shm_options;

#endif
