/*
 * Receive credits of one lane: see credit.h. Pure; one thread.
 */
#include "credit.h"

#include <errno.h>

void rdma_credit_init(struct rdma_credit *credit, uint32_t own_depth, uint32_t peer_depth)
{
    *credit = (struct rdma_credit){
        .available = peer_depth, .peer_depth = peer_depth, .own_depth = own_depth};
}

uint16_t rdma_credit_give(struct rdma_credit *credit)
{
    uint16_t count = (uint16_t)credit->owed; /* never more than RDMA_RECEIVES_MAX */

    credit->owed = 0;
    return count;
}

int rdma_credit_got(struct rdma_credit *credit, uint16_t count)
{
    if (count > credit->peer_depth - credit->available)
        return -EPROTO;
    credit->available += count;
    return 0;
}
