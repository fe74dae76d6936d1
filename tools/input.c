/*
 * Opening one file after the other, and raw input. A step never waits: a regular file is read at
 * once, anything else only when poll(2) says that it has something. One thread.
 */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "input_window.h"

#define PIPE_BYTES  (1 << 20) /* what an unprivileged process may ask for */
#define PROBE_BYTES 4096      /* room to find the end of a file with */

static bool is_stdin(const char *path)
{
    return strcmp(path, "-") == 0;
}

/* Finds out at the start what would otherwise fail in mid-stream. Does not open: a writer may be
 * waiting at the other end of a named pipe for just one reader. */
static enum tool_status check_path(struct input *in, const char *path, struct outcome *outcome)
{
    const char *name = is_stdin(path) ? "standard input" : path;
    struct stat st;

    if ((is_stdin(path) ? fstat(STDIN_FILENO, &st) : stat(path, &st)) != 0 ||
        (!is_stdin(path) && access(path, R_OK) != 0))
        return outcome_fail(outcome, TOOL_USAGE, "cannot read %s: %s", name, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return outcome_fail(
            outcome, TOOL_USAGE,
            "cannot read %s: it is a directory; name files, or 'tar c %s | %s -i -'", name, name,
            tool_name());
    in->source.open_ended = in->source.open_ended || !S_ISREG(st.st_mode);
    return TOOL_OK;
}

/* Makes `path` the present file. */
static int open_path(struct input *in, const char *path, struct outcome *outcome)
{
    struct stat st;

    in->name = is_stdin(path) ? "standard input" : path;
    in->fd = is_stdin(path) ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0 || fstat(in->fd, &st) != 0) {
        outcome_fail(outcome, TOOL_DATA, "cannot read %s: %s", in->name, strerror(errno));
        return -1;
    }
    in->regular = S_ISREG(st.st_mode);
    in->size_bytes = in->regular ? (uint64_t)st.st_size : 0;
    in->offset = 0;
    in->line = 0;
    in->eof = false;
    if (in->regular) {
        off_t at = lseek(in->fd, 0, SEEK_CUR); /* a redirected file may have been read in part */

        in->offset = at > 0 ? (uint64_t)at : 0;
        (void)posix_fadvise(in->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    } else if (S_ISFIFO(st.st_mode)) {
        (void)fcntl(in->fd, F_SETPIPE_SZ, PIPE_BYTES); /* fewer calls; works without as well */
    }
    return 0;
}

static void close_path(struct input *in)
{
    if (in->fd > STDIN_FILENO)
        close(in->fd);
    in->fd = -1;
    in->room = NULL; /* one that was not committed goes back with the next reserve */
}

ssize_t input_read(struct input *in, void *data, size_t len_bytes, struct source_wait *wait)
{
    struct pollfd readable = {.fd = in->fd, .events = POLLIN};
    ssize_t got;

    if (!in->regular && poll(&readable, 1, 0) <= 0) {
        *wait = (struct source_wait){.fd = in->fd};
        return -EAGAIN;
    }
    got = read(in->fd, data, len_bytes);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        *wait = (struct source_wait){.fd = in->fd};
        return -EAGAIN;
    }
    if (got == 0)
        in->eof = true;
    return got < 0 ? -errno : got;
}

/* How much room the next raw message may need: no more than is left of a file whose size is known,
 * so that small files share a batch. */
static size_t raw_want(const struct input *in)
{
    uint64_t left;

    if (!in->regular)
        return in->max_message;
    left = in->size_bytes > in->offset ? in->size_bytes - in->offset : PROBE_BYTES;
    return left < in->max_message ? (size_t)left : in->max_message;
}

static enum source_state raw_commit(struct input *in, struct embar_publisher *publisher,
                                    struct outcome *outcome)
{
    int rc = embar_commit(publisher, in->filled);

    if (rc != 0)
        return source_refused(publisher, rc, outcome);
    in->offset += in->filled;
    in->room = NULL;
    in->filled = 0;
    in->commit_ns = 0;
    return SOURCE_MORE;
}

/* Nothing to read now. What is filled already waits for more for as long as a batch lingers. */
static enum source_state raw_idle(struct input *in, struct embar_publisher *publisher,
                                  struct source_wait *wait, struct outcome *outcome)
{
    uint64_t now_ns = tool_now_ns();

