/*
 * Reads a configuration from YAML 1.1, and is the only file that knows libyaml. The grammar is
 * smaller than YAML's: one document, a mapping of keys (dotted, or nested in groups) to scalars
 * and, for lists, sequences of scalars. It walks the parser's events and hands each value to a
 * stage, which is committed when the whole file was right. Owns nothing beyond a call.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "common/diag.h"
#include "common/log.h"
#include "common/text.h"
#include "stream/config_store.h"

#define FILE_BYTES_MAX (1u << 20)
#define DEPTH_MAX      4
#define GROUPS_MAX     64 /* groups that one file may open; there are fewer */

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* owned; the current one */
    struct config_stage stage;
    struct embar_config *config; /* borrowed */
    yaml_mark_t key_mark;        /* where the current value's key stands */
    const char *path;            /* borrowed */
    const char *text;            /* borrowed */
    size_t text_bytes;
    struct embar_diag *diag; /* borrowed; may be NULL */
    struct {
        char name[OPTION_STRING_BYTES];
        size_t line;
    } groups[GROUPS_MAX]; /* seen so far */
    size_t group_count;
    char brief[64]; /* the beginning of some text, for a sentence */
};

/* ---- errors --------------------------------------------------------------------------------- */

/* Puts FILE:LINE:COLUMN before the sentence; returns `rc`. */
static int at(struct reader *reader, yaml_mark_t mark, int rc)
{
    diag_prefix(reader->diag, "%s:%zu:%zu", reader->path, mark.line + 1, mark.column + 1);
    return rc;
}

/* Fails with a sentence that begins where the current event does. */
#define refuse(reader, ...)                                                                        \
    at((reader), (reader)->event.start_mark, diag_fail((reader)->diag, EINVAL, __VA_ARGS__))

/* As much of a text as a sentence can take. */
static const char *brief(struct reader *reader, const void *text)
{
    return text_format(reader->brief, sizeof(reader->brief), "%s", (const char *)text);
}

/* The reader of bytes gives an offset instead of a mark. */
static yaml_mark_t mark_of_offset(const struct reader *reader, size_t offset)
{
    yaml_mark_t mark = {0};

    for (size_t i = 0; i < offset && i < reader->text_bytes; i++) {
        mark.column++;
        if (reader->text[i] == '\n') {
            mark.line++;
            mark.column = 0;
        }
    }
    return mark;
}

static int parser_error(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;

    switch (parser->error) {
    case YAML_MEMORY_ERROR:
        return diag_fail(reader->diag, ENOMEM, "%s: no memory to read it", reader->path);
    case YAML_READER_ERROR:
        return at(reader, mark_of_offset(reader, parser->problem_offset),
                  diag_fail(reader->diag, EINVAL, "not a text in UTF-8: %s", parser->problem));
    default:
        return at(reader, parser->problem_mark,
                  diag_fail(reader->diag, EINVAL, "not valid YAML: %s%s%s", parser->problem,
                            parser->context != NULL ? " " : "",
                            parser->context != NULL ? parser->context : ""));
    }
}

/* ---- events --------------------------------------------------------------------------------- */

/* Anchors, aliases and tags have no use here, and aliases can make a small file huge. */
static int check_plain(struct reader *reader, const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL)
        return refuse(reader, "anchors are not accepted: write the value out");
    if (tag != NULL)
        return refuse(reader, "tags are not accepted: leave '%s' out", brief(reader, tag));
    return 0;
}

/* Takes the next event in place of the current one. */
static int next(struct reader *reader)
{
    yaml_event_t *event = &reader->event;

    yaml_event_delete(event);
    if (!yaml_parser_parse(&reader->parser, event))
        return parser_error(reader);
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return refuse(reader, "aliases are not accepted: write the value out");
    case YAML_SCALAR_EVENT:
        return check_plain(reader, event->data.scalar.anchor, event->data.scalar.tag);
    case YAML_SEQUENCE_START_EVENT:
        return check_plain(reader, event->data.sequence_start.anchor,
                           event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return check_plain(reader, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    default:
        return 0;
    }
}

static const char *scalar(const struct reader *reader)
{
    return (const char *)reader->event.data.scalar.value;
}

/* Nothing, ~ and null without quotes (YAML 1.1, the null type). */
static bool is_null(const struct reader *reader)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

    if (reader->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++) {
        if (strcmp(scalar(reader), nulls[i]) == 0)
            return true;
    }
    return false;
}

