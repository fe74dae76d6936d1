/*
 * Fills a backend's settings struct (see settings.h). Owns nothing; runs on the thread that opens
 * the transport.
 */
#include "transport/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "transport/backend.h"

static int assign(const struct backend *backend, const char *assignment, void *settings,
                  struct embar_diag *diag)
{
    const char *equals = strchr(assignment, '=');
    char *key;
    int rc;

    if (equals == NULL || equals == assignment)
        return diag_fail(diag, EINVAL, "the %s setting '%s' is not of the form key=value",
                         backend->name, assignment);
    if (backend->options == NULL)
        return diag_fail(diag, EINVAL, "the %s backend has no settings, but '%s' was given",
                         backend->name, assignment);
    key = strndup(assignment, (size_t)(equals - assignment));
    if (key == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for the %s settings", backend->name);
    rc = option_set(backend->options, key, equals + 1, settings, diag);
    free(key);
    if (rc == -ENOENT) { /* which here would say that there is no such backend */
        rc = -EINVAL;
        if (diag != NULL)
            diag->error = EINVAL;
    }
    return rc;
}

int settings_create(const struct backend *backend, const char *const *assignments, void **settings,
                    struct embar_diag *diag)
{
    void *filled = calloc(1, backend->settings_size > 0 ? backend->settings_size : 1);
    int rc = 0;

    if (filled == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for the %s settings", backend->name);
    if (backend->options != NULL)
        option_defaults(backend->options, filled);
    for (; rc == 0 && assignments != NULL && *assignments != NULL; assignments++)
        rc = assign(backend, *assignments, filled, diag);
    if (rc < 0)
        free(filled);
    else
        *settings = filled;
    return rc;
}
