/*
 * Receive credits of one lane. Every send and every write with an immediate consumes a receive that
 * the peer has posted; a sender that overran them would meet "receiver not ready" and a retry
 * storm. So each side counts the receives that the other has posted, and gives back the right to
 * use those that it has posted again, in the header of any control message or in one of its own.
 *
 * The last two credits are kept back, or two sides that have used up each other's receives would
 * wait for each other for ever: one for a message that returns credits, one for the goodbye. A side
 * that has run out has been sent at least one message that returns some (docs/wire-rdma.md has the
 * argument, the unit test tries it). Pure; one thread.
 */
#ifndef RDMA_CREDIT_H
#define RDMA_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

#define RDMA_RECEIVES_MIN 8
#define RDMA_RECEIVES_MAX 16384

/* What a credit is wanted for; the value is how many must stay behind. */
enum rdma_credit_use {
    RDMA_CREDIT_GOODBYE = 0,
    RDMA_CREDIT_RETURN = 1,
    RDMA_CREDIT_DATA = 2,
};

struct rdma_credit {
    uint32_t available; /* receives of the peer that this side may still consume */
    uint32_t peer_depth;
    uint32_t owed; /* receives posted again and not yet told to the peer */
    uint32_t own_depth;
};

/* Both depths lie within RDMA_RECEIVES_MIN .. MAX; the caller has checked the peer's. */
void rdma_credit_init(struct rdma_credit *credit, uint32_t own_depth, uint32_t peer_depth);

/* Whether a credit may be taken for that use. */
static inline bool rdma_credit_has(const struct rdma_credit *credit, enum rdma_credit_use use)
{
    return credit->available > (uint32_t)use;
}

/* Takes one; the caller has seen that it may. */
static inline void rdma_credit_take(struct rdma_credit *credit)
{
    credit->available--;
}

/* One of this side's receives was consumed and has been posted again. */
static inline void rdma_credit_reposted(struct rdma_credit *credit)
{
    credit->owed++;
}

/* Whether so many are owed that they deserve a message of their own. */
static inline bool rdma_credit_return_due(const struct rdma_credit *credit)
{
    return credit->owed >= credit->own_depth / 2;
}

/* What the header of the message now being posted gives back. */
uint16_t rdma_credit_give(struct rdma_credit *credit);

/* The peer gave back. -EPROTO when it would then have more receives than it said. */
int rdma_credit_got(struct rdma_credit *credit, uint16_t count);

#endif