/* ---- values --------------------------------------------------------------------------------- */

/* Stages a value that stands at `mark`. */
static int put(struct reader *reader, size_t key, const char *text, yaml_mark_t mark)
{
    bool again = reader->stage.said[key].text != NULL;
    char line[32], origin[512];
    int rc;

    text_format(line, sizeof(line), ":%zu", mark.line + 1);
    text_format(origin, sizeof(origin) - sizeof(line), "%s", reader->path);
    strcat(origin, line);
    rc = config_stage_put(&reader->stage, key, text, origin, reader->diag);
    return rc != 0 ? at(reader, again ? reader->key_mark : mark, rc) : 0;
}

/* An unknown key makes a bad file, -EINVAL, while -ENOENT is for a file that is not there. */
static int refuse_unknown(struct reader *reader, const char *name)
{
    config_unknown(reader->config, name, reader->diag);
    if (reader->diag != NULL)
        reader->diag->error = EINVAL;
    return at(reader, reader->key_mark, -EINVAL);
}

/* What a key takes, for a sentence. */
static const char *accepted(const struct reader *reader, const char *name, char *text,
                            size_t text_bytes)
{
    size_t key = config_find(reader->config, name);
    char accepts[EMBAR_DIAG_BYTES / 2];

    if (key == CONFIG_NONE)
        return text_format(text, text_bytes, "it is a group of keys: write '%s: {KEY: VALUE}'",
                           name);
    config_accepts(&reader->config->options[key], accepts, sizeof(accepts));
    return text_format(text, text_bytes, "%s takes %s", name, accepts);
}

static int read_scalar(struct reader *reader, const char *name)
{
    size_t key = config_find(reader->config, name);
    const char *flaw = config_text_flaw(scalar(reader), reader->event.data.scalar.length);
    char takes[EMBAR_DIAG_BYTES / 2];

    if (key == CONFIG_NONE && !config_is_group(reader->config, name))
        return refuse_unknown(reader, name);
    if (is_null(reader))
        return refuse(reader, "%s has no value; %s", name,
                      accepted(reader, name, takes, sizeof(takes)));
    if (key == CONFIG_NONE)
        return refuse(reader, "%s is given the value '%s', but %s", name,
                      brief(reader, scalar(reader)), accepted(reader, name, takes, sizeof(takes)));
    if (flaw != NULL)
        return refuse(reader, "the value of %s %s; %s", name, flaw,
                      accepted(reader, name, takes, sizeof(takes)));
    return put(reader, key, scalar(reader), reader->event.start_mark);
}

/* Adds the current event's item to a comma-joined list. */
static int append_item(struct reader *reader, const char *name, char *list, size_t list_bytes)
{
    size_t len = strlen(list);
    char takes[EMBAR_DIAG_BYTES / 2];
    const char *flaw;

    if (reader->event.type != YAML_SCALAR_EVENT)
        return refuse(reader, "%s has an item that is not a plain value; %s", name,
                      accepted(reader, name, takes, sizeof(takes)));
    if (is_null(reader) || reader->event.data.scalar.length == 0)
        return refuse(reader, "%s has an item without a value", name);
    flaw = config_text_flaw(scalar(reader), reader->event.data.scalar.length);
    if (flaw == NULL && strchr(scalar(reader), ',') != NULL)
        flaw = "holds a comma";
    if (flaw != NULL)
        return refuse(reader, "%s has the item '%s', which %s: write each item by itself", name,
                      brief(reader, scalar(reader)), flaw);
    if (len + 1 + reader->event.data.scalar.length >= list_bytes)
        return refuse(reader, "%s is too long: at most %zu bytes are accepted", name,
                      list_bytes - 1);
    text_format(list + len, list_bytes - len, "%s%s", len > 0 ? "," : "", scalar(reader));
    return 0;
}

