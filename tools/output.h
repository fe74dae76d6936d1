/*
 * embar-sub's output: nothing, one file or descriptor, or a directory with a file for each
 * publisher. Large messages are written from the subscriber's buffer with writev(2), small ones are
 * gathered first. All of a batch is written when output_end returns, so that the batch can be
 * released. One thread.
 */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tool.h"
#include "value.h"

#define OUTPUT_PIECES      512
#define OUTPUT_STAGE_BYTES (256 * 1024)

enum output_kind { OUTPUT_NULL, OUTPUT_FILE, OUTPUT_DIRECTORY };

struct output_file {
    uint64_t session; /* directory: whose messages these are */
    int fd;           /* owned, but for standard output */
    bool regular;
    uint64_t bytes; /* written */
    char *path;     /* owned; for sentences */
};

/* Waits until `fd` is writable and lets the subscriber make progress meanwhile. False: give up. */
typedef bool output_wait_fn(int fd, void *user);

struct output {
    enum output_kind kind;
    enum format format;
    const char *path;          /* borrowed */
    struct output_file *files; /* owned */
    size_t file_count;
    struct output_file *file; /* of the batch that is being written */
    output_wait_fn *wait;
    void *wait_user;
    struct iovec pieces[OUTPUT_PIECES];
    int piece_count;
    size_t staged;
    unsigned char stage[OUTPUT_STAGE_BYTES];
};

/* `path` is a file, a directory that exists, "-" for standard output, or "null". */
enum tool_status output_open(struct output *output, const char *path, enum format format,
                             output_wait_fn *wait, void *wait_user, struct outcome *outcome);

/* Whether messages are wanted at all. */
bool output_wanted(const struct output *output);

/* A batch: begin, every message, end. A message must stay where it is until output_end. Each is
 * TOOL_OK, or TOOL_DATA and the outcome says what failed. */
enum tool_status output_begin(struct output *output, uint64_t session, struct outcome *outcome);
enum tool_status output_message(struct output *output, const void *data, size_t len_bytes,
                                struct outcome *outcome);
enum tool_status output_end(struct output *output, struct outcome *outcome);

/* Makes everything durable (fsync(2) of files and of their directory) and closes. */
enum tool_status output_finish(struct output *output, struct outcome *outcome);

#endif
