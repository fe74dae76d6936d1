/*
 * What publisher and subscriber have in common: the opened transports, listening, connecting with
 * retries, the handshake, and waiting. An endpoint joins links to peers and hands everything after
 * the handshake to its role (publisher or subscriber) through a table of functions. One thread.
 */
#ifndef STREAM_ENDPOINT_H
#define STREAM_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include <embar/config.h>
#include <embar/transport.h>

#include "common/address.h"
#include "common/clock.h"
#include "stream/control.h"
#include "stream/options.h"

#define ENDPOINT_TRANSPORTS 4
#define ENDPOINT_PENDING    64 /* most accepted links that have not finished their handshake */

struct endpoint;

enum conn_state {
    CONN_OPENING, /* until LINK_UP */
    CONN_HELLO,   /* waiting for the peer's HELLO or WELCOME */
    CONN_JOINED,  /* the role has it */
    CONN_LEAVING, /* the role had it; disconnected by us, waiting for LINK_DOWN */
    CONN_ENDING,  /* never joined; disconnected by us, waiting for LINK_DOWN */
};

/* A link and what the endpoint knows of it; allocated by the endpoint for as long as the link. */
struct conn {
    struct endpoint *endpoint;
    struct embar_link *link;
    struct target *target; /* NULL: the peer connected to us */
    struct conn *next;
    void *peer; /* the role's; NULL until it joined */
    enum conn_state state;
    unsigned transport;        /* index */
    bool kept;                 /* the role closes the link itself, later; set in `down` */
    uint64_t deadline_ns;      /* of the handshake, or of the end */
    enum control_reject ended; /* the code with which either side ended it */
    char reason[CONTROL_REASON];
};

enum target_state { TARGET_WAITING, TARGET_TRYING, TARGET_JOINED, TARGET_FAILED };

/* An address to connect to, and to connect to again. */
struct target {
    char address[ADDRESS_BYTES];
    enum target_state state;
    unsigned transport;   /* which one is tried */
    uint64_t next_ns;     /* WAITING: when to try */
    uint64_t deadline_ns; /* when to give up; 0: never */
    uint64_t backoff_ns;
    bool joined_before;
    bool worked;               /* batches have moved since it joined the last time */
    struct embar_diag failure; /* FAILED, and the last attempt's */
};

/* What the role does. `self` is the publisher or subscriber. */
struct endpoint_role {
    enum control_role role;
    /* Fills in what is the role's in HELLO and WELCOME (the endpoint fills version, role, stream).
     */
    void (*hello)(void *self, struct control_hello *hello);
    /* May this peer join? Version, role and stream are checked. REJECT_NONE, or a code and a
     * reason. */
    enum control_reject (*admit)(void *self, struct conn *conn, const struct control_hello *hello,
                                 char *reason, size_t reason_bytes);
    /* The handshake is done; the role sets conn->peer. */
    void (*joined)(void *self, struct conn *conn, const struct control_hello *hello);
    /* After joining. A negative errno with the diag filled ends the link: the peer broke the rules.
     */
    int (*message)(void *self, struct conn *conn, const struct control_message *message,
                   struct embar_diag *diag);
    int (*arrival)(void *self, struct conn *conn, const struct embar_event *event,
                   struct embar_diag *diag);
    void (*write_done)(void *self, struct conn *conn, uint64_t token, int status);
    /* A joined link is over; conn is freed after it, and so is the link unless `kept` is set. */
    void (*down)(void *self, struct conn *conn, int status, const char *reason);
    /* A target was given up. */
    void (*target_failed)(void *self, struct target *target);
};

struct endpoint {
    const struct endpoint_role *role;
    void *self;
    const struct stream_options *options; /* owned copy in the role's object */
    const struct env *env;
    uint64_t instance; /* session id or subscriber id: random, never 0 */
    struct {
        const char *name;
        struct embar_transport *transport; /* owned */
        struct embar_listener *listener;   /* owned; NULL when connecting */
    } transports[ENDPOINT_TRANSPORTS];
    unsigned transport_count;
    struct conn *conns;
    struct target *targets; /* owned */
    unsigned target_count;
    unsigned pending; /* accepted links before their handshake is done */
    int epoll_fd, timer_fd;
    uint64_t timer_ns;           /* what the timer is set to, maybe expired; UINT64_MAX: to never */
    uint64_t now_ns;             /* of the latest poll */
    uint64_t active_ns;          /* of the latest poll that handled an event */
    uint64_t retry_ns;           /* a queue was full: when to try again; 0: nothing waits */
    uint64_t spin_ns;            /* adaptive: how long to go on polling after it */
    char address[ADDRESS_BYTES]; /* bound; "" when connecting */
    char unavailable[256];       /* why transports of the config could not be opened */
    char why[256];               /* why an opened one that is preferred is not in use */
};

/*
 * Opens the transports that the config lists and begins to listen on `listen` or to connect to the
 * comma-separated `connect`. `self` and `options` are kept. On failure everything is undone.
 */
int endpoint_open(struct endpoint *endpoint, const struct embar_config *config,
                  const struct stream_options *options, const struct endpoint_role *role,
                  void *self, const char *listen, const char *connect, struct embar_diag *diag);

/* Ends all links, gives goodbyes up to 200 ms to leave, and frees. The role has said LEAVE. */
void endpoint_close(struct endpoint *endpoint);

/* Closes transports whose links and buffers are gone; the second half of closing. */
void endpoint_free(struct endpoint *endpoint);

/* One round without blocking: events, handshakes, retries, time-outs. Returns how many events it
 * handled, or a negative errno when a transport is lost. */
int endpoint_poll(struct endpoint *endpoint, struct embar_diag *diag);

/* Why a preferred transport is not in use, both kinds; "" when it is. */
void endpoint_why(const struct endpoint *endpoint, char *text, size_t text_bytes);

/* Sends a control message; -EAGAIN when the link's queue is full, else 0 or the link's error. After
 * -EAGAIN endpoint_deadline sees to it that the caller's next round comes soon. */
int endpoint_send(struct conn *conn, const struct control_message *message);

/* Ends a link in order; the role's `down` follows later, at the latest after handshake_timeout,
 * when a peer that does not take what is still to be delivered is not waited for any more. */
void endpoint_disconnect(struct conn *conn);

/* The same with a reason that the peer is told; logged once. Harmless when the link ends already.
 */
__attribute__((format(printf, 3, 4))) void endpoint_end(struct conn *conn, enum control_reject code,
                                                        const char *fmt, ...);

/* Whether a link that ended with this code may be tried again. */
bool endpoint_may_retry(enum control_reject code);

/* The next instant at which endpoint_poll has something to do by itself; UINT64_MAX: none. */
uint64_t endpoint_deadline(const struct endpoint *endpoint);

/* Waits for work or until `until_ns`, by options->progress: spins first, then sleeps. */
void endpoint_wait(struct endpoint *endpoint, uint64_t until_ns);

/* Nothing has come for as long as spinning pays: what can wait for a busier time is done now, as
 * its caller is about to sleep. */
bool endpoint_is_quiet(const struct endpoint *endpoint);

/* For the caller's event loop: 0 when the descriptor wakes for work and at `until_ns`; -EAGAIN. */
int endpoint_arm(struct endpoint *endpoint, uint64_t until_ns);

#endif
