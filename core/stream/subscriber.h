/*
 * Inside of a subscriber. Each publisher has a session with a buffer of its own; each slot of it
 * has a batch, whose state says who may touch the slot. Sessions outlive links: after a reconnect
 * the same buffer is granted again, but for the slots that still hold something.
 *
 *   subscriber.c           the public calls
 *   subscriber_session.c   publishers joining and coming back, what they say
 *   subscriber_end.c       finishing, giving up, forgetting
 *   subscriber_batch.c     arrival, order, release, credits
 *   subscriber_borrow.c    batches that lie in their publisher's memory
 */
#ifndef STREAM_SUBSCRIBER_H
#define STREAM_SUBSCRIBER_H

#include <embar/embar.h>

#include "common/histogram.h"
#include "stream/batch.h"
#include "stream/endpoint.h"
#include "stream/stream_buffer.h"

#define SUBSCRIBER_PAST 64 /* publishers that are remembered after their session has ended */

enum slot_state {
    SLOT_FREE = 0, /* the publisher may write into it */
    SLOT_WAITING,  /* arrived before an earlier batch */
    SLOT_READY,    /* next in order; embar_next will give it out */
    SLOT_HELD,     /* the application has it */
    SLOT_RELEASED, /* consumed, but an earlier one is not */
    SLOT_CREDITED, /* consumed; the credit is about to be sent */
};

/* A link over which batches have come that lie in the publisher's own memory, mapped here for as
 * long as the link: it is closed with the last of them. */
struct lender {
    struct lender *next;
    struct embar_link *link; /* borrowed from its conn, ours once it is over */
    uint32_t batches;        /* that lie there */
    bool over;               /* the link is down */
};

struct embar_batch {
    struct session *session;
    struct embar_batch *next_ready;      /* of all publishers, in order of becoming ready */
    struct embar_batch *next_unconsumed; /* of this publisher, in order of sequence */
    struct batch_header header;
    const uint8_t *bytes;  /* header and payload: in its slot, or in the publisher's memory */
    struct lender *lender; /* NULL: in its slot */
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
    unsigned transport; /* that its latest link was up over */
    uint8_t ack;        /* the level that the publisher waits for */
    uint32_t in_flight; /* the most batches that it has under way */
    bool started;       /* a START has come, so that placed_next means something */
    bool finish_due;    /* a FINISH has come: `finish` */
    bool complete;      /* all of it came and was confirmed, whatever becomes of the link */
    bool failed;        /* it counts as lost */
    struct stream_buffer buffer;
    struct embar_buffer *exposed; /* NULL: not exposed */
    bool mapped;                  /* by its publisher, once: nobody else may have the buffer */
    uint32_t slots;
    struct embar_batch *batches; /* owned; one per slot */
    struct embar_batch *unconsumed, **unconsumed_end;
    uint32_t waiting, held;
    uint32_t released;     /* behind one that is held: not given back yet */
    uint64_t placed_next;  /* sequence of the next batch in order */
    uint64_t next_message; /* number of its first message */
    uint64_t bytes;        /* of messages placed since START */
    uint64_t gaps;         /* messages missing */
    uint64_t reported_placed, reported_consumed;
    uint64_t report_due_ns;          /* when what is new is reported at the latest; 0: nothing is */
    uint16_t credits[CONTROL_SLOTS]; /* slots to give back */
    uint32_t credit_count;
    struct control_totals finish;
    struct control_gap gap; /* announced, not yet reached; from == to: none */
    bool checksum;          /* its batches must carry one */
    uint64_t damaged_at;    /* placed_next when batches came damaged, and how many */
    unsigned damaged;
    uint64_t deadline_ns;  /* of the handshake, or of its coming back */
    uint64_t return_by_ns; /* DETACHED: of its coming back */
    char name[ADDRESS_BYTES];
};

/* Where a session had come to when it ended: should its publisher be back all the same, it goes on
 * there, and nothing is delivered twice. */
struct past_session {
    uint64_t instance; /* 0: none */
    uint64_t placed_next, next_message, bytes, gaps;
    bool lost; /* it counts as lost */
};

struct embar_subscriber {
    struct endpoint endpoint;
    struct stream_options options; /* owned copy */
    struct session *sessions;
    struct past_session past[SUBSCRIBER_PAST]; /* the latest; overwritten in turn */
    unsigned past_next;
    struct stream_buffer spare; /* a buffer that no session has; addr NULL: none */
    struct embar_batch *ready, **ready_end;
    struct lender *lenders; /* owned */
    struct embar_diag failure;
    struct embar_stats stats; /* what is counted as it happens */
    struct histogram latency;
};

/* subscriber_session.c */
extern const struct endpoint_role subscriber_role;
void session_hide_buffer(struct session *session); /* the publisher can write no more */

/* subscriber_end.c */
int64_t count_sessions(const struct embar_subscriber *subscriber, bool detached_only);
int session_take_buffer(struct session *session, unsigned transport, struct embar_diag *diag);
int session_finish(struct session *session, const struct control_totals *totals,
                   struct embar_diag *diag);        /* a FINISH has come */
void session_check_finish(struct session *session); /* confirms once all is consumed */
void session_end(struct session *session, bool lost, const char *why);
/* LEAVE. After FINISH the publisher just does not wait for the confirmation: what it published is
 * there when all of it is placed. */
void session_leave(struct session *session);
void session_remember(struct session *session); /* what it was before, if it was */
void session_check_all(struct embar_subscriber *subscriber);
uint64_t session_deadline(const struct embar_subscriber *subscriber);
void session_put(struct session *session); /* frees an ended one that nobody holds */
void session_free(struct session *session);

/* subscriber_batch.c */
int batch_arrived(struct session *session, const struct embar_event *event,
                  struct embar_diag *diag);
int session_advance(struct session *session, struct embar_diag *diag); /* what waited for order */
uint64_t session_consumed(const struct session *session);
void session_forget_unplaced(
    struct session *session);                 /* the link is gone: what waited comes again */
void session_report(struct session *session); /* CREDIT, if there is anything to say */
void session_report_soon(struct session *session, uint64_t now_ns); /* at the latest in REPORT_NS */
void subscriber_report_due(struct embar_subscriber *subscriber, bool idle);

/* subscriber_borrow.c */
int batch_borrow(struct embar_batch *batch, struct embar_link *link, struct embar_diag *diag);
void batch_let_go(struct embar_batch *batch); /* its bytes are not looked at any more */
/* The link is down. Whether it is kept for batches that lie there. */
bool lender_is_kept(struct embar_subscriber *subscriber, const struct embar_link *link);
void lenders_close(struct embar_subscriber *subscriber); /* all links are down, no batch is valid */

#endif
