/*
 * embar-pub's input: files, pipes and standard input, one after the other, cut into messages by one
 * of three formats. Raw bytes are read straight into the publisher's slot; lines and records pass
 * through a window that grows to the largest message at most. One thread.
 */
#ifndef TOOLS_INPUT_H
#define TOOLS_INPUT_H

#include <sys/types.h>

#include "source.h"
#include "value.h"

struct input {
    struct source source;
    /* What to read: the caller's, borrowed. */
    const char *const *paths;
    size_t path_count;
    enum format format;
    size_t max_message;  /* of the publisher */
    char batch_size[32]; /* the key that limits it, for sentences */
    uint64_t linger_ns;  /* how long bytes of a pipe wait for more before they become a message */
    /* The present file. */
    size_t next_path;
    const char *name; /* for sentences */
    int fd;           /* owned, but for standard input; -1: none is open */
    bool regular;
    bool eof;
    uint64_t size_bytes; /* of a regular file when it was opened */
    uint64_t offset;     /* bytes read into messages that are published */
    uint64_t line;       /* lines published */
    /* Raw: the room in the slot that is being filled. */
    unsigned char *room; /* borrowed from the publisher; NULL: none */
    size_t room_bytes, filled;
    uint64_t commit_ns; /* when what is filled becomes a message; 0: nothing is */
    /* Lines and records: bytes read and not yet published. */
    unsigned char *window; /* owned */
    size_t window_bytes, begin, end;
    size_t scanned; /* bytes from `begin` known to hold no newline */
};

/* Checks that every path can be read. `paths` stay the caller's. */
enum tool_status input_open(struct input *input, const char *const *paths, size_t path_count,
                            enum format format, struct outcome *outcome);

/* The limits, once the publisher is open. */
void input_limit(struct input *input, size_t max_message, const char *batch_size,
                 uint64_t linger_ns);

void input_close(struct input *input);

#endif
