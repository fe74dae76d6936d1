/*
 * Where embar-pub's messages come from: files or a generator behind one call. A source publishes as
 * much as is there, a bounded piece at a time, and never waits itself: it says what to wait for, so
 * that the publisher makes progress meanwhile. One thread.
 */
#ifndef TOOLS_SOURCE_H
#define TOOLS_SOURCE_H

#include <stdint.h>

#include <embar/embar.h>

#include "tool.h"

enum source_state {
    SOURCE_MORE,   /* something was published or read: call again */
    SOURCE_FULL,   /* the publisher has no room: poll it, then call again */
    SOURCE_IDLE,   /* nothing there now: wait for `wait` */
    SOURCE_END,    /* all is published */
    SOURCE_FAILED, /* the outcome says why */
};

struct source_wait {
    int fd;            /* readable when there is more; -1: none */
    uint64_t until_ns; /* CLOCK_MONOTONIC; 0: none */
};

struct source {
    enum source_state (*step)(struct source *source, struct embar_publisher *publisher,
                              struct source_wait *wait, struct outcome *outcome);
    /* Whether an interrupt leaves nothing out: the end was open (a pipe, --duration). */
    bool open_ended;
};

/* Bytes, or messages, that one step publishes at most: about a batch, so that the publisher is
 * polled often enough to reuse its hottest slots. */
#define SOURCE_STEP_BYTES    (256 * 1024)
#define SOURCE_STEP_MESSAGES 8192

/* What a publisher's negative result means to a source. */
enum source_state source_refused(struct embar_publisher *publisher, int result,
                                 struct outcome *outcome);

#endif
