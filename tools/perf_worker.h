/*
 * What all processes of a run have in common: their line to the embar-perf that started them, their
 * core, and the reading of their counters. One worker per process; the functions that can fail end
 * the process after telling the parent why, so that the measuring code reads straight through.
 */
#ifndef TOOLS_PERF_WORKER_H
#define TOOLS_PERF_WORKER_H

#include "perf.h"
#include "tool.h"

/* Words between parent and worker, one per packet of a SOCK_SEQPACKET pair. */
enum perf_word {
    PERF_LISTENING, /* worker: text is the address */
    PERF_CONNECT,   /* parent, to a ping-pong end: text is the other's address */
    PERF_READY,     /* worker: joined and warmed up */
    PERF_GO,        /* parent: all are ready */
    PERF_DONE,      /* worker: result */
    PERF_FAILED,    /* worker: status and text; it ends */
};

struct perf_packet {
    enum perf_word word;
    enum tool_status status;
    union {
        char text[1024];
        struct perf_result result;
    };
};

/* Sends what the word needs of the packet. False: the other side is gone. */
bool perf_packet_send(int fd, const struct perf_packet *packet);

/* Takes one if it is there. 1, 0, or -1 when the other side is gone. */
int perf_packet_take(int fd, struct perf_packet *packet);

struct perf_worker {
    const struct perf_plan *plan;
    const struct perf_point *point;
    const char *addresses; /* publisher: whom to connect to */
    unsigned index;        /* among all workers: decides the core */
    int control;
    struct embar_config *config;
    struct perf_packet packet; /* what is sent at the end */
};

/* The bodies of the processes; they return when they are through. */
void perf_publisher_main(struct perf_worker *worker);
void perf_subscriber_main(struct perf_worker *worker);
void perf_pinger_main(struct perf_worker *worker);
void perf_ponger_main(struct perf_worker *worker);

/* In a new process: core, namespace, configuration, then the role's body. */
_Noreturn void perf_worker_run(struct perf_worker *worker, enum perf_role role);

/* Tells the parent the sentence, and ends the process. */
__attribute__((format(printf, 3, 4))) _Noreturn void perf_worker_fail(struct perf_worker *worker,
                                                                      enum tool_status status,
                                                                      const char *fmt, ...);

/* Opens or ends with the sentence. */
struct embar_publisher *perf_worker_publisher(struct perf_worker *worker);

/* Of the messages to publish: --size, or what fills a batch. Ends with a sentence when it does not
 * fit. */
size_t perf_worker_message_size(struct perf_worker *worker,
                                const struct embar_publisher *publisher);
struct embar_subscriber *perf_worker_subscriber(struct perf_worker *worker);

/* Ends the process when `rc` is a failure of the publisher's or subscriber's call. */
void perf_worker_check(struct perf_worker *worker, int rc, const struct embar_diag *failure);

void perf_worker_tell(struct perf_worker *worker, enum perf_word word, const char *text);

/* Sends worker->packet.result. */
void perf_worker_done(struct perf_worker *worker);

void perf_sample_take(struct perf_sample *sample);

/* Message numbers that are none: where the measured time begins and ends. */
#define PERF_MARK_BEGIN (UINT64_MAX - 1)
#define PERF_MARK_END   UINT64_MAX

#endif
