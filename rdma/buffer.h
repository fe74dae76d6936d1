/*
 * The rdma backend's part of a buffer, its memory regions, and the exposure of a buffer to a link.
 *
 * A buffer is one memory region per device, registered when the buffer is made, with its first byte
 * at address 0: so no address of this process reaches a peer. The region itself grants no remote
 * access. An exposure grants it: by a memory window bound to each queue pair of the link (made in
 * microseconds, void for every other queue pair), or, where the device has no such windows, by a
 * memory region of its own.
 */
#ifndef RDMA_BUFFER_H
#define RDMA_BUFFER_H

#include <infiniband/verbs.h>
#include <sys/queue.h>

#include "device.h"
#include "protocol.h"
#include "transport/backend.h"

struct rdma_buffer {
    struct embar_buffer *buffer; /* borrowed */
    LIST_ENTRY(rdma_buffer) node;
    struct ibv_mr *mrs[RDMA_DEVICES_MAX]; /* owned; by device, NULL where it is not in use */
};

/* Of one buffer to one link. */
struct rdma_exposure {
    struct embar_buffer *buffer;            /* borrowed; NULL: none */
    struct ibv_mw *windows[RDMA_LANES_MAX]; /* owned; or */
    struct ibv_mr *region;                  /* owned */
    struct rdma_keys keys;
    unsigned binds; /* of windows, posted and not yet done */
    bool announce;  /* the keys of the lanes are still to be sent */
};

extern const struct backend_buffer_ops rdma_buffer_ops;

/* Registers all buffers of the transport on a device that is being put to use. */
int rdma_buffers_register_on(struct rdma_device *device, struct embar_diag *diag);

/* The memory region of a buffer on the device of a link. */
struct ibv_mr *rdma_buffer_region(const struct embar_buffer *buffer,
                                  const struct rdma_device *device);

/* Takes the right back; before the queue pairs are destroyed. Harmless when there is none. */
void rdma_exposure_release(struct rdma_exposure *exposure);

/* Tells the peer the keys of all lanes, if that is due and possible. Until then it writes over lane
 * 0 alone. */
void rdma_exposure_announce(struct rdma_link *link);

#endif
