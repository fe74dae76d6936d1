/*
 * Buffers of the rdma backend: registration on every device in use, and exposure to a link by
 * memory windows or by a region of its own. Owns the memory regions and windows. Runs on the
 * transport's thread.
 */
#include "buffer.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "lane.h"
#include "link.h"
#include "transport.h"

/* How long taking a key back waits for the device to have made it. */
#define BIND_NS (100 * NS_PER_MS)

/* Only the region that carries user data may relax the order: completions tell when it is in place.
 */
static unsigned ordering(const struct rdma_device *device)
{
    return device->transport->options->relaxed_ordering ? IBV_ACCESS_RELAXED_ORDERING : 0;
}

static int register_on(struct rdma_buffer *b, struct rdma_device *device, struct embar_diag *diag)
{
    struct embar_buffer *buffer = b->buffer;
    unsigned access = IBV_ACCESS_LOCAL_WRITE | ordering(device);
    bool remote = (buffer_access(buffer) & EMBAR_ACCESS_REMOTE) != 0;
    bool windows = rdma_device_key_by_window(device);

    if (remote && windows)
        access |= IBV_ACCESS_MW_BIND;
    else if ((buffer_access(buffer) & EMBAR_ACCESS_LOCAL) == 0)
        return 0; /* registered when it is exposed */
    return rdma_device_register(device, buffer_addr(buffer), buffer_size(buffer), 0, access, NULL,
                                &b->mrs[device->index], diag);
}

static void deregister_from(struct rdma_buffer *b, unsigned index)
{
    if (b->mrs[index] != NULL && ibv_dereg_mr(b->mrs[index]) != 0)
        log_error("rdma: a buffer of %zu bytes cannot be deregistered: %s", buffer_size(b->buffer),
                  strerror(errno));
    b->mrs[index] = NULL;
}

static void buffer_unreg(struct embar_buffer *buffer)
{
    struct rdma_buffer *b = buffer_private(buffer);

    for (unsigned i = 0; i < RDMA_DEVICES_MAX; i++)
        deregister_from(b, i);
    LIST_REMOVE(b, node);
}

static int buffer_reg(struct embar_buffer *buffer, struct embar_diag *diag)
{
    struct rdma_transport *t = transport_private(buffer_transport(buffer));
    struct rdma_buffer *b = buffer_private(buffer);
    int rc;

    b->buffer = buffer;
    LIST_INSERT_HEAD(&t->buffers, b, node);
    for (unsigned i = 0; i < t->device_count; i++) {
        if (t->devices[i].pd == NULL)
            continue;
        rc = register_on(b, &t->devices[i], diag);
        if (rc < 0) {
            buffer_unreg(buffer);
            return rc;
        }
    }
    return 0;
}

int rdma_buffers_register_on(struct rdma_device *device, struct embar_diag *diag)
{
    struct rdma_buffer *b;
    int rc;

    LIST_FOREACH(b, &device->transport->buffers, node)
    {
        rc = register_on(b, device, diag);
        if (rc < 0)
            goto undo;
    }
    return 0;

undo:
    LIST_FOREACH(b, &device->transport->buffers, node)
    deregister_from(b, device->index);
    return rc;
}

struct ibv_mr *rdma_buffer_region(const struct embar_buffer *buffer,
                                  const struct rdma_device *device)
{
    const struct rdma_buffer *b = buffer_private(buffer);

    return b->mrs[device->index];
}

/* ---- exposure ----------------------------------------------------------------------------- */

void rdma_exposure_release(struct rdma_exposure *exposure)
{
    for (unsigned i = 0; i < RDMA_LANES_MAX; i++) {
        if (exposure->windows[i] != NULL && ibv_dealloc_mw(exposure->windows[i]) != 0)
            log_error("rdma: a memory window cannot be freed: %s", strerror(errno));
    }
    if (exposure->region != NULL && ibv_dereg_mr(exposure->region) != 0)
        log_error("rdma: the memory region of an exposure cannot be freed: %s", strerror(errno));
    *exposure = (struct rdma_exposure){.binds = exposure->binds};
}

/* One window on each lane. The bind takes its turn in the send queue, ahead of the message that
 * carries the key to the peer. */
