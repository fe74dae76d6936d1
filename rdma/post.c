/*
 * Posting work requests on a lane. Every write has a completion of its own, because each is an
 * event that somebody waits for; a message has one now and then, so that its place in the queue
 * comes back in time. Runs on the transport's thread.
 */
#include "post.h"

#include <errno.h>
#include <string.h>

#include "link.h"
#include "transport.h"

/* A message without a completion of its own holds its slot until a later one completes. */
#define UNSIGNALED_MAX (RDMA_SLOTS / 4)

static uint32_t requests_free(const struct rdma_lane *lane)
{
    return lane->room - (lane->head - lane->tail);
}

/* Whether the application may post that many requests, of which one consumes a receive. */
static bool has_room(const struct rdma_lane *lane, uint32_t requests)
{
    return requests_free(lane) >= requests + RDMA_RESERVE &&
           rdma_credit_has(&lane->credit, RDMA_CREDIT_DATA);
}

/* ---- receives ----------------------------------------------------------------------------- */

static int post_receives(struct rdma_lane *lane, const uint32_t *numbers, uint32_t count)
{
    struct ibv_recv_wr wrs[RDMA_REPOST_BATCH], *bad;
    struct ibv_sge sges[RDMA_REPOST_BATCH];
    int rc;

    for (uint32_t i = 0; i < count; i++) {
        sges[i] = (struct ibv_sge){.addr = (uintptr_t)rdma_lane_receive(lane, numbers[i]),
                                   .length = lane->stride,
                                   .lkey = lane->mr->lkey};
        wrs[i] = (struct ibv_recv_wr){.wr_id = RDMA_ID_RECEIVE | rdma_id(lane, numbers[i]),
                                      .next = i + 1 < count ? &wrs[i + 1] : NULL,
                                      .sg_list = &sges[i],
                                      .num_sge = 1};
    }
    rc = ibv_post_recv(lane->qp, wrs, &bad);
    if (rc != 0)
        return -rc;
    lane->receives += count;
    lane->link->receive_calls++;
    return 0;
}

int rdma_post_all_receives(struct rdma_lane *lane)
{
    uint32_t depth = (uint32_t)lane->link->t->options->receive_depth;
    uint32_t numbers[RDMA_REPOST_BATCH], count = 0;
    int rc;

    for (uint32_t i = 0; i < depth; i++) {
        numbers[count++] = i;
        if (count < RDMA_REPOST_BATCH && i + 1 < depth)
            continue;
        rc = post_receives(lane, numbers, count);
        if (rc < 0)
            return rc;
        count = 0;
    }
    return 0;
}

