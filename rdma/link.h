/*
 * The rdma backend's part of a link: its lanes, its completion queue, and how far it has come.
 */
#ifndef RDMA_LINK_H
#define RDMA_LINK_H

#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "buffer.h"
#include "lane.h"
#include "transport/backend.h"

struct rdma_transport;
struct rdma_listen;

enum rdma_phase {
    RDMA_LINK_REQUESTED,  /* a peer asks; core will answer */
    RDMA_LINK_CONNECTING, /* its lanes are on their way */
    RDMA_LINK_REFUSING,   /* accepted only to tell the peer a long reason */
    RDMA_LINK_REFUSED,    /* the peer does so: its reason is to come */
    RDMA_LINK_UP,
    RDMA_LINK_ENDING,   /* this side says goodbye: what is posted may finish */
    RDMA_LINK_FLUSHING, /* queue pairs stopped: every work request comes back */
    RDMA_LINK_DOWN,     /* nothing is left but this struct */
};

#define RDMA_TARGETS_MAX 4
#define RDMA_WHY_BYTES   EMBAR_DIAG_BYTES

struct rdma_link {
    struct embar_link *link;    /* borrowed */
    struct rdma_transport *t;   /* borrowed */
    struct rdma_device *device; /* borrowed; known with the first lane's id */
    LIST_ENTRY(rdma_link) node; /* in the transport, until DOWN */
    enum rdma_phase phase;
    bool active;      /* this side asked for it */
    uint64_t wire_id; /* joins its lanes */
    struct rdma_lane lanes[RDMA_LANES_MAX];
    unsigned lane_count;
    unsigned next_lane; /* of the next write */
    struct ibv_cq *cq;  /* owned; of all lanes */
    bool cq_armed;

    /* Connecting. */
    struct sockaddr_storage targets[RDMA_TARGETS_MAX]; /* what the address resolved to */
    unsigned target_count, target;
    struct rdma_hello peer;     /* of the first lane's request */
    struct rdma_listen *listen; /* shared; awaits further lanes */

    /* Keys. */
    struct rdma_exposure exposure; /* this side's */
    bool was_exposed;              /* ever: the peer may have writes to report */
    struct rdma_keys peer_keys;    /* by lane, of what the peer exposed last; lanes 0: unknown */

    /* Ending. */
    bool peer_goodbye;
    bool refusal_sent;
    int status;
    char why[RDMA_WHY_BYTES];
    char reason[RDMA_REASON_BYTES + 1]; /* of a refusal, on its way out or in */

    /* Times. */
    uint64_t deadline_ns;   /* of the phase; 0: none */
    uint64_t last_sign_ns;  /* when something last completed */
    uint64_t wait_since_ns; /* since when completions are due and none comes */
    uint64_t completions, completions_seen;

    uint64_t send_calls, receive_calls, registrations;
    uint64_t rnr_before; /* the device's count when the link came up */
    uint64_t rnr;        /* since then; final once the link is down */
    char how[160];       /* device and ways, for the report; "" before the link is up */
};

extern const struct backend_link_ops rdma_link_ops;

/* A new link on its way: linked into the transport, with a deadline. */
void rdma_link_init(struct rdma_link *l, struct embar_link *link, struct rdma_transport *t,
                    enum rdma_phase phase);

/* Makes the completion queue for `lanes` lanes. */
int rdma_link_open_queue(struct rdma_link *l, struct embar_diag *diag);

/* A lane is established at the CM. The link is up when all are. */
void rdma_link_lane_established(struct rdma_lane *lane);

/*
 * Ends the link, whatever its phase; the first call's status and reason count. A link that carries
 * data is flushed first and reported down by a later rdma_link_settle; any other is reported down
 * at once.
 */
__attribute__((format(printf, 3, 4))) void rdma_link_stop(struct rdma_link *l, int status,
                                                          const char *fmt, ...);

/* Goes on with an end that has begun; may report the link down. */
void rdma_link_settle(struct rdma_link *l, uint64_t now_ns);

/* Deadlines and signs of life. May report the link down. */
void rdma_link_tick(struct rdma_link *l, uint64_t now_ns);

/* When rdma_link_tick is next wanted. */
uint64_t rdma_link_due_ns(const struct rdma_link *l);

/* Whether it ever carried data. */
static inline bool rdma_link_was_up(const struct rdma_link *l)
{
    return l->how[0] != '\0';
}

/* Whether its completion queue is to be polled. */
static inline bool rdma_link_is_polled(const struct rdma_link *l)
{
    return l->phase >= RDMA_LINK_REFUSING && l->phase < RDMA_LINK_DOWN;
}

/* The CM says that the peer has ended a lane. */
void rdma_link_peer_left(struct rdma_lane *lane);

void rdma_link_count_registration(struct rdma_link *l);

/* ---- completions (completion.c) ----------------------------------------------------------- */

/* Takes completions, about `budget` of them; returns how many. Never reports the link down. */
int rdma_link_poll(struct rdma_link *l, int budget);

/* Reports what can no longer complete as cancelled. */
void rdma_link_cancel(struct rdma_link *l);

#endif
