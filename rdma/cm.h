/*
 * Meeting by IP address through librdmacm: the events of its channel, listeners, the side that asks
 * (connect.c) and the side that answers (accept.c).
 */
#ifndef RDMA_CM_H
#define RDMA_CM_H

#include <rdma/rdma_cma.h>
#include <stdint.h>
#include <sys/queue.h>

#include "link.h"
#include "transport/backend.h"

struct rdma_transport;

/* An event, copied so that it can be acknowledged before anything is done about it: freeing an id
 * waits for the acknowledgement of its events. */
struct rdma_note {
    enum rdma_cm_event_type type;
    int status;
    struct rdma_cm_id *id, *listen_id;
    uint8_t data[UINT8_MAX]; /* private data of the peer */
    size_t len_bytes;
};

/* What listens: outlives its listener while a link that came through it waits for further lanes. */
struct rdma_listen {
    enum rdma_owner owner;           /* RDMA_OWNER_LISTEN */
    struct rdma_cm_id *id;           /* owned */
    struct rdma_transport *t;        /* borrowed */
    struct embar_listener *listener; /* borrowed; NULL once that is closed */
    unsigned references;
};

struct rdma_listener {
    struct rdma_listen *listen; /* shared */
};

extern const struct backend_listener_ops rdma_listener_ops;

/* Handles the events that wait, `budget` at most; returns how many, or a negative errno when the
 * channel is broken. */
int rdma_cm_progress(struct rdma_transport *t, int budget);

/* Gives a reference back; harmless on NULL. */
void rdma_listen_put(struct rdma_listen *listen);

/* ---- the side that asks ------------------------------------------------------------------- */

int rdma_link_connect(struct embar_link *link, const char *address, struct embar_diag *diag);

/* Begins to connect a further lane; a failure ends the link. */
void rdma_connect_lane(struct rdma_link *l, unsigned index);

void rdma_connect_addr_resolved(struct rdma_lane *lane);
void rdma_connect_addr_failed(struct rdma_lane *lane, int error);
void rdma_connect_route_resolved(struct rdma_lane *lane);
void rdma_connect_answered(struct rdma_lane *lane, const struct rdma_note *note);

/* ---- the side that answers ---------------------------------------------------------------- */

int rdma_link_accept(struct embar_link *link);
int rdma_link_reject(struct embar_link *link, const char *reason);

void rdma_accept_request(struct rdma_transport *t, const struct rdma_note *note);

#endif
