/*
 * Inside of a config: what each source says of each key, and the values that come out. Shared by
 * the config_*.c files only. A source is read into a stage first and committed as a whole, so that
 * a file or an environment with an error in it changes nothing.
 */
#ifndef STREAM_CONFIG_STORE_H
#define STREAM_CONFIG_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "stream/config.h"

/* Weakest first. */
enum config_source {
    CONFIG_DEFAULT,
    CONFIG_FILE,
    CONFIG_ENVIRONMENT,
    CONFIG_COMMAND_LINE,
    CONFIG_SOURCES
};

/* No such key. */
#define CONFIG_NONE ((size_t)-1)

/* What one source says of one key. */
struct config_said {
    char *text;   /* owned; NULL: nothing */
    char *origin; /* owned; "embar.yaml:12", "environment EMBAR_ACK", "command line" */
    bool empty;   /* a list without items or an empty string */
};

struct config_key {
    struct config_said said[CONFIG_SOURCES]; /* nothing in [CONFIG_DEFAULT]: that is the table's */
    enum config_source source;               /* whose word holds */
    bool replaced;                           /* emptied, because the other of the pair holds */
};

/* Where the keys of one backend stand. */
struct config_backend {
    const char *name; /* borrowed from the registry */
    size_t first, count;
};

struct embar_config {
    struct option *options;          /* owned; offsets are into `values` */
    struct option_table table;       /* of `options`: the stream's keys, then each backend's */
    struct config_key *keys;         /* owned; one for each option */
    unsigned char *values;           /* owned; the effective values, struct stream_options first */
    unsigned char *scratch;          /* owned; as large, for trying a value */
    struct config_backend *backends; /* owned */
    size_t backend_count;
    const struct env *env; /* borrowed */
};

/* The values that one source gives, until all of it is known to be right. */
struct config_stage {
    struct embar_config *config; /* borrowed */
    struct config_said *said;    /* owned; one for each key */
    enum config_source source;
};

int config_stage_open(struct config_stage *stage, struct embar_config *config,
                      enum config_source source, struct embar_diag *diag);

/* Checks and keeps a value; -EINVAL with a sentence when it does not fit, when the stage has the
 * key already, or when it has the other one of a pair. */
int config_stage_put(struct config_stage *stage, size_t key, const char *text, const char *origin,
                     struct embar_diag *diag);

/* Hands everything over to the config. */
int config_stage_commit(struct config_stage *stage, struct embar_diag *diag);

/* Frees what was not committed. */
void config_stage_close(struct config_stage *stage);

/* Index of a key, or CONFIG_NONE. */
size_t config_find(const struct embar_config *config, const char *key);

/* Whether some key begins with `group` and a dot. */
bool config_is_group(const struct embar_config *config, const char *group);

/* Why this build lacks the backend that a key or group belongs to, or NULL when it lacks none. */
const char *config_lacks(const char *key);

/* -ENOENT and a sentence with the nearest key, or with what the build lacks. */
int config_unknown(const struct embar_config *config, const char *key, struct embar_diag *diag);

/* Where the effective value came from; returns `text`. */
const char *config_origin(const struct embar_config *config, size_t key, char *text,
                          size_t text_bytes);

/* What is wrong with the bytes of a key or value ("holds a control character"), or NULL. Whatever
 * passes can be printed, and be written to a YAML file and read back. */
const char *config_text_flaw(const char *text, size_t len_bytes);

#endif
