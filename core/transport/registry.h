/*
 * The list of backends. registry.c is the only file that names them. Used by core/transport to open
 * one, by the config reader to collect option tables, and by tests to add the in-memory backend.
 */
#ifndef TRANSPORT_REGISTRY_H
#define TRANSPORT_REGISTRY_H

#include "common/clock.h"
#include "common/option.h"

struct backend;
struct embar_transport;
struct embar_diag;

/* The backend called `name`, or NULL. */
const struct backend *registry_find(const char *name);

/* The i-th backend of this build, best first; NULL past the end. */
const struct backend *registry_at(unsigned i);

/* Adds one for tests; static storage, never removed. -ENOSPC after 8, -EEXIST. */
int registry_add(const struct backend *backend);

/* The option table of a backend, for the config reader; NULL when there is no such backend. */
const struct option_table *registry_options(const char *name);

/* Why a backend that the design names is not in this build and how to get it; NULL when it is. */
const char *registry_missing(const char *name);

/* The i-th transport that the design names, best first, whether or not this build has it; NULL past
 * the end. Static storage. */
const char *registry_designed(unsigned i);

/* embar_transport_open with time and randomness given. */
int transport_open_env(const char *name, const char *const *settings, const struct env *env,
                       struct embar_transport **transport, struct embar_diag *diag);

#endif
