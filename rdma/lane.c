/*
 * The life of a lane: queue pair, control memory, the way to "ready to send", stop and close.
 * Posting is in post.c. Owns what struct rdma_lane says. Runs on the transport's thread.
 */
#include "lane.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/diag.h"
#include "common/log.h"
#include "link.h"
#include "post.h"
#include "timing.h"
#include "transport.h"

/* Messages of the other lanes are small ones of the backend itself. */
#define SMALL_STRIDE 64u

static const struct rdma_options *lane_options(const struct rdma_lane *lane)
{
    return lane->link->t->options;
}

uint32_t rdma_lane_send_requests(const struct rdma_device *device)
{
    uint32_t writes = (uint32_t)device->transport->options->send_queue_depth;

    if (rdma_device_arrival_by_send(device))
        writes *= 2;
    return writes + RDMA_SLOTS + RDMA_RESERVE;
}

/* ---- opening ------------------------------------------------------------------------------ */

static int open_memory(struct rdma_lane *lane, struct embar_diag *diag)
{
    uint32_t depth = (uint32_t)lane_options(lane)->receive_depth;
    void *memory;
    int rc;

    lane->stride = SMALL_STRIDE;
    if (lane->index == 0)
        lane->stride = (RDMA_HEADER_BYTES + RDMA_MESSAGE_BYTES + 63u) & ~63u;
    lane->slots = RDMA_SLOTS;
    if (rdma_device_arrival_by_send(lane->link->device))
        lane->slots += (uint32_t)lane_options(lane)->send_queue_depth;
    lane->memory_bytes = (size_t)lane->stride * (depth + lane->slots);
    memory = mmap(NULL, lane->memory_bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return diag_fail(diag, ENOMEM, "out of memory for %zu bytes of control messages",
                         lane->memory_bytes);
    lane->memory = memory;
    /* No relaxed ordering here: a message may carry credits of everything before it. */
    rc = rdma_device_register(lane->link->device, memory, lane->memory_bytes, (uintptr_t)memory,
                              IBV_ACCESS_LOCAL_WRITE, lane->link, &lane->mr, diag);
    return rc;
}

static void close_memory(struct rdma_lane *lane)
{
    if (lane->mr != NULL && ibv_dereg_mr(lane->mr) != 0)
        log_error("rdma: the memory of a lane cannot be deregistered: %s", strerror(errno));
    if (lane->memory != NULL)
        munmap(lane->memory, lane->memory_bytes);
    lane->mr = NULL;
    lane->memory = NULL;
}

static int open_ring(struct rdma_lane *lane, struct embar_diag *diag)
{
    uint32_t entries = 1;

    lane->room = rdma_lane_send_requests(lane->link->device);
    while (entries < lane->room)
        entries *= 2;
    lane->posted = calloc(entries, sizeof(*lane->posted));
    if (lane->posted == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for the work requests of a lane");
    lane->posted_mask = entries - 1;
    return 0;
}

/* Devices state no limit for inline data: ask for less until they agree. */
static int open_queue_pair(struct rdma_lane *lane, struct embar_diag *diag)
{
    struct rdma_device *device = lane->link->device;
    uint32_t inline_bytes = (uint32_t)lane_options(lane)->inline_limit;

    for (;;) {
        struct ibv_qp_init_attr attr = {
            .qp_context = lane,
            .send_cq = lane->link->cq,
            .recv_cq = lane->link->cq,
            .cap = {.max_send_wr = lane->room,
                    .max_recv_wr = (uint32_t)lane_options(lane)->receive_depth,
                    .max_send_sge = 2,
                    .max_recv_sge = 1,
                    .max_inline_data = inline_bytes},
            .qp_type = IBV_QPT_RC,
        };
        lane->qp = ibv_create_qp(device->pd, &attr);
        if (lane->qp != NULL) {
            /* A device may grant more; the setting is what was asked for. */
            lane->inline_bytes = inline_bytes;
            return 0;
        }
        if (inline_bytes == 0)
            return diag_fail(diag, errno,
                             "device %s gives no queue pair with %" PRIu32
                             " work requests and %" PRId64 " receives: %s",
                             rdma_device_name(device), lane->room,
                             lane_options(lane)->receive_depth, strerror(errno));
        inline_bytes /= 2;
    }
}

static int to_state(struct rdma_lane *lane, struct ibv_qp_attr *attr, int mask,
                    struct embar_diag *diag)
{
    static const char *const names[] = {[IBV_QPS_INIT] = "init",
                                        [IBV_QPS_RTR] = "ready to receive",
                                        [IBV_QPS_RTS] = "ready to send"};
    int rc = ibv_modify_qp(lane->qp, attr, mask);

    if (rc != 0)
        return diag_fail(diag, rc, "device %s does not take its queue pair to '%s': %s",
                         rdma_device_name(lane->link->device), names[attr->qp_state], strerror(rc));
    return 0;
}

/* What the CM knows of the way to that state. */
static int ask_cm(struct rdma_lane *lane, enum ibv_qp_state state, struct ibv_qp_attr *attr,
                  int *mask, struct embar_diag *diag)
{
    memset(attr, 0, sizeof(*attr));
    attr->qp_state = state;
    if (rdma_init_qp_attr(lane->id, attr, mask) != 0)
        return diag_fail(diag, errno, "the connection manager gives no queue pair attributes: %s",
                         strerror(errno));
    return 0;
}

static int to_init(struct rdma_lane *lane, struct embar_diag *diag)
{
    struct ibv_qp_attr attr;
    int mask, rc;

    rc = ask_cm(lane, IBV_QPS_INIT, &attr, &mask, diag);
    if (rc < 0)
        return rc;
    /* Nothing else may be done to this side's memory. */
    if (mask & IBV_QP_ACCESS_FLAGS)
        attr.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
    return to_state(lane, &attr, mask, diag);
}

int rdma_lane_open(struct rdma_lane *lane, struct embar_diag *diag)
{
    int rc;

    rc = open_ring(lane, diag);
    if (rc < 0)
        goto fail;
    rc = open_memory(lane, diag);
    if (rc < 0)
        goto fail;
    rc = open_queue_pair(lane, diag);
    if (rc < 0)
        goto fail;
    rc = to_init(lane, diag);
    if (rc < 0)
        goto fail;
    rc = rdma_post_all_receives(lane);
    if (rc < 0) {
        diag_fail(diag, -rc, "device %s takes no receives: %s",
                  rdma_device_name(lane->link->device), strerror(-rc));
        goto fail;
    }
    return 0;

fail:
    rdma_lane_release(lane);
    return rc;
}

/* ---- getting ready ------------------------------------------------------------------------ */

void rdma_lane_hello(const struct rdma_lane *lane, struct rdma_hello *hello)
{
    const struct rdma_link *l = lane->link;

    *hello = (struct rdma_hello){
        .link_id = l->wire_id,
        .lane = (uint8_t)lane->index,
        .lanes = (uint8_t)l->lane_count,
        .path_mtu = lane->path_mtu != 0 ? lane->path_mtu : rdma_options_mtu(lane_options(lane)),
        .receive_depth = (uint16_t)lane_options(lane)->receive_depth,
        .message_bytes = RDMA_MESSAGE_BYTES,
    };
}

static void adjust_rtr(struct rdma_lane *lane, struct ibv_qp_attr *attr, uint8_t peer_mtu)
{
    const struct rdma_options *o = lane_options(lane);
    uint8_t mtu = rdma_options_mtu(o);

    if (peer_mtu < mtu)
        mtu = peer_mtu;
    if (mtu < attr->path_mtu)
        attr->path_mtu = (enum ibv_mtu)mtu;
    lane->path_mtu = (uint8_t)attr->path_mtu;
    attr->min_rnr_timer = rdma_rnr_timer_code(o->min_rnr_timer_ns);
    if (o->traffic_class >= 0)
        attr->ah_attr.grh.traffic_class = (uint8_t)o->traffic_class;
    if (o->service_level >= 0)
        attr->ah_attr.sl = (uint8_t)o->service_level;
}

static void adjust_rts(const struct rdma_lane *lane, struct ibv_qp_attr *attr)
{
    const struct rdma_options *o = lane_options(lane);

    attr->timeout = rdma_ack_timeout_code(o->ack_timeout_ns);
    attr->retry_cnt = (uint8_t)o->retry_count;
    attr->rnr_retry = (uint8_t)o->rnr_retry;
}

int rdma_lane_ready(struct rdma_lane *lane, const struct rdma_hello *peer, struct embar_diag *diag)
{
    struct ibv_qp_attr attr;
    int mask, rc;

    rdma_credit_init(&lane->credit, (uint32_t)lane_options(lane)->receive_depth,
                     peer->receive_depth);
    lane->path_mtu = peer->path_mtu;
    if (lane->link->device->iwarp) /* the kernel does the rest when it connects */
        return 0;
    rc = ask_cm(lane, IBV_QPS_RTR, &attr, &mask, diag);
    if (rc < 0)
        return rc;
    adjust_rtr(lane, &attr, peer->path_mtu);
    rc = to_state(lane, &attr, mask, diag);
    if (rc < 0)
        return rc;
    rc = ask_cm(lane, IBV_QPS_RTS, &attr, &mask, diag);
    if (rc < 0)
        return rc;
    adjust_rts(lane, &attr);
    return to_state(lane, &attr, mask, diag);
}

/* ---- ending ------------------------------------------------------------------------------- */

void rdma_lane_stop(struct rdma_lane *lane)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

    if (lane->qp != NULL && ibv_modify_qp(lane->qp, &attr, IBV_QP_STATE) != 0)
        log_warn("rdma: a queue pair on %s does not stop: %s", rdma_device_name(lane->link->device),
                 strerror(errno));
    /* A request without a completion of its own may have succeeded in silence: one more that is
     * flushed behind it shows that nothing is left. */
    if (lane->qp != NULL && lane->unsignaled > 0)
        rdma_lane_probe(lane);
    /* Tells the peer, or answers it. It fails where there is no connection to end. */
    if (lane->established)
        rdma_disconnect(lane->id);
}

bool rdma_lane_is_empty(const struct rdma_lane *lane)
{
    return lane->head == lane->tail && lane->receives == 0;
}

void rdma_lane_release(struct rdma_lane *lane)
{
    if (lane->qp != NULL && ibv_destroy_qp(lane->qp) != 0)
        log_error("rdma: a queue pair on %s cannot be freed: %s",
                  rdma_device_name(lane->link->device), strerror(errno));
    lane->qp = NULL;
    close_memory(lane);
    free(lane->posted);
    lane->posted = NULL;
    lane->receives = 0;
    lane->tail = lane->head;
}

void rdma_lane_close(struct rdma_lane *lane)
{
    rdma_lane_release(lane);
    if (lane->id != NULL && rdma_destroy_id(lane->id) != 0)
        log_error("rdma: a connection identifier cannot be freed: %s", strerror(errno));
    lane->id = NULL;
    lane->established = false;
}
