/*
 * Writes messages to where they shall go. Owns the output files and the stage in which small
 * messages are gathered. A full disk, a closed pipe and every other failure end in one sentence
 * that says how much is there; what has been written stays. One thread.
 */
#include "output.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_BYTES  2048 /* below this a copy is cheaper than a piece of its own */
#define PREFIX_BYTES 4
#define PIPE_BYTES   (1 << 20)

static enum tool_status failed(const struct output_file *file, const char *what, int error,
                               struct outcome *outcome)
{
    if (error == EPIPE)
        return outcome_fail(outcome, TOOL_DATA,
                            "the reader of %s has closed it after %" PRIu64 " bytes", file->path,
                            file->bytes);
    return outcome_fail(
        outcome, TOOL_DATA,
        "%s %s failed after %" PRIu64 " bytes: %s%s; what was written is left there", what,
        file->path, file->bytes, strerror(error),
        error == ENOSPC || error == EDQUOT ? " (free some space, or choose another -o)" : "");
}

/* A pipe is opened once more, as a description of our own that may be made non-blocking; where that
 * fails (a socket) writes block, and links wait meanwhile. */
static int own_pipe(int fd)
{
    char path[32];
    int own;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (own < 0)
        return fd;
    (void)fcntl(own, F_SETPIPE_SZ, PIPE_BYTES); /* fewer calls; works without as well */
    if (fd > STDERR_FILENO)
        close(fd);
    return own;
}

/* Adds a file. `fd` is owned from here on. */
static struct output_file *add_file(struct output *out, uint64_t session, int fd, const char *path)
{
    struct output_file *grown = realloc(out->files, (out->file_count + 1) * sizeof(*grown));
    char *copy = strdup(path);
    struct stat st = {0};

    if (grown)
        out->files = grown;
    if (!grown || !copy) {
        free(copy);
        return NULL;
    }
    (void)fstat(fd, &st);
    if (S_ISFIFO(st.st_mode))
        fd = own_pipe(fd);
    grown[out->file_count] = (struct output_file){
        .session = session, .fd = fd, .regular = S_ISREG(st.st_mode), .path = copy};
    return &grown[out->file_count++];
}

static struct output_file *open_file(struct output *out, uint64_t session, const char *path,
                                     enum tool_status status, struct outcome *outcome)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    struct output_file *file;

    if (fd < 0) {
        outcome_fail(outcome, status, "cannot write %s: %s", path, strerror(errno));
        return NULL;
    }
    file = add_file(out, session, fd, standard ? "standard output" : path);
    if (!file) {
        outcome_fail(outcome, TOOL_DATA, "no memory for output file %s", path);
        if (!standard)
            close(fd);
    }
    return file;
}

enum tool_status output_open(struct output *out, const char *path, enum format format,
                             output_wait_fn *wait, void *wait_user, struct outcome *outcome)
{
    struct stat st;

    out->kind = OUTPUT_FILE;
    out->format = format;
    out->path = path;
    out->wait = wait;
    out->wait_user = wait_user;
    if (strcmp(path, "null") == 0) {
        out->kind = OUTPUT_NULL;
        return TOOL_OK;
    }
    if (strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        out->kind = OUTPUT_DIRECTORY;
        if (access(path, W_OK | X_OK) != 0)
            return outcome_fail(outcome, TOOL_USAGE, "cannot write into %s: %s", path,
                                strerror(errno));
        return TOOL_OK;
    }
    out->file = open_file(out, 0, path, TOOL_USAGE, outcome);
    return out->file ? TOOL_OK : TOOL_USAGE;
}

bool output_wanted(const struct output *out)
{
    return out->kind != OUTPUT_NULL;
}

enum tool_status output_begin(struct output *out, uint64_t session, struct outcome *outcome)
{
    char path[PATH_MAX];

    if (out->kind != OUTPUT_DIRECTORY || (out->file && out->file->session == session))
        return TOOL_OK;
    for (size_t i = 0; i < out->file_count; i++) {
        if (out->files[i].session == session) {
            out->file = &out->files[i];
            return TOOL_OK;
        }
    }
    if (snprintf(path, sizeof(path), "%s/%016" PRIx64, out->path, session) >= (int)sizeof(path))
        return outcome_fail(outcome, TOOL_DATA, "cannot write into %s: the path is too long",
                            out->path);
    out->file = open_file(out, session, path, TOOL_DATA, outcome);
    return out->file ? TOOL_OK : TOOL_DATA;
}