static int read_sequence(struct reader *reader, const char *name)
{
    yaml_mark_t mark = reader->event.start_mark;
    size_t key = config_find(reader->config, name);
    char list[OPTION_LIST_BYTES] = "", takes[EMBAR_DIAG_BYTES / 2];
    int rc;

    if (key == CONFIG_NONE && !config_is_group(reader->config, name))
        return refuse_unknown(reader, name);
    if (key == CONFIG_NONE || reader->config->options[key].type != OPTION_LIST)
        return refuse(reader, "%s is given a list, but %s", name,
                      accepted(reader, name, takes, sizeof(takes)));
    for (;;) {
        rc = next(reader);
        if (rc != 0)
            return rc;
        if (reader->event.type == YAML_SEQUENCE_END_EVENT)
            return put(reader, key, list, mark);
        rc = append_item(reader, name, list, sizeof(list));
        if (rc != 0)
            return rc;
    }
}

/* ---- mappings ------------------------------------------------------------------------------- */

static int read_mapping(struct reader *reader, const char *group, unsigned depth);

/* Notes that the group is open; a second time is an error, as for any key of a mapping. */
static int enter_group(struct reader *reader, const char *name)
{
    for (size_t i = 0; i < reader->group_count; i++) {
        if (strcmp(reader->groups[i].name, name) == 0)
            return at(reader, reader->key_mark,
                      diag_fail(reader->diag, EINVAL,
                                "%s is given twice, first in line %zu: put its keys together", name,
                                reader->groups[i].line));
    }
    if (reader->group_count == GROUPS_MAX)
        return refuse(reader, "more than %d groups of keys", GROUPS_MAX);
    text_format(reader->groups[reader->group_count].name, sizeof(reader->groups[0].name), "%s",
                name);
    reader->groups[reader->group_count++].line = reader->key_mark.line + 1;
    return 0;
}

static int read_group(struct reader *reader, const char *name, unsigned depth)
{
    char takes[EMBAR_DIAG_BYTES / 2];
    int rc;

    if (config_find(reader->config, name) != CONFIG_NONE)
        return refuse(reader, "%s is given a group of keys, but %s", name,
                      accepted(reader, name, takes, sizeof(takes)));
    if (depth == DEPTH_MAX)
        return refuse(reader, "groups of keys are nested more than %d deep", DEPTH_MAX);
    rc = enter_group(reader, name);
    if (rc == 0)
        rc = read_mapping(reader, name, depth + 1);
    /* An unknown group with keys has failed at the first of them, with the nearest key named. */
    if (rc == 0 && !config_is_group(reader->config, name))
        rc = refuse_unknown(reader, name);
    return rc;
}

/* Passes over the value of a backend that this build lacks: the file may serve other hosts too, and
 * what its keys would have to be is not known here. */
static int leave_out(struct reader *reader, const char *name, const char *why)
{
    unsigned depth = 0;

    log_info("%s:%zu: %s is left out: %s", reader->path, reader->key_mark.line + 1, name, why);
    for (;;) {
        int rc;

        if (reader->event.type == YAML_MAPPING_START_EVENT ||
            reader->event.type == YAML_SEQUENCE_START_EVENT)
            depth++;
        else if (reader->event.type == YAML_MAPPING_END_EVENT ||
                 reader->event.type == YAML_SEQUENCE_END_EVENT)
            depth--;
        if (depth == 0)
            return 0;
        if (depth == DEPTH_MAX)
            return refuse(reader, "%s is nested more than %d deep", name, DEPTH_MAX);
        rc = next(reader);
        if (rc != 0)
            return rc;
    }
}

/* Reads the value of a key, whose first event is the current one. */
static int read_value(struct reader *reader, const char *name, unsigned depth)
{
    const char *why = config_lacks(name);

    if (why != NULL)
        return leave_out(reader, name, why);
    switch (reader->event.type) {
    case YAML_MAPPING_START_EVENT:
        return read_group(reader, name, depth);
    case YAML_SEQUENCE_START_EVENT:
        return read_sequence(reader, name);
    default:
        return read_scalar(reader, name);
    }
}

/* Joins the group's name and the key that the current event holds. */
static int full_name(struct reader *reader, const char *group, char *name, size_t name_bytes)
{
    const char *flaw;

    if (reader->event.type != YAML_SCALAR_EVENT)
        return refuse(reader, "a key must be a plain word, like 'stream' or 'batch.size'");
    flaw = config_text_flaw(scalar(reader), reader->event.data.scalar.length);
    if (flaw != NULL)
        return refuse(reader, "a key %s", flaw);
    if (strlen(group) + 1 + reader->event.data.scalar.length >= name_bytes)
        return refuse(reader, "the key '%s...' is longer than any that exists",
                      brief(reader, scalar(reader)));
    text_format(name, name_bytes, "%s%s%s", group, group[0] != '\0' ? "." : "", scalar(reader));
    return 0;
}

