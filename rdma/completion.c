/*
 * What comes out of a link's completion queue: writes done, messages, arrivals, and the signs that
 * something broke. Everything that a peer sent is checked here; what it may not send ends its link.
 * Runs on the transport's thread.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "link.h"
#include "transport.h"
#include "wc_text.h"

#define POLL_BATCH 16

/* ---- the send queue ----------------------------------------------------------------------- */

static void end_request(struct rdma_lane *lane, const struct rdma_posted *posted, int status)
{
    struct rdma_link *l = lane->link;

    lane->signaled -= posted->signaled ? 1 : 0;
    lane->slots_used -= posted->uses_slot ? 1 : 0;
    switch ((enum rdma_request)posted->request) {
    case RDMA_REQUEST_WRITE:
        core_write_done(l->link, posted->token, posted->len_bytes, status);
        break;
    case RDMA_REQUEST_PAYLOAD:
        lane->payload_status = status;
        break;
    case RDMA_REQUEST_ARRIVED:
        if (lane->payload_status != 0)
            status = lane->payload_status;
        lane->payload_status = 0;
        core_write_done(l->link, posted->token, posted->len_bytes, status);
        break;
    case RDMA_REQUEST_BIND:
        l->exposure.binds--;
        break;
    case RDMA_REQUEST_REFUSED:
        l->refusal_sent = true;
        break;
    case RDMA_REQUEST_CONTROL:
    case RDMA_REQUEST_GOODBYE:
    case RDMA_REQUEST_PROBE:
        break;
    }
}

/* A queue pair completes in order: what was posted before `number` has succeeded, too. */
static void sends_completed(struct rdma_lane *lane, uint32_t number, int status)
{
    while (lane->tail != number + 1 && lane->tail != lane->head) {
        struct rdma_posted posted = lane->posted[lane->tail & lane->posted_mask];
        lane->tail++;
        end_request(lane, &posted, lane->tail == number + 1 ? status : 0);
    }
}

void rdma_link_cancel(struct rdma_link *l)
{
    for (unsigned i = 0; i < l->lane_count; i++) {
        struct rdma_lane *lane = &l->lanes[i];
        while (lane->tail != lane->head) {
            struct rdma_posted posted = lane->posted[lane->tail & lane->posted_mask];
            lane->tail++;
            end_request(lane, &posted, -ECANCELED);
        }
    }
}

/* ---- messages ----------------------------------------------------------------------------- */

static void violation(struct rdma_link *l, const char *what)
{
    rdma_link_stop(l, -EPROTO, "the peer broke the protocol: %s", what);
}

static void arrived(struct rdma_link *l, uint32_t immediate, uint64_t len_bytes)
{
    if (!l->was_exposed)
        violation(l, "it reports a write, but nothing was ever exposed to it");
    else if (len_bytes == 0)
        violation(l, "it reports a write of no bytes");
    else if (l->exposure.buffer != NULL && len_bytes > buffer_size(l->exposure.buffer))
        violation(l, "it reports a write longer than the exposed buffer");
    else
        core_arrival(l->link, immediate, len_bytes);
}

static void take_refusal(struct rdma_link *l, const uint8_t *payload, uint32_t len_bytes)
{
    if (l->phase != RDMA_LINK_REFUSED) {
        violation(l, "it refuses a link that it has accepted");
        return;
    }
    memcpy(l->reason, payload, len_bytes);
    l->reason[len_bytes] = '\0';
}

/* Those of lane 0, which carries all but credits and arrivals. */
static void take_control(struct rdma_link *l, const struct rdma_header *header,
                         const uint8_t *payload)
{
    switch (header->kind) {
    case RDMA_MESSAGE:
        core_message(l->link, payload, header->len_bytes);
        break;
    case RDMA_GOODBYE:
        l->peer_goodbye = true;
        break;
    case RDMA_KEYS:
        l->peer_keys.lanes = l->lane_count;
        if (rdma_keys_unpack(payload, header->len_bytes, &l->peer_keys) < 0)
            violation(l, "its keys are not one for each lane");
        break;
    default:
        take_refusal(l, payload, header->len_bytes);
        break;
    }
}

static void take_message(struct rdma_lane *lane, const uint8_t *data, uint32_t len_bytes)
{
    const uint8_t *payload = data + RDMA_HEADER_BYTES;
    struct rdma_link *l = lane->link;
    struct rdma_arrived write;
    struct rdma_header header;

    if (rdma_header_unpack(data, len_bytes, &header) < 0) {
        violation(l, "the header of a control message is wrong");
        return;
    }
    if (rdma_credit_got(&lane->credit, header.credits) < 0) {
        violation(l, "it gives back more receives than it has");
        return;
    }
    if (header.kind == RDMA_CREDITS)
        return;
    if (l->phase == RDMA_LINK_REFUSED && header.kind != RDMA_REFUSED) {
        violation(l, "it uses a link that it refuses");
    } else if (header.kind == RDMA_ARRIVED) {
        if (rdma_arrived_unpack(payload, header.len_bytes, &write) == 0)
            arrived(l, write.immediate, write.len_bytes);
    } else if (lane->index != 0) {
        violation(l, "a control message came over a lane that carries none");
    } else {
        take_control(l, &header, payload);
    }
}