void rdma_lane_repost(struct rdma_lane *lane)
{
    uint32_t count = lane->reposts;
    int rc;

    if (count == 0)
        return;
    lane->reposts = 0;
    rc = post_receives(lane, lane->repost, count);
    if (rc < 0) {
        rdma_link_stop(lane->link, rc, "the device takes no more receives: %s", strerror(-rc));
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        rdma_credit_reposted(&lane->credit);
}

void rdma_lane_consumed(struct rdma_lane *lane, uint32_t receive)
{
    lane->repost[lane->reposts++] = receive;
    if (lane->reposts == RDMA_REPOST_BATCH)
        rdma_lane_repost(lane);
}

/* ---- sends -------------------------------------------------------------------------------- */

/* Posts `wr` and, when there is one, what is chained behind it; `posted` says what they are. */
static int post(struct rdma_lane *lane, struct ibv_send_wr *wr, const struct rdma_posted *posted)
{
    struct ibv_send_wr *bad;
    uint32_t count = 0;
    int rc;

    for (struct ibv_send_wr *w = wr; w != NULL; w = w->next, count++) {
        w->wr_id = rdma_id(lane, lane->head + count);
        if (posted[count].signaled)
            w->send_flags |= IBV_SEND_SIGNALED;
    }
    rc = ibv_post_send(lane->qp, wr, &bad);
    if (rc != 0) {
        /* There is room by our own count, so the queue pair is broken. */
        rdma_link_stop(lane->link, -rc, "the device takes no more work requests: %s", strerror(rc));
        return -ENOTCONN;
    }
    for (uint32_t i = 0; i < count; i++) {
        lane->posted[lane->head++ & lane->posted_mask] = posted[i];
        lane->signaled += posted[i].signaled ? 1 : 0;
        lane->unsignaled = posted[i].signaled ? 0 : lane->unsignaled + 1;
    }
    lane->link->send_calls++;
    return 0;
}

static bool deserves_completion(const struct rdma_lane *lane, enum rdma_kind kind)
{
    return kind == RDMA_GOODBYE || kind == RDMA_REFUSED || kind == RDMA_ARRIVED ||
           lane->unsignaled + 1 >= UNSIGNALED_MAX;
}

static enum rdma_request request_of(enum rdma_kind kind)
{
    switch (kind) {
    case RDMA_GOODBYE:
        return RDMA_REQUEST_GOODBYE;
    case RDMA_REFUSED:
        return RDMA_REQUEST_REFUSED;
    case RDMA_ARRIVED:
        return RDMA_REQUEST_ARRIVED;
    default:
        return RDMA_REQUEST_CONTROL;
    }
}

/* A message in the making: header and payload, inline or in a slot. */
struct outgoing {
    uint8_t header[RDMA_HEADER_BYTES];
    struct ibv_sge sges[2];
    struct ibv_send_wr wr;
    struct rdma_posted posted;
};

static int compose(struct rdma_lane *lane, enum rdma_kind kind, const void *payload,
                   size_t len_bytes, struct outgoing *m)
{
    size_t whole = RDMA_HEADER_BYTES + len_bytes;
    struct rdma_header header = {.kind = kind, .len_bytes = (uint32_t)len_bytes};
    uint8_t *slot;

    m->wr = (struct ibv_send_wr){.sg_list = m->sges, .num_sge = 1, .opcode = IBV_WR_SEND};
    m->posted = (struct rdma_posted){.request = (uint8_t)request_of(kind),
                                     .signaled = deserves_completion(lane, kind)};
    if (whole > lane->inline_bytes && lane->slots_used == lane->slots)
        return -EAGAIN;
    header.credits = rdma_credit_give(&lane->credit);
    rdma_header_pack(&header, m->header);
    if (whole <= lane->inline_bytes) {
        m->sges[0] = (struct ibv_sge){(uintptr_t)m->header, RDMA_HEADER_BYTES, 0};
        m->sges[1] = (struct ibv_sge){(uintptr_t)payload, (uint32_t)len_bytes, 0};
        m->wr.num_sge = len_bytes > 0 ? 2 : 1;
        m->wr.send_flags = IBV_SEND_INLINE;
        return 0;
    }
    slot = lane->memory + (size_t)lane->stride * ((size_t)lane->link->t->options->receive_depth +
                                                  lane->slot_head++ % lane->slots);
    memcpy(slot, m->header, RDMA_HEADER_BYTES);
    if (len_bytes > 0)
        memcpy(slot + RDMA_HEADER_BYTES, payload, len_bytes);
    lane->slots_used++;
    m->posted.uses_slot = true;
    m->sges[0] = (struct ibv_sge){(uintptr_t)slot, (uint32_t)whole, lane->mr->lkey};
    return 0;
}

static bool may_send(const struct rdma_lane *lane, enum rdma_kind kind)
{
    switch (kind) {
    case RDMA_CREDITS:
        return requests_free(lane) >= 1 && rdma_credit_has(&lane->credit, RDMA_CREDIT_RETURN);
    case RDMA_GOODBYE:
    case RDMA_REFUSED:
        return requests_free(lane) >= 1 && rdma_credit_has(&lane->credit, RDMA_CREDIT_GOODBYE);
    default:
        return has_room(lane, 1);
    }
}

int rdma_lane_send(struct rdma_lane *lane, enum rdma_kind kind, const void *payload,
                   size_t len_bytes)
{
    struct outgoing m;
    int rc;

    if (!may_send(lane, kind))
        return -EAGAIN;
    rc = compose(lane, kind, payload, len_bytes, &m);
    if (rc < 0)
        return rc;
    rdma_credit_take(&lane->credit);
    return post(lane, &m.wr, &m.posted);
}

/* ---- writes ------------------------------------------------------------------------------- */

/* The write and, behind it, the message that says that it is in place. */
static int write_and_tell(struct rdma_lane *lane, const struct embar_write *write,
                          struct ibv_send_wr *wr)
{
    struct rdma_posted posted[2] = {{.request = RDMA_REQUEST_PAYLOAD}};
    struct rdma_arrived arrived = {write->immediate, write->len_bytes};
    uint8_t payload[RDMA_ARRIVED_BYTES];
    struct outgoing m;
    int rc;

    rdma_arrived_pack(&arrived, payload);
    rc = compose(lane, RDMA_ARRIVED, payload, sizeof(payload), &m);
    if (rc < 0)
        return rc;
    posted[1] = m.posted;
    posted[1].token = write->token;
    posted[1].len_bytes = (uint32_t)write->len_bytes;
    wr->opcode = IBV_WR_RDMA_WRITE;
    wr->next = &m.wr;
    rdma_credit_take(&lane->credit);
    return post(lane, wr, posted);
}

int rdma_lane_write(struct rdma_lane *lane, const struct embar_write *write, uint32_t lkey,
                    uint32_t rkey)
{
    bool by_send = rdma_device_arrival_by_send(lane->link->device);
    struct ibv_sge sge = {
        .addr = write->offset, .length = (uint32_t)write->len_bytes, .lkey = lkey};
    struct ibv_send_wr wr = {
        .sg_list = &sge,
        .num_sge = 1,
        .opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
        .imm_data = htobe32(write->immediate),
        .wr.rdma = {.remote_addr = write->key.base + write->remote_offset, .rkey = rkey},
    };
    struct rdma_posted posted = {.token = write->token,
                                 .len_bytes = (uint32_t)write->len_bytes,
                                 .request = RDMA_REQUEST_WRITE,
                                 .signaled = true};

    if (!has_room(lane, by_send ? 2 : 1))
        return -EAGAIN;
    if (by_send)
        return write_and_tell(lane, write, &wr);
    rdma_credit_take(&lane->credit);
    return post(lane, &wr, &posted);
}

int rdma_lane_probe(struct rdma_lane *lane)
{
    struct rdma_posted posted = {.request = RDMA_REQUEST_PROBE, .signaled = true};
    /* Of no bytes, so neither key nor address is looked at (InfiniBand C9-88), no receive is
     * consumed and no program of the peer is asked: its device alone acknowledges. */
    struct ibv_send_wr wr = {.opcode = IBV_WR_RDMA_WRITE};

    if (requests_free(lane) < 1)
        return -EAGAIN;
    return post(lane, &wr, &posted);
}

int rdma_lane_bind(struct rdma_lane *lane, struct ibv_mw *window, uint32_t rkey, struct ibv_mr *mr,
                   size_t len_bytes)
{
    struct rdma_posted posted = {.request = RDMA_REQUEST_BIND, .signaled = true};
    struct ibv_send_wr wr = {
        .opcode = IBV_WR_BIND_MW,
        .bind_mw = {.mw = window,
                    .rkey = rkey,
                    .bind_info = {.mr = mr,
                                  .addr = 0,
                                  .length = len_bytes,
                                  .mw_access_flags = IBV_ACCESS_REMOTE_WRITE}},
    };

    if (requests_free(lane) < 1)
        return -EAGAIN;
    return post(lane, &wr, &posted);
}