/* Takes `written` bytes off the front of the pieces from `*first` on. */
static void advance(struct output *out, int *first, size_t written)
{
    while (*first < out->piece_count && written >= out->pieces[*first].iov_len)
        written -= out->pieces[(*first)++].iov_len;
    if (*first < out->piece_count) {
        out->pieces[*first].iov_base = (char *)out->pieces[*first].iov_base + written;
        out->pieces[*first].iov_len -= written;
    }
}

enum tool_status output_end(struct output *out, struct outcome *outcome)
{
    int first = 0;

    while (first < out->piece_count) {
        ssize_t written = writev(out->file->fd, out->pieces + first, out->piece_count - first);

        if (written >= 0) {
            out->file->bytes += (uint64_t)written;
            advance(out, &first, (size_t)written);
        } else if (errno == EAGAIN || errno == EINTR) {
            if (!out->wait(out->file->fd, out->wait_user))
                return outcome_fail(outcome, TOOL_DATA,
                                    "interrupted while writing %s, after %" PRIu64 " bytes",
                                    out->file->path, out->file->bytes);
        } else {
            return failed(out->file, "writing", errno, outcome);
        }
    }
    out->piece_count = 0;
    out->staged = 0;
    return TOOL_OK;
}

static void add_piece(struct output *out, const void *data, size_t len_bytes)
{
    struct iovec *last = out->piece_count ? &out->pieces[out->piece_count - 1] : NULL;

    if (last && (const char *)last->iov_base + last->iov_len == (const char *)data)
        last->iov_len += len_bytes;
    else
        out->pieces[out->piece_count++] =
            (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len_bytes};
}

static void stage(struct output *out, const void *data, size_t len_bytes)
{
    unsigned char *at = out->stage + out->staged;

    memcpy(at, data, len_bytes);
    out->staged += len_bytes;
    add_piece(out, at, len_bytes);
}

enum tool_status output_message(struct output *out, const void *data, size_t len_bytes,
                                struct outcome *outcome)
{
    /* A message takes three pieces at most: prefix, payload, newline. */
    if (out->piece_count + 3 > OUTPUT_PIECES ||
        out->staged + PREFIX_BYTES + SMALL_BYTES + 1 > OUTPUT_STAGE_BYTES) {
        if (output_end(out, outcome) != TOOL_OK)
            return TOOL_DATA;
    }
    if (out->format == FORMAT_RECORDS) {
        uint32_t prefix = htole32((uint32_t)len_bytes);

        stage(out, &prefix, PREFIX_BYTES);
    }
    if (len_bytes < SMALL_BYTES)
        stage(out, data, len_bytes);
    else
        add_piece(out, data, len_bytes);
    if (out->format == FORMAT_LINES)
        stage(out, "\n", 1);
    return TOOL_OK;
}

static enum tool_status sync_folder(const struct output *out, struct outcome *outcome)
{
    char *copy = strdup(out->path);
    const char *folder = out->kind == OUTPUT_DIRECTORY ? out->path : copy ? dirname(copy) : ".";
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum tool_status status = TOOL_OK;

    /* A file system may not know how to sync a directory (EINVAL): then there is nothing to do. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        status = outcome_fail(outcome, TOOL_DATA, "making %s durable failed: %s", folder,
                              strerror(errno));
    if (fd >= 0)
        close(fd);
    free(copy);
    return status;
}

enum tool_status output_finish(struct output *out, struct outcome *outcome)
{
    enum tool_status status = TOOL_OK;
    bool created = false;

    for (size_t i = 0; i < out->file_count; i++) {
        struct output_file *file = &out->files[i];

        if (file->regular && fsync(file->fd) != 0)
            status = failed(file, "making durable", errno, outcome);
        created = created || (file->regular && strcmp(out->path, "-") != 0);
        if (file->fd > STDERR_FILENO && close(file->fd) != 0)
            status = failed(file, "closing", errno, outcome);
        free(file->path);
    }
    if (created && sync_folder(out, outcome) != TOOL_OK)
        status = TOOL_DATA;
    free(out->files);
    out->files = NULL;
    out->file = NULL;
    out->file_count = 0;
    return status;
}
