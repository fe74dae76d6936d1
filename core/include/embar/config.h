/*
 * <embar/config.h> - the configuration of a publisher or subscriber.
 *
 * A value comes from (strongest first): the command line (embar_config_set), the environment, a
 * YAML file, the default. Every key is listed with unit, default and range in config/embar.yaml and
 * in embar-config(5). One thread; a config may be destroyed once the objects opened with it are
 * open.
 */
#ifndef EMBAR_CONFIG_H
#define EMBAR_CONFIG_H

#include <stddef.h>
#include <stdio.h>

#include <embar/diag.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* the library is built with hidden symbols */

struct embar_config;

/* All defaults. -ENOMEM. */
int embar_config_create(struct embar_config **config, struct embar_diag *diag);

void embar_config_destroy(struct embar_config *config);

/*
 * Reads a YAML file; of several the later is stronger. A file with an error in it changes nothing.
 * Keys of a backend that the build lacks are left out.
 * -EINVAL with one sentence that begins with FILE:LINE:COLUMN: a syntax error, an unknown or
 * duplicate key, a value that does not fit. -EFBIG more than 1 MiB; what open(2) and read(2) say.
 * May block as these do.
 */
int embar_config_load(struct embar_config *config, const char *path, struct embar_diag *diag);

/*
 * Takes EMBAR_<KEY> (dots as underscores, upper case) from the environment, and EMBAR_USE_HUGETLB
 * (1: hugepages require, 0: never). -EINVAL names the variable: a bad value, or a name with that
 * prefix which is no key's (EMBAR_BIN, EMBAR_SOURCE, EMBAR_LAB_* and EMBAR_TEST_* are left alone).
 * Then nothing changes. Reads environ(7).
 */
int embar_config_load_env(struct embar_config *config, struct embar_diag *diag);

/*
 * Sets "KEY=VALUE" with the strength of the command line; a list's items are joined with commas.
 * Setting ROLE.listen replaces a ROLE.connect of a weaker source, and the other way round; both of
 * the same strength are an error. -ENOENT unknown key, -EINVAL bad value or form.
 */
int embar_config_set(struct embar_config *config, const char *assignment, struct embar_diag *diag);

/* Checks what holds between keys (a batch fits into a buffer, ...). The open calls do it too.
 * -EINVAL; -ENOTSUP when this build has none of the transports asked for. */
int embar_config_check(const struct embar_config *config, struct embar_diag *diag);

/* Copies the effective value as one would write it; -ENOENT unknown key, -ENOSPC. */
int embar_config_get(const struct embar_config *config, const char *key, char *value,
                     size_t value_bytes);

/* Prints every key, its effective value and where it came from, as a YAML file that can be read
 * back. -EIO. */
int embar_config_print(const struct embar_config *config, FILE *out);

/* Prints every key of this build with its default, what it accepts and what it is for. -EIO,
 * -ENOMEM.
 */
int embar_config_describe(FILE *out);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
