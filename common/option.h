/*
 * Option tables: one declaration of {key, type, unit, default, min, max, help} that parses values,
 * documents itself and prints itself. The tables are the one source for the config file, --set, the
 * environment, --help, the man page and config/embar.yaml.
 *
 * A table fills a plain struct (its target): each option names an offset into it. A field's C type
 * follows the option's type, as given below.
 */
#ifndef COMMON_OPTION_H
#define COMMON_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <embar/diag.h>

enum option_type {
    OPTION_BOOL,     /* bool: true | false */
    OPTION_INT,      /* int64_t */
    OPTION_SIZE,     /* uint64_t bytes: plain number or with KiB, MiB, GiB */
    OPTION_DURATION, /* uint64_t nanoseconds: with us, ms or s; plain 0 allowed */
    OPTION_ENUM,     /* int: index into `choices` */
    OPTION_STRING,   /* char[OPTION_STRING_BYTES] */
    OPTION_LIST,     /* char[OPTION_LIST_BYTES]: items joined with commas */
};

#define OPTION_STRING_BYTES 128
#define OPTION_LIST_BYTES   1024

struct option {
    const char *key; /* dotted: "tcp.send_mode" */
    enum option_type type;
    size_t offset;             /* into the target struct */
    const char *default_value; /* as one would write it; "" only for STRING and LIST */
    uint64_t min, max; /* INT (as int64_t), SIZE in bytes, DURATION in ns; both 0: no bound */
    const char *const *choices; /* ENUM: NULL-terminated */
    const char *unit;           /* for docs: "bytes", "ms", "slots"; may be NULL */
    const char *help;           /* one or two sentences */
};

struct option_table {
    const struct option *options;
    size_t count;
};

/* The option called `key`, or NULL. */
const struct option *option_find(const struct option_table *table, const char *key);

/* The option whose key is most like the unknown `key`, or NULL when none is like it. `*distance`
 * says how like (0 is equal), so that a caller with several tables can take the best of them. */
const struct option *option_nearest(const struct option_table *table, const char *key,
                                    unsigned *distance);

/* Fills the target with all defaults. The defaults of a table are right by test. */
void option_defaults(const struct option_table *table, void *target);

/*
 * Parses `value` into the option's field. -EINVAL with a sentence naming key, value and what is
 * accepted ("batch.size: '3 parsecs' is not a size; write a number of bytes or with KiB, MiB,
 * GiB").
 */
int option_parse(const struct option *option, const char *value, void *target,
                 struct embar_diag *diag);

/* Looks `key` up and parses; -ENOENT with a sentence (and the nearest key) when it is unknown. */
int option_set(const struct option_table *table, const char *key, const char *value, void *target,
               struct embar_diag *diag);

/* Writes the field's value as one would write it in a config file ("2MiB", "5ms", "auto"). Returns
 * `text`. */
const char *option_format(const struct option *option, const void *target, char *text,
                          size_t text_bytes);

/* Writes what values are accepted: "zerocopy | splice | copy", "4KiB .. 1GiB", ... Returns `text`.
 */
const char *option_accepts(const struct option *option, char *text, size_t text_bytes);

#endif
