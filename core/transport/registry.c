/*
 * The list of backends, and the only file that names them. A backend that the build leaves out is
 * known here by what it takes to get it. The list is constant but for registry_add, which tests
 * call before they start threads.
 */
#include "transport/registry.h"

#include <errno.h>
#include <string.h>

#include "transport/backend.h"

#define ADDED_MAX 8

#ifdef EMBAR_HAVE_SHM
extern const struct backend backend_shm;
#endif
#ifdef EMBAR_HAVE_RDMA
extern const struct backend backend_rdma;
#endif
#ifdef EMBAR_HAVE_TCP
extern const struct backend backend_tcp;
#endif

/* Best first; the added ones and a NULL follow. `names` runs beside it. */
static const struct backend *backends[3 + ADDED_MAX + 1] = {
#ifdef EMBAR_HAVE_SHM
    &backend_shm,
#endif
#ifdef EMBAR_HAVE_RDMA
    &backend_rdma,
#endif
#ifdef EMBAR_HAVE_TCP
    &backend_tcp,
#endif
};

static const char *names[3 + ADDED_MAX + 1] = {
#ifdef EMBAR_HAVE_SHM
    "shm",
#endif
#ifdef EMBAR_HAVE_RDMA
    "rdma",
#endif
#ifdef EMBAR_HAVE_TCP
    "tcp",
#endif
};

static unsigned added;

/* All that the design names, best first. */
static const struct {
    const char *name, *how;
} missing[] = {
    {"shm", "this build has no shm backend: configure and build again from the complete sources"},
    {"rdma", "this build has no rdma backend: install libibverbs-dev and librdmacm-dev, configure "
             "without -DEMBAR_RDMA=OFF and build again"},
    {"tcp", "this build has no tcp backend: configure and build again from the complete sources"},
};

const struct backend *registry_at(unsigned i)
{
    return i < sizeof(backends) / sizeof(backends[0]) ? backends[i] : NULL;
}

const struct backend *registry_find(const char *name)
{
    const struct backend *backend;

    for (unsigned i = 0; (backend = registry_at(i)) != NULL; i++) {
        if (strcmp(backend->name, name) == 0)
            return backend;
    }
    return NULL;
}

int registry_add(const struct backend *backend)
{
    unsigned count = 0;

    if (registry_find(backend->name) != NULL)
        return -EEXIST;
    if (added == ADDED_MAX)
        return -ENOSPC;
    while (backends[count] != NULL)
        count++;
    backends[count] = backend;
    names[count] = backend->name;
    added++;
    return 0;
}

const struct option_table *registry_options(const char *name)
{
    const struct backend *backend = registry_find(name);

    return backend != NULL ? backend->options : NULL;
}

const char *registry_missing(const char *name)
{
    if (registry_find(name) != NULL)
        return NULL;
    for (unsigned i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        if (strcmp(missing[i].name, name) == 0)
            return missing[i].how;
    }
    return NULL;
}

const char *registry_designed(unsigned i)
{
    return i < sizeof(missing) / sizeof(missing[0]) ? missing[i].name : NULL;
}

const char *const *embar_transport_names(void)
{
    return names;
}
