/*
 * Inside of a subscriber. Each publisher has a session with a buffer of its own; each slot of it
 * has a batch, whose state says who may touch the slot. Sessions outlive links: after a reconnect
 * the same buffer is granted again, but for the slots that still hold something.
 *
 *   subscriber.c           the public calls
 *   subscriber_session.c   publishers joining, coming back, finishing
 *   subscriber_batch.c     arrival, order, release, credits
 */
#ifndef STREAM_SUBSCRIBER_H
#define STREAM_SUBSCRIBER_H

#include <embar/embar.h>

#include "common/histogram.h"
#include "stream/batch.h"
#include "stream/endpoint.h"
#include "stream/stream_buffer.h"

enum slot_state {
    SLOT_FREE = 0, /* the publisher may write into it */
    SLOT_WAITING,  /* arrived before an earlier batch */
    SLOT_READY,    /* next in order; embar_next will give it out */
    SLOT_HELD,     /* the application has it */
    SLOT_RELEASED, /* consumed, but an earlier one is not */
    SLOT_CREDITED, /* consumed; the credit is about to be sent */
};

struct embar_batch {
    struct session *session;
    struct embar_batch *next_ready;      /* of all publishers, in order of becoming ready */
    struct embar_batch *next_unconsumed; /* of this publisher, in order of sequence */
    struct batch_header header;
    uint32_t slot;
    enum slot_state state;
};

enum session_state {
    SESSION_JOINING,   /* handshake done, START awaited */
    SESSION_UP,        /* batches come */
    SESSION_DETACHED,  /* link lost; may come back */
    SESSION_CONFIRMED, /* FINISHED sent; waiting for the publisher to end the link */
    SESSION_ENDED,     /* finished or lost; freed when the application holds none of its batches */
};

struct session {
    struct session *next;
    struct embar_subscriber *subscriber;
    struct conn *conn;     /* NULL when detached */
    struct target *target; /* that leads to it; NULL when it connected */
    uint64_t instance;
    enum session_state state;
    uint8_t ack;        /* the level that the publisher waits for */
    uint32_t in_flight; /* the most batches that it has under way */
    bool started;       /* a START has come, so that placed_next means something */
    bool finish_due;    /* a FINISH has come: `finish` */
    bool failed;        /* it counts as lost */
    struct stream_buffer buffer;
    struct embar_buffer *exposed; /* NULL: not exposed */
    uint32_t slots;
    struct embar_batch *batches; /* owned; one per slot */
    struct embar_batch *unconsumed, **unconsumed_end;
    uint32_t waiting, held;
    uint64_t placed_next;  /* sequence of the next batch in order */
    uint64_t next_message; /* number of its first message */
    uint64_t bytes;        /* of messages placed since START */
    uint64_t gaps;         /* messages missing */
    uint64_t reported_placed, reported_consumed;
    uint64_t report_due_ns; /* when `placed` is reported at the latest; 0: nothing to report */
    uint16_t credits[CONTROL_SLOTS]; /* slots to give back */
    uint32_t credit_count;
    struct control_totals finish;
    struct control_gap gap; /* announced, not yet reached; from == to: none */
    bool checksum;          /* its batches must carry one */
    uint64_t damaged_at;    /* placed_next when batches came damaged, and how many */
    unsigned damaged;
    uint64_t deadline_ns; /* DETACHED, CONFIRMED without link */
    char name[ADDRESS_BYTES];
};

struct embar_subscriber {
    struct endpoint endpoint;
    struct stream_options options; /* owned copy */
    struct session *sessions;
    struct stream_buffer spare; /* a buffer that no session has; addr NULL: none */
    struct embar_batch *ready, **ready_end;
    struct embar_diag failure;
    struct embar_stats stats; /* what is counted as it happens */
    struct histogram latency;
};

/* subscriber_session.c */
extern const struct endpoint_role subscriber_role;
void session_check_all(struct embar_subscriber *subscriber);
uint64_t session_deadline(const struct embar_subscriber *subscriber);
void session_check_finish(struct session *session); /* confirms once all is consumed */
void session_put(struct session *session);          /* frees an ended one that nobody holds */
void session_free(struct session *session);

/* subscriber_batch.c */
int batch_arrived(struct session *session, uint32_t slot, size_t len_bytes,
                  struct embar_diag *diag);
int session_advance(struct session *session, struct embar_diag *diag); /* what waited for order */
uint64_t session_consumed(const struct session *session);
void session_forget_unplaced(
    struct session *session);                 /* the link is gone: what waited comes again */
void session_report(struct session *session); /* CREDIT, if there is anything to say */
void subscriber_report_due(struct embar_subscriber *subscriber, bool idle);

#endif