/* Reads up to the end of the mapping whose start is the current event. */
static int read_mapping(struct reader *reader, const char *group, unsigned depth)
{
    for (;;) {
        char name[OPTION_STRING_BYTES];
        int rc = next(reader);

        if (rc != 0 || reader->event.type == YAML_MAPPING_END_EVENT)
            return rc;
        rc = full_name(reader, group, name, sizeof(name));
        reader->key_mark = reader->event.start_mark;
        if (rc == 0)
            rc = next(reader);
        if (rc == 0)
            rc = read_value(reader, name, depth);
        if (rc != 0)
            return rc;
    }
}

/* ---- document and file ------------------------------------------------------------------------
 */

static int read_document(struct reader *reader)
{
    int rc = next(reader); /* the start of the stream */

    if (rc == 0)
        rc = next(reader);
    if (rc != 0)
        return rc;
    if (reader->event.type == YAML_STREAM_END_EVENT)
        return refuse(reader, "the file is empty: write the keys to set, or {} for all defaults");
    rc = next(reader);
    if (rc != 0)
        return rc;
    if (reader->event.type != YAML_MAPPING_START_EVENT)
        return refuse(reader, "the file is not a mapping of keys: write lines like 'stream: NAME'");
    rc = read_mapping(reader, "", 1);
    if (rc == 0)
        rc = next(reader); /* the end of the document */
    if (rc == 0)
        rc = next(reader);
    if (rc == 0 && reader->event.type != YAML_STREAM_END_EVENT)
        rc = refuse(reader, "a second document begins here: a file holds one");
    return rc;
}

int config_read_yaml(struct embar_config *config, const char *path, const char *text,
                     size_t len_bytes, struct embar_diag *diag)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    int rc;

    if (reader == NULL)
        return diag_fail(diag, ENOMEM, "%s: no memory to read it", path);
    if (!yaml_parser_initialize(&reader->parser)) {
        rc = diag_fail(diag, ENOMEM, "%s: no memory to read it", path);
        goto free_reader;
    }
    reader->config = config;
    reader->path = path;
    reader->text = text;
    reader->text_bytes = len_bytes;
    reader->diag = diag;
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, len_bytes);
    rc = config_stage_open(&reader->stage, config, CONFIG_FILE, diag);
    if (rc != 0)
        goto delete_parser;
    rc = read_document(reader);
    if (rc == 0)
        rc = config_stage_commit(&reader->stage, diag);
    config_stage_close(&reader->stage);
    yaml_event_delete(&reader->event);

delete_parser:
    yaml_parser_delete(&reader->parser);
free_reader:
    free(reader);
    return rc;
}

/* Reads all of a file, which need not be a regular one, into `text` of FILE_BYTES_MAX + 1 bytes. */
static int read_file(const char *path, char *text, size_t *len_bytes, struct embar_diag *diag)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got = 0;
    int rc = 0;

    if (fd < 0)
        return diag_fail(diag, errno, "%s cannot be opened: %s", path, strerrordesc_np(errno));
    while (len <= FILE_BYTES_MAX) {
        got = read(fd, text + len, FILE_BYTES_MAX + 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    if (got < 0)
        rc = diag_fail(diag, errno, "%s cannot be read: %s", path, strerrordesc_np(errno));
    else if (len > FILE_BYTES_MAX)
        rc = diag_fail(diag, EFBIG, "%s is larger than 1 MiB: no configuration is", path);
    else
        *len_bytes = len;
    close(fd);
    return rc;
}

int embar_config_load(struct embar_config *config, const char *path, struct embar_diag *diag)
{
    char *text = malloc(FILE_BYTES_MAX + 1);
    size_t len_bytes = 0;
    int rc;

    if (text == NULL)
        return diag_fail(diag, ENOMEM, "%s: no memory to read it", path);
    rc = read_file(path, text, &len_bytes, diag);
    if (rc == 0)
        rc = config_read_yaml(config, path, text, len_bytes, diag);
    free(text);
    return rc;
}
