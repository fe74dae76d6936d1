/*
 * A lane: one reliable connected queue pair of a link, its ring of posted work requests, its
 * receives and the small strictly ordered memory through which control messages go.
 *
 * The queue pair is made and moved through its states here rather than by librdmacm, because only
 * so path MTU, RNR timer, ACK timeout, traffic class and service level are all ours to set
 * (docs/decisions/012-rdma-queue-pairs-by-hand.md).
 */
#ifndef RDMA_LANE_H
#define RDMA_LANE_H

#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "credit.h"
#include "device.h"
#include "protocol.h"
#include "transport/backend.h"

struct rdma_link;

/* What a work request in the send queue is. */
enum rdma_request {
    RDMA_REQUEST_WRITE,   /* ends a write of the application */
    RDMA_REQUEST_PAYLOAD, /* the write proper, where RDMA_REQUEST_ARRIVED follows */
    RDMA_REQUEST_ARRIVED, /* the message behind it: ends the write of the application */
    RDMA_REQUEST_CONTROL, /* any other message */
    RDMA_REQUEST_GOODBYE,
    RDMA_REQUEST_REFUSED,
    RDMA_REQUEST_PROBE, /* an empty write that asks for a sign of life */
    RDMA_REQUEST_BIND,  /* of a memory window */
};

struct rdma_posted {
    uint64_t token; /* of the application's write */
    uint32_t len_bytes;
    uint8_t request; /* enum rdma_request */
    bool signaled;
    bool uses_slot; /* holds a slot for an outgoing message */
};

#define RDMA_REPOST_BATCH 16

/* What the context of a CM id is: the first member of both. */
enum rdma_owner { RDMA_OWNER_LANE, RDMA_OWNER_LISTEN };

struct rdma_lane {
    enum rdma_owner owner;  /* RDMA_OWNER_LANE */
    struct rdma_link *link; /* borrowed */
    struct rdma_cm_id *id;  /* owned */
    struct ibv_qp *qp;      /* owned */
    unsigned index;         /* in the link */
    bool established;       /* the CM says so */
    bool disconnected;      /* the CM says so, or never will say anything again */
    uint8_t path_mtu;       /* enum ibv_mtu; in use once established */
    uint32_t inline_bytes;  /* that the device really takes */
    struct rdma_credit credit;

    /* The send queue: work requests posted and not known to be done lie in [tail, head). */
    struct rdma_posted *posted; /* owned; a ring */
    uint32_t posted_mask, room; /* entries of the ring less 1; requests that the queue pair takes */
    uint32_t head, tail;
    uint32_t unsignaled; /* posted since the last one with a completion of its own */
    uint32_t signaled;   /* with a completion of their own, not done */
    int payload_status;  /* of a failed RDMA_REQUEST_PAYLOAD, for the write it belongs to */

    /* Control memory: receives, then slots for outgoing messages that do not go inline. */
    uint8_t *memory; /* owned */
    size_t memory_bytes;
    struct ibv_mr *mr; /* owned */
    uint32_t stride;   /* bytes of a receive or slot */
    uint32_t receives; /* posted */
    uint32_t slots, slot_head, slots_used;
    uint32_t repost[RDMA_REPOST_BATCH]; /* receives consumed, to be posted again together */
    uint32_t reposts;
};

/* How many work requests the send queue of a lane has by the settings. */
uint32_t rdma_lane_send_requests(const struct rdma_device *device);

/* Makes queue pair and memory for lane->id, which is bound to the link's device, and posts the
 * receives. On failure nothing is kept but the id. */
int rdma_lane_open(struct rdma_lane *lane, struct embar_diag *diag);

/* What this side announces of the lane. */
void rdma_lane_hello(const struct rdma_lane *lane, struct rdma_hello *hello);

/* Moves the queue pair to "ready to send", with a path MTU of at most `mtu` (enum ibv_mtu), and
 * starts the credits with what the peer announced. */
int rdma_lane_ready(struct rdma_lane *lane, const struct rdma_hello *peer, struct embar_diag *diag);

/* Stops the queue pair: everything posted is flushed with a completion. */
void rdma_lane_stop(struct rdma_lane *lane);

/* Whether nothing is posted any more. */
bool rdma_lane_is_empty(const struct rdma_lane *lane);

/* Frees everything but the id; everything. Harmless on a zeroed lane. */
void rdma_lane_release(struct rdma_lane *lane);
void rdma_lane_close(struct rdma_lane *lane);

/* ---- posting: 0, -EAGAIN without room or credit, -ENOTCONN after a failure that ends the link
 * ---- */

/* A message of that kind with a copy of the payload. */
int rdma_lane_send(struct rdma_lane *lane, enum rdma_kind kind, const void *payload,
                   size_t len_bytes);

/* An application's write; `lkey` and `rkey` are the two ends' keys, offsets count from 0. */
int rdma_lane_write(struct rdma_lane *lane, const struct embar_write *write, uint32_t lkey,
                    uint32_t rkey);

int rdma_lane_probe(struct rdma_lane *lane);

int rdma_lane_bind(struct rdma_lane *lane, struct ibv_mw *window, uint32_t rkey, struct ibv_mr *mr,
                   size_t len_bytes);

/* A receive has been consumed: it is posted again by the next rdma_lane_repost. */
void rdma_lane_consumed(struct rdma_lane *lane, uint32_t receive);
void rdma_lane_repost(struct rdma_lane *lane);

/* The bytes of a receive. */
static inline const uint8_t *rdma_lane_receive(const struct rdma_lane *lane, uint32_t receive)
{
    return lane->memory + (size_t)receive * lane->stride;
}

/* ---- work request ids --------------------------------------------------------------------- */

#define RDMA_ID_RECEIVE (1ull << 63)

static inline uint64_t rdma_id(const struct rdma_lane *lane, uint32_t number)
{
    return ((uint64_t)lane->index << 32) | number;
}

static inline unsigned rdma_id_lane(uint64_t id)
{
    return (unsigned)((id & ~RDMA_ID_RECEIVE) >> 32);
}

static inline uint32_t rdma_id_number(uint64_t id)
{
    return (uint32_t)id;
}

#endif
