/* A backend's settings struct, filled from its option table and the caller's "key=value" strings.
 */
#ifndef TRANSPORT_SETTINGS_H
#define TRANSPORT_SETTINGS_H

#include <embar/diag.h>

struct backend;

/* Allocates the struct, fills in the defaults, then `assignments` in order (NULL-terminated, may be
 * NULL). Freed with free(3). -ENOMEM, -EINVAL. */
int settings_create(const struct backend *backend, const char *const *assignments, void **settings,
                    struct embar_diag *diag);

#endif
