/*
 * Input by lines and records. Bytes are read into a window, from which each message that is
 * complete is published; the window grows until it holds the largest message the publisher takes,
 * and no further. One thread.
 */
#include "input_window.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES (1 << 20)
#define LENGTH_BYTES 4 /* before a record: u32, little endian */

/* A message found at the begin of the window. */
struct found {
    const unsigned char *data;
    size_t len_bytes;
    size_t taken; /* bytes of the window that go with it */
};

/* Whether a message is complete: 1, 0 (read more), or -1 when the outcome says what is wrong. */
static int find_line(struct input *in, struct found *found, struct outcome *outcome)
{
    const unsigned char *begin = in->window + in->begin;
    size_t have = in->end - in->begin;
    const unsigned char *newline = NULL;
    size_t len;

    if (in->scanned < have)
        newline = memchr(begin + in->scanned, '\n', have - in->scanned);
    len = newline ? (size_t)(newline - begin) : have;
    if (len > in->max_message) {
        outcome_fail(outcome, TOOL_DATA,
                     "%s:%" PRIu64 ": the line is longer than %zu bytes, the largest message with "
                     "batch.size %s; raise batch.size",
                     in->name, in->line + 1, in->max_message, in->batch_size);
        return -1;
    }
    in->scanned = len;
    if (!newline && !(in->eof && have > 0)) /* a last line needs no newline */
        return 0;
    *found = (struct found){begin, len, newline ? len + 1 : len};
    return 1;
}

static int find_record(struct input *in, struct found *found, struct outcome *outcome)
{
    const unsigned char *begin = in->window + in->begin;
    size_t have = in->end - in->begin;
    uint32_t len = 0;

    if (have >= LENGTH_BYTES) {
        memcpy(&len, begin, LENGTH_BYTES);
        len = le32toh(len);
        if (len > in->max_message) {
            outcome_fail(outcome, TOOL_DATA,
                         "%s: the record at byte %" PRIu64 " is %" PRIu32
                         " bytes long, the largest "
                         "message with batch.size %s is %zu; raise batch.size",
                         in->name, in->offset, len, in->batch_size, in->max_message);
            return -1;
        }
    }
    if (have >= LENGTH_BYTES && have - LENGTH_BYTES >= len) {
        *found = (struct found){begin + LENGTH_BYTES, len, LENGTH_BYTES + (size_t)len};
        return 1;
    }
    if (in->eof && have > 0) {
        outcome_fail(outcome, TOOL_DATA,
                     "%s: the record at byte %" PRIu64
                     " is cut off: it ends after %zu of %zu bytes",
                     in->name, in->offset, have, LENGTH_BYTES + (size_t)len);
        return -1;
    }
    return 0;
}

/* Makes room at the end of the window. What stands there is less than one message. */
static int make_room(struct input *in)
{
    size_t limit =
        in->max_message + LENGTH_BYTES + 1; /* one more byte shows a line that is too long */
    size_t wanted = in->window_bytes ? in->window_bytes * 2 : WINDOW_BYTES;
    unsigned char *grown;

    if (in->begin > 0) {
        memmove(in->window, in->window + in->begin, in->end - in->begin);
        in->end -= in->begin;
        in->begin = 0;
    }
    if (in->window_bytes && in->end < in->window_bytes)
        return 0;
    if (wanted > limit && limit > WINDOW_BYTES)
        wanted = limit;
    grown = realloc(in->window, wanted);
    if (!grown)
        return -ENOMEM;
    in->window = grown;
    in->window_bytes = wanted;
    return 0;
}

static enum source_state read_more(struct input *in, struct source_wait *wait,
                                   struct outcome *outcome)
{
    ssize_t got;

    if (make_room(in) != 0) {
        outcome_fail(outcome, TOOL_DATA, "no memory for a window of %zu bytes on %s",
                     in->window_bytes * 2, in->name);
        return SOURCE_FAILED;
    }
    got = input_read(in, in->window + in->end, in->window_bytes - in->end, wait);
    if (got == -EAGAIN)
        return SOURCE_IDLE;
    if (got < 0) {
        outcome_fail(outcome, TOOL_DATA, "reading %s failed at byte %" PRIu64 ": %s", in->name,
                     in->offset + (in->end - in->begin), strerror((int)-got));
        return SOURCE_FAILED;
    }
    in->end += (size_t)got;
    return SOURCE_MORE;
}

enum source_state window_step(struct input *in, struct embar_publisher *publisher,
                              struct source_wait *wait, struct outcome *outcome)
{
    size_t stepped = 0;

    for (int i = 0; i < SOURCE_STEP_MESSAGES && stepped < SOURCE_STEP_BYTES; i++) {
        struct found found;
        int rc = in->format == FORMAT_LINES ? find_line(in, &found, outcome)
                                            : find_record(in, &found, outcome);

        if (rc < 0)
            return SOURCE_FAILED;
        if (rc == 0)
            return in->eof ? SOURCE_MORE : read_more(in, wait, outcome);
        rc = embar_publish(publisher, found.data, found.len_bytes);
        if (rc != 0)
            return source_refused(publisher, rc, outcome);
        in->begin += found.taken;
        in->offset += found.taken;
        in->line++;
        in->scanned = 0;
        stepped += found.taken;
    }
    return SOURCE_MORE;
}
