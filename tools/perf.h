/*
 * embar-perf's words: what is to be measured (a plan), one combination of settings (a point), and
 * what one process of a run brings back (a result). Plain data; a result travels through a socket
 * between processes of one program, so it holds no pointers.
 */
#ifndef TOOLS_PERF_H
#define TOOLS_PERF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <embar/embar.h>

#include "common/histogram.h"

enum perf_mode {
    PERF_THROUGHPUT, /* as much as goes */
    PERF_LATENCY,    /* ping-pong of lone messages, half the round trip */
    PERF_LOAD,       /* one way, messages sent by a schedule */
    PERF_IDLE,       /* joined and silent */
};

/* How the publisher makes a message. */
enum perf_source {
    PERF_NUMBER,   /* embar_reserve, number its first bytes, embar_commit */
    PERF_FILL,     /* embar_publish: a prepared message is copied into the batch */
    PERF_IN_PLACE, /* embar_reserve, write every byte, embar_commit */
};

/* What the subscriber does with a batch before it releases it. */
enum perf_touch {
    PERF_TOUCH_NONE,    /* looks at the first message only */
    PERF_TOUCH_HEADERS, /* walks the messages and checks their numbers */
    PERF_TOUCH_ALL,     /* and reads every cache line of the payload */
};

/* What a sweep can vary. The numeric ones can be the x axis of a plot. */
enum perf_dimension {
    PERF_TRANSPORT,
    PERF_SIZE,
    PERF_BATCH,
    PERF_LANES,
    PERF_ACK,
    PERF_CHECKSUM,
    PERF_IN_FLIGHT,
    PERF_SEND_MODE,
    PERF_PUBLISHERS,
    PERF_SUBSCRIBERS,
    PERF_DIMENSIONS,
};

#define PERF_VALUES  32 /* in the list of one dimension */
#define PERF_WORKERS 64 /* processes of a run */
#define PERF_SOURCES 64 /* -c and --set options */

/* The smallest message: number and intended time. */
#define PERF_SIZE_MIN 16

/* One -c or --set, as given. */
struct perf_setting {
    bool is_file;
    const char *value; /* borrowed from argv */
};

/* What holds for all points. */
struct perf_plan {
    enum perf_mode mode;
    enum perf_source source;
    enum perf_touch touch;
    uint64_t duration_ns, warmup_ns, rounds;
    uint64_t load_rate;           /* messages/s of each publisher */
    const char *address;          /* borrowed; where subscribers listen */
    const char *subscriber_netns; /* borrowed; name of their network namespace, or NULL */
    bool verbose;
    int cpus[PERF_WORKERS]; /* of worker i: cpus[i % cpu_count] */
    unsigned cpu_count;     /* 0: nobody is pinned */
    struct perf_setting settings[PERF_SOURCES];
    unsigned setting_count;
    const char *values[PERF_DIMENSIONS][PERF_VALUES]; /* owned; the lists of the sweep */
    unsigned value_count[PERF_DIMENSIONS];            /* 0: the configuration decides */
};

/* One combination of the values of all dimensions. */
struct perf_point {
    const char *values[PERF_DIMENSIONS]; /* borrowed from the plan; NULL: not in the sweep */
    uint64_t size_bytes;                 /* 0: a message that fills the batch */
    unsigned publishers, subscribers;
};

enum perf_role {
    PERF_PUBLISHER,
    PERF_SUBSCRIBER,
    PERF_PINGER,
    PERF_PONGER,
};

/* Counters of one process at one moment. */
struct perf_sample {
    uint64_t at_ns; /* CLOCK_MONOTONIC */
    uint64_t user_ns, system_ns;
    struct embar_stats stats;
};

/* What one process did between the two ends of the measured time. */
struct perf_result {
    uint64_t size_bytes; /* publisher: of a message */
    uint64_t messages;
    uint64_t wrong; /* subscriber: messages whose number was not the next */
    uint64_t sum;   /* of what PERF_TOUCH_ALL read: it must be used for something */
    struct perf_sample begin, end;
    struct histogram latency; /* ns */
};

#endif
