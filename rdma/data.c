/*
 * The data path: writes, spread over the lanes that the peer has announced keys for, and control
 * messages, which all go over lane 0 and so stay in order. Nothing is allocated, registered or
 * logged here. Runs on the transport's thread.
 */
#include "data.h"

#include <errno.h>

#include "link.h"

/* A key as this backend makes it has 32 bits; a forged one shall not turn into a good one. */
static uint32_t remote_key(const struct embar_key *key)
{
    return (uint32_t)(key->id ^ (key->id >> 32));
}

static int data_write(struct embar_link *link, const struct embar_write *write)
{
    struct rdma_link *l = link_private(link);
    bool spread = l->peer_keys.lanes > 0 && l->peer_keys.id == write->key.id;
    unsigned lanes = spread ? l->lane_count : 1;
    const struct ibv_mr *mr;
    int rc = -EAGAIN;

    if (l->phase != RDMA_LINK_UP)
        return -ENOTCONN;
    mr = rdma_buffer_region(write->buffer, l->device);
    for (unsigned i = 0; i < lanes && rc == -EAGAIN; i++) {
        unsigned lane = (l->next_lane + i) % lanes;
        rc = rdma_lane_write(&l->lanes[lane], write, mr->lkey,
                             spread ? l->peer_keys.rkeys[lane] : remote_key(&write->key));
        if (rc == 0)
            l->next_lane = lane + 1;
    }
    return rc;
}

static int data_send(struct embar_link *link, const void *data, size_t len_bytes)
{
    struct rdma_link *l = link_private(link);

    if (l->phase != RDMA_LINK_UP)
        return -ENOTCONN;
    return rdma_lane_send(&l->lanes[0], RDMA_MESSAGE, data, len_bytes);
}

const struct backend_data_ops rdma_data_ops = {
    .write = data_write, .send = data_send, .map = backend_map_none};