static void receive_completed(struct rdma_lane *lane, const struct ibv_wc *wc)
{
    uint32_t receive = rdma_id_number(wc->wr_id);
    struct rdma_link *l = lane->link;

    /* Nobody is interested any more in what a broken link brings. */
    if (l->phase == RDMA_LINK_FLUSHING && l->status != 0)
        return;
    if (wc->opcode == IBV_WC_RECV_RDMA_WITH_IMM && l->phase != RDMA_LINK_REFUSED)
        arrived(l, be32toh(wc->imm_data), wc->byte_len);
    else if (wc->opcode == IBV_WC_RECV)
        take_message(lane, rdma_lane_receive(lane, receive), wc->byte_len);
    else
        violation(l, "it sent something that is neither a message nor a write");
    if (l->phase != RDMA_LINK_FLUSHING)
        rdma_lane_consumed(lane, receive);
}

/* ---- completions -------------------------------------------------------------------------- */

static int status_of(enum ibv_wc_status status)
{
    return -rdma_wc_text(status).error;
}

/* A device that finds a peer asking for what it may not have stops the queue pair. Some say so with
 * the receive that the request would have consumed, others only flush. */
static void stopped_by_device(struct rdma_link *l)
{
    rdma_link_stop(l, -EACCES,
                   "device %s stopped the queue pair: the peer asked for something it may not do, "
                   "such as a write with a wrong, withdrawn or out-of-bounds key",
                   rdma_device_name(l->device));
}

/* The first failure tells what happened; the flushed requests that follow tell nothing. */
static void failed(struct rdma_link *l, const struct ibv_wc *wc, bool is_receive)
{
    if (l->phase == RDMA_LINK_FLUSHING || wc->status == IBV_WC_WR_FLUSH_ERR)
        return;
    if (is_receive && wc->status == IBV_WC_REM_ACCESS_ERR)
        stopped_by_device(l);
    else
        rdma_link_stop(l, status_of(wc->status), "%s (device %s: %s, vendor code 0x%x)",
                       rdma_wc_text(wc->status).sentence, rdma_device_name(l->device),
                       ibv_wc_status_str(wc->status), wc->vendor_err);
}

/* Returns whether the request was flushed, which means that the queue pair has stopped. */
static bool completed(struct rdma_link *l, const struct ibv_wc *wc)
{
    struct rdma_lane *lane = &l->lanes[rdma_id_lane(wc->wr_id)];
    bool is_receive = (wc->wr_id & RDMA_ID_RECEIVE) != 0;

    l->completions += wc->status == IBV_WC_SUCCESS ? 1 : 0;
    if (wc->status != IBV_WC_SUCCESS)
        failed(l, wc, is_receive);
    if (is_receive) {
        lane->receives--;
        if (wc->status == IBV_WC_SUCCESS)
            receive_completed(lane, wc);
    } else {
        sends_completed(lane, rdma_id_number(wc->wr_id), status_of(wc->status));
    }
    return wc->status == IBV_WC_WR_FLUSH_ERR;
}

/* After a batch of completions: what they make possible or necessary. */
static void follow_up(struct rdma_link *l)
{
    if (l->phase != RDMA_LINK_UP && l->phase != RDMA_LINK_ENDING && l->phase != RDMA_LINK_REFUSED)
        return;
    for (unsigned i = 0; i < l->lane_count; i++) {
        struct rdma_lane *lane = &l->lanes[i];
        rdma_lane_repost(lane);
        if (l->phase != RDMA_LINK_FLUSHING && rdma_credit_return_due(&lane->credit))
            rdma_lane_send(lane, RDMA_CREDITS, NULL, 0); /* or with the next completion */
    }
    if (l->phase == RDMA_LINK_UP)
        rdma_exposure_announce(l);
}

int rdma_link_poll(struct rdma_link *l, int budget)
{
    struct ibv_wc wcs[POLL_BATCH];
    bool flushed = false;
    int total = 0, count;

    do {
        count = ibv_poll_cq(l->cq, POLL_BATCH, wcs);
        if (count < 0) {
            rdma_link_stop(l, -EIO, "device %s no longer hands out completions",
                           rdma_device_name(l->device));
            break;
        }
        for (int i = 0; i < count; i++)
            flushed |= completed(l, &wcs[i]);
        if (count > 0)
            follow_up(l);
        total += count;
    } while (count == POLL_BATCH && total < budget);
    /* Flushed without a failure of our own. */
    if (flushed && l->phase != RDMA_LINK_FLUSHING)
        stopped_by_device(l);
    return total;
}