    if (in->filled == 0)
        return SOURCE_IDLE;
    if (!in->commit_ns)
        in->commit_ns = now_ns + in->linger_ns;
    if (now_ns >= in->commit_ns)
        return raw_commit(in, publisher, outcome);
    wait->until_ns = in->commit_ns;
    return SOURCE_IDLE;
}

static enum source_state raw_failed(const struct input *in, ssize_t error, struct outcome *outcome)
{
    outcome_fail(outcome, TOOL_DATA, "reading %s failed at byte %" PRIu64 ": %s", in->name,
                 in->offset + in->filled, strerror((int)-error));
    return SOURCE_FAILED;
}

/* Fills the room of a pipe as far as it has something now; the room is kept meanwhile. It is as
 * large as a slot, so that no other message waits in the same batch. */
static enum source_state raw_from_pipe(struct input *in, struct embar_publisher *publisher,
                                       struct source_wait *wait, struct outcome *outcome)
{
    ssize_t got = input_read(in, in->room + in->filled, in->room_bytes - in->filled, wait);

    if (got == -EAGAIN)
        return raw_idle(in, publisher, wait, outcome);
    if (got < 0)
        return raw_failed(in, got, outcome);
    in->filled += (size_t)got;
    if (in->filled == in->room_bytes || (in->eof && in->filled > 0))
        return raw_commit(in, publisher, outcome);
    return SOURCE_MORE;
}

/* Fills the room of a file and commits at once: small files share a batch, which may go out, and
 * take the room with it, when the publisher is polled. */
static enum source_state raw_from_file(struct input *in, struct embar_publisher *publisher,
                                       struct source_wait *wait, struct outcome *outcome)
{
    while (!in->eof && in->filled < in->room_bytes) {
        ssize_t got = input_read(in, in->room + in->filled, in->room_bytes - in->filled, wait);

        if (got < 0 && got != -EAGAIN) /* a signal; a file does not block */
            return raw_failed(in, got, outcome);
        in->filled += got > 0 ? (size_t)got : 0;
    }
    return in->filled > 0 ? raw_commit(in, publisher, outcome) : SOURCE_MORE;
}

static enum source_state raw_step(struct input *in, struct embar_publisher *publisher,
                                  struct source_wait *wait, struct outcome *outcome)
{
    if (!in->room) {
        size_t want = raw_want(in);
        void *room;
        int rc = embar_reserve(publisher, want, &room);

        if (rc != 0)
            return source_refused(publisher, rc, outcome);
        in->room = room;
        in->room_bytes = want;
    }
    return in->regular ? raw_from_file(in, publisher, wait, outcome)
                       : raw_from_pipe(in, publisher, wait, outcome);
}

static enum source_state step(struct source *source, struct embar_publisher *publisher,
                              struct source_wait *wait, struct outcome *outcome)
{
    struct input *in = (struct input *)source;

    if (in->fd < 0 && in->next_path == in->path_count)
        return SOURCE_END;
    if (in->fd < 0 && open_path(in, in->paths[in->next_path++], outcome) != 0)
        return SOURCE_FAILED;
    if (in->eof && in->begin == in->end) {
        close_path(in);
        return SOURCE_MORE;
    }
    if (in->format == FORMAT_RAW)
        return raw_step(in, publisher, wait, outcome);
    return window_step(in, publisher, wait, outcome);
}

enum tool_status input_open(struct input *in, const char *const *paths, size_t path_count,
                            enum format format, struct outcome *outcome)
{
    *in = (struct input){.source = {.step = step},
                         .paths = paths,
                         .path_count = path_count,
                         .format = format,
                         .fd = -1};
    for (size_t i = 0; i < path_count; i++) {
        if (check_path(in, paths[i], outcome) != TOOL_OK)
            return TOOL_USAGE;
    }
    return TOOL_OK;
}

void input_limit(struct input *in, size_t max_message, const char *batch_size, uint64_t linger_ns)
{
    in->max_message = max_message;
    in->linger_ns = linger_ns;
    snprintf(in->batch_size, sizeof(in->batch_size), "%s", batch_size);
}

void input_close(struct input *in)
{
    close_path(in);
    free(in->window);
    in->window = NULL;
}