static int expose_windows(struct rdma_link *l, struct rdma_exposure *exposure,
                          struct embar_diag *diag)
{
    struct ibv_mr *mr = rdma_buffer_region(exposure->buffer, l->device);
    int rc;

    for (unsigned i = 0; i < l->lane_count; i++) {
        struct ibv_mw *window = ibv_alloc_mw(l->device->pd, IBV_MW_TYPE_2);
        if (window == NULL)
            return diag_fail(diag, errno,
                             "device %s gives no memory window: %s; set rdma.key to region to do "
                             "without",
                             rdma_device_name(l->device), strerror(errno));
        exposure->windows[i] = window;
        exposure->keys.rkeys[i] = ibv_inc_rkey(window->rkey);
        rc = rdma_lane_bind(&l->lanes[i], window, exposure->keys.rkeys[i], mr,
                            buffer_size(exposure->buffer));
        if (rc < 0)
            return diag_fail(diag, -rc,
                             "no room in the send queue of the link to bind a memory "
                             "window: poll and call again");
        exposure->binds++;
    }
    return 0;
}

static int expose_region(struct rdma_link *l, struct rdma_exposure *exposure,
                         struct embar_diag *diag)
{
    int rc = rdma_device_register(
        l->device, buffer_addr(exposure->buffer), buffer_size(exposure->buffer), 0,
        IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | ordering(l->device), l,
        &exposure->region, diag);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < l->lane_count; i++)
        exposure->keys.rkeys[i] = exposure->region->rkey;
    return 0;
}

static int buffer_expose(struct embar_buffer *buffer, struct embar_link *link,
                         struct embar_key *key, struct embar_diag *diag)
{
    struct rdma_link *l = link_private(link);
    struct rdma_exposure *exposure = &l->exposure;
    int rc;

    if (l->phase != RDMA_LINK_UP)
        return diag_fail(diag, ENOTCONN, "link %" PRIu64 " is going down", embar_link_id(link));
    exposure->buffer = buffer;
    exposure->keys.lanes = l->lane_count;
    rc = rdma_device_key_by_window(l->device) ? expose_windows(l, exposure, diag)
                                              : expose_region(l, exposure, diag);
    if (rc < 0) {
        rdma_exposure_release(exposure);
        return rc;
    }
    l->was_exposed = true;
    exposure->keys.id = exposure->keys.rkeys[0];
    exposure->announce = l->lane_count > 1;
    rdma_exposure_announce(l);
    *key = (struct embar_key){.id = exposure->keys.id, .base = 0, .size = buffer_size(buffer)};
    return 0;
}

/* A window whose bind still waits in the send queue would come to life after it was taken back. */
static void await_binds(struct rdma_link *l)
{
    uint64_t deadline_ns = rdma_now(l->t) + BIND_NS;

    while (l->exposure.binds > 0 && l->phase < RDMA_LINK_FLUSHING && !l->t->lost) {
        if (rdma_now(l->t) >= deadline_ns)
            rdma_link_stop(l, -ETIMEDOUT,
                           "a key was to be taken back that device %s has not made yet",
                           rdma_device_name(l->device));
        else
            rdma_link_poll(l, 1);
    }
}

static void buffer_unexpose(struct embar_buffer *buffer, struct embar_link *link)
{
    struct rdma_link *l = link_private(link);

    if (l->exposure.buffer != buffer)
        return;
    await_binds(l);
    rdma_exposure_release(&l->exposure);
}

void rdma_exposure_announce(struct rdma_link *l)
{
    uint8_t payload[RDMA_KEYS_BYTES];
    size_t len_bytes;

    /* The peer may use a window only once it is bound. */
    if (!l->exposure.announce || l->exposure.binds > 0)
        return;
    len_bytes = rdma_keys_pack(&l->exposure.keys, payload);
    if (rdma_lane_send(&l->lanes[0], RDMA_KEYS, payload, len_bytes) == 0)
        l->exposure.announce = false;
}

const struct backend_buffer_ops rdma_buffer_ops = {
    .reg = buffer_reg,
    .unreg = buffer_unreg,
    .expose = buffer_expose,
    .unexpose = buffer_unexpose,
};
