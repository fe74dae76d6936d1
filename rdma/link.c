/*
 * The life of a link once its lanes are under way: up, signs of life, the orderly end and the other
 * one. Queue pairs are always stopped and flushed before anything is freed, so that each write is
 * reported just once with what became of it. Runs on the transport's thread.
 */
#include "link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cm.h"
#include "common/diag.h"
#include "common/log.h"
#include "common/text.h"
#include "timing.h"
#include "transport.h"

/* How long a stopped queue pair may take to give back what was posted. */
#define FLUSH_NS (2 * NS_PER_S)
/* How long an orderly end waits for the CM of the peer, so that it learns of it for sure. */
#define LINGER_NS (300 * NS_PER_MS)
/* How often a request that waits for an answer is looked at. */
#define REQUEST_NS (100 * NS_PER_MS)
/* How long a peer may take from its goodbye to its end. */
#define GOODBYE_NS (2 * NS_PER_S)

void rdma_link_init(struct rdma_link *l, struct embar_link *link, struct rdma_transport *t,
                    enum rdma_phase phase)
{
    l->link = link;
    l->t = t;
    l->phase = phase;
    l->deadline_ns =
        rdma_now(t) + (phase == RDMA_LINK_REQUESTED ? REQUEST_NS : t->options->connect_timeout_ns);
    for (unsigned i = 0; i < RDMA_LANES_MAX; i++) {
        l->lanes[i].link = l;
        l->lanes[i].index = i;
    }
    LIST_INSERT_HEAD(&t->links, l, node);
}

int rdma_link_open_queue(struct rdma_link *l, struct embar_diag *diag)
{
    const struct rdma_options *o = l->t->options;
    unsigned entries =
        l->lane_count * (rdma_lane_send_requests(l->device) + (unsigned)o->receive_depth);

    l->cq = ibv_create_cq(l->device->context, (int)entries, l, l->device->channel, 0);
    if (l->cq == NULL)
        return diag_fail(diag, errno, "device %s gives no completion queue of %u entries: %s",
                         rdma_device_name(l->device), entries, strerror(errno));
    return 0;
}

void rdma_link_count_registration(struct rdma_link *l)
{
    if (l->phase == RDMA_LINK_UP)
        l->registrations++;
}

/* ---- up ----------------------------------------------------------------------------------- */

static unsigned lane_port(const struct rdma_link *l)
{
    return l->lanes[0].id->port_num;
}

/* Since the link came up; the device counts for all that use it. */
static uint64_t rnr_count(const struct rdma_link *l)
{
    if (!rdma_link_was_up(l) || l->phase == RDMA_LINK_DOWN)
        return l->rnr;
    return rdma_device_rnr_count(l->device, lane_port(l)) - l->rnr_before;
}

static void describe(struct rdma_link *l)
{
    snprintf(l->how, sizeof(l->how), "device %s, path MTU %u, keys by memory %s, arrivals by %s",
             rdma_device_name(l->device), 128u << l->lanes[0].path_mtu,
             rdma_device_key_by_window(l->device) ? "window" : "region",
             rdma_device_arrival_by_send(l->device) ? "send" : "immediate");
}

static void log_up(const struct rdma_link *l)
{
    const struct rdma_options *o = l->t->options;
    uint8_t code = rdma_ack_timeout_code(o->ack_timeout_ns);

    log_info("link %" PRIu64 ": %s, %u lane%s, %" PRIu32
             " bytes inline; what nobody acknowledges is repeated for about %" PRIu64
             " ms (%" PRId64 " retries of %" PRIu64 " ms), and %" PRIu64
             " ms of silence end the link",
             embar_link_id(l->link), l->how, l->lane_count, l->lane_count == 1 ? "" : "s",
             l->lanes[0].inline_bytes, rdma_ms(rdma_dead_cable_ns(code, (uint8_t)o->retry_count)),
             o->retry_count, rdma_ms(rdma_ack_timeout_ns(code)), rdma_ms(o->liveness_ns));
}

static void link_up(struct rdma_link *l)
{
    l->phase = RDMA_LINK_UP;
    l->deadline_ns = 0;
    l->last_sign_ns = l->wait_since_ns = rdma_now(l->t);
    l->rnr_before = rdma_device_rnr_count(l->device, lane_port(l));
    rdma_listen_put(l->listen);
    l->listen = NULL;
    describe(l);
    log_up(l);
    core_link_up(l->link);
}

static void tell_refusal(struct rdma_link *l)
{
    int rc = rdma_lane_send(&l->lanes[0], RDMA_REFUSED, l->reason, strlen(l->reason));

    if (rc < 0)
        rdma_link_stop(l, 0, "refused: %s", l->reason);
}

void rdma_link_lane_established(struct rdma_lane *lane)
{
    struct rdma_link *l = lane->link;

    lane->established = true;
    if (l->phase == RDMA_LINK_REFUSING) {
        tell_refusal(l);
        return;
    }
    if (l->phase != RDMA_LINK_CONNECTING)
        return;
    for (unsigned i = 0; i < l->lane_count; i++) {
        if (!l->lanes[i].established) {
            if (l->active && l->lanes[i].id == NULL)
                rdma_connect_lane(l, i);
            return;
        }
    }
    link_up(l);
}

/* ---- ending ------------------------------------------------------------------------------- */

static bool lanes_are_empty(const struct rdma_link *l)
{
    for (unsigned i = 0; i < l->lane_count; i++) {
        if (!rdma_lane_is_empty(&l->lanes[i]))
            return false;
    }
    return true;
}

static bool lanes_are_disconnected(const struct rdma_link *l)
{
    for (unsigned i = 0; i < l->lane_count; i++) {
        if (l->lanes[i].established && !l->lanes[i].disconnected)
            return false;
    }
    return true;
}

/* Nothing is left of the link afterwards but its struct. */
static void release(struct rdma_link *l)
{
    l->rnr = rnr_count(l);
    /* A window holds on to its queue pair. */
    rdma_exposure_release(&l->exposure);
    for (unsigned i = 0; i < RDMA_LANES_MAX; i++)
        rdma_lane_close(&l->lanes[i]);
    if (l->cq != NULL && ibv_destroy_cq(l->cq) != 0)
        log_error("rdma: a completion queue cannot be freed: %s", strerror(errno));
    l->cq = NULL;
    rdma_listen_put(l->listen);
    l->listen = NULL;
    l->phase = RDMA_LINK_DOWN;
    LIST_REMOVE(l, node);
}

/* The end of every link but those that core gives up with the whole transport. */
static void finish(struct rdma_link *l)
{
    rdma_link_cancel(l);
    release(l);
    core_link_down(l->link, l->status, "%s", l->why);
}

static void flush(struct rdma_link *l)
{
    l->phase = RDMA_LINK_FLUSHING;
    l->deadline_ns = rdma_now(l->t) + (l->status == 0 ? LINGER_NS : FLUSH_NS);
    for (unsigned i = 0; i < l->lane_count; i++)
        rdma_lane_stop(&l->lanes[i]);
}

void rdma_link_stop(struct rdma_link *l, int status, const char *fmt, ...)
{
    bool carried = l->phase >= RDMA_LINK_REFUSING;
    char why[RDMA_WHY_BYTES];
    va_list args;

    if (l->phase >= RDMA_LINK_FLUSHING)
        return;
    va_start(args, fmt);
    text_vformat(why, sizeof(why), fmt, args);
    va_end(args);
    l->status = status;
    if (l->peer_goodbye) { /* it may leave in whatever way its device shows it */
        l->status = 0;
        text_format(l->why, sizeof(l->why), "the peer ended the link");
    } else if (l->active && !rdma_link_was_up(l)) {
        text_format(l->why, sizeof(l->why), "no link to %s over RDMA: %s", embar_link_peer(l->link),
                    why);
    } else {
        text_format(l->why, sizeof(l->why), "%s", why);
    }
    if (carried)
        flush(l);
    else
        finish(l);
}

static bool all_sent(const struct rdma_link *l)
{
    for (unsigned i = 0; i < l->lane_count; i++) {
        if (l->lanes[i].head != l->lanes[i].tail)
            return false;
    }
    return true;
}

void rdma_link_settle(struct rdma_link *l, uint64_t now_ns)
{
    if (l->phase == RDMA_LINK_ENDING && all_sent(l))
        rdma_link_stop(l, 0, "this side ended the link");
    if (l->phase == RDMA_LINK_REFUSING && l->refusal_sent)
        rdma_link_stop(l, 0, "refused: %s", l->reason);
    if (l->phase != RDMA_LINK_FLUSHING)
        return;
    /* Nobody is to be told when the link has failed: the peer has its own signs of it. */
    if (lanes_are_empty(l) && (l->status != 0 || lanes_are_disconnected(l))) {
        finish(l);
    } else if (now_ns >= l->deadline_ns) {
        if (!lanes_are_empty(l))
            log_warn("link %" PRIu64 ": device %s has not given back all work requests",
                     embar_link_id(l->link), rdma_device_name(l->device));
        finish(l);
    }
}

/* The last message, and a completion for everything before it. */
static void say_goodbye(struct rdma_link *l)
{
    l->phase = RDMA_LINK_ENDING;
    l->deadline_ns = rdma_now(l->t) + l->t->options->disconnect_timeout_ns;
    if (rdma_lane_send(&l->lanes[0], RDMA_GOODBYE, NULL, 0) < 0)
        rdma_lane_probe(&l->lanes[0]);
    for (unsigned i = 1; i < l->lane_count; i++) {
        if (l->lanes[i].unsignaled > 0)
            rdma_lane_probe(&l->lanes[i]);
    }
}

static void link_disconnect(struct embar_link *link)
{
    struct rdma_link *l = link_private(link);

    switch (l->phase) {
    case RDMA_LINK_UP:
        say_goodbye(l);
        break;
    case RDMA_LINK_REQUESTED:
    case RDMA_LINK_CONNECTING:
    case RDMA_LINK_REFUSED:
        rdma_link_stop(l, 0, "this side ended the link before it was up");
        break;
    default: /* ends already */
        break;
    }
}

/* Queue pairs are destroyed unflushed: after that no device touches a buffer or completes anything.
 */
static void link_abort(struct embar_link *link)
{
    struct rdma_link *l = link_private(link);

    l->status = -ECONNABORTED;
    snprintf(l->why, sizeof(l->why), "aborted by this side");
    for (unsigned i = 0; i < l->lane_count; i++)
        rdma_lane_stop(&l->lanes[i]);
    finish(l);
}

void rdma_link_peer_left(struct rdma_lane *lane)
{
    struct rdma_link *l = lane->link;

    lane->disconnected = true;
    /* All that came before is in the completion queue. */
    if (rdma_link_is_polled(l)) {
        while (rdma_link_poll(l, 64) > 0)
            ;
    }
    switch (l->phase) {
    case RDMA_LINK_REFUSED:
        rdma_link_stop(l, -ECONNREFUSED, "the peer refused it: %s",
                       l->reason[0] != '\0' ? l->reason : "it gave no reason");
        break;
    case RDMA_LINK_REFUSING:
        rdma_link_stop(l, 0, "refused: %s", l->reason);
        break;
    case RDMA_LINK_ENDING:
        rdma_link_stop(l, all_sent(l) ? 0 : -ECONNRESET,
                       "the peer was gone before all messages were delivered");
        break;
    default:
        rdma_link_stop(l, -ECONNRESET,
                       "the peer's end is gone without a goodbye: its process "
                       "ended or was killed");
        break;
    }
}

/* ---- time --------------------------------------------------------------------------------- */

static bool awaits_completion(const struct rdma_link *l)
{
    for (unsigned i = 0; i < l->lane_count; i++) {
        if (l->lanes[i].signaled > 0)
            return true;
    }
    return false;
}

/* A probe goes out after a third of the time; the rest of it is for the answer, so that a dead peer
 * is noticed within the whole. */
static void watch_life(struct rdma_link *l, uint64_t now_ns)
{
    uint64_t liveness_ns = l->t->options->liveness_ns;

    if (l->completions != l->completions_seen) {
        l->completions_seen = l->completions;
        l->last_sign_ns = l->wait_since_ns = now_ns;
    } else if (!awaits_completion(l)) {
        l->wait_since_ns = now_ns;
        if (now_ns - l->last_sign_ns < liveness_ns / 3)
            return;
        for (unsigned i = 0; i < l->lane_count; i++)
            rdma_lane_probe(&l->lanes[i]);
    } else if (now_ns - l->wait_since_ns >= liveness_ns - liveness_ns / 3) {
        rdma_link_stop(l, -ETIMEDOUT,
                       "the peer's device has acknowledged nothing for %" PRIu64
                       " ms (rdma.liveness): its host is dead or the network between is cut",
                       rdma_ms(now_ns - l->last_sign_ns));
    }
}

static void out_of_time(struct rdma_link *l)
{
    switch (l->phase) {
    case RDMA_LINK_ENDING:
        rdma_link_stop(l, -ETIMEDOUT,
                       "the peer did not take all messages within rdma.disconnect_timeout");
        break;
    case RDMA_LINK_REFUSING:
        rdma_link_stop(l, 0, "refused: %s", l->reason);
        break;
    case RDMA_LINK_UP: /* the peer has said goodbye and not gone */
        rdma_link_stop(l, 0, "the peer ended the link");
        break;
    default:
        rdma_link_stop(l, -ETIMEDOUT,
                       "no link within rdma.connect_timeout (%" PRIu64
                       " ms): is the peer's program running, and does UDP port "
                       "4791 pass between "
                       "the hosts?",
                       rdma_ms(l->t->options->connect_timeout_ns));
        break;
    }
}

/* The kernel does not tell that a peer has given up before it was answered, but a request that is
 * no longer one has no queue pair attributes. */
static void watch_request(struct rdma_link *l, uint64_t now_ns)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR};
    int mask;

    if (now_ns < l->deadline_ns)
        return;
    l->deadline_ns = now_ns + REQUEST_NS;
    if (rdma_init_qp_attr(l->lanes[0].id, &attr, &mask) != 0)
        rdma_link_stop(l, -ECONNABORTED, "the peer gave up before its request was answered");
}

void rdma_link_tick(struct rdma_link *l, uint64_t now_ns)
{
    if (l->phase == RDMA_LINK_REQUESTED) {
        watch_request(l, now_ns);
        return;
    }
    if (l->peer_goodbye && l->phase == RDMA_LINK_UP && l->deadline_ns == 0)
        l->deadline_ns = now_ns + GOODBYE_NS;
    if (l->phase == RDMA_LINK_UP && !l->peer_goodbye)
        watch_life(l, now_ns);
    if (l->phase < RDMA_LINK_FLUSHING && l->deadline_ns != 0 && now_ns >= l->deadline_ns) {
        out_of_time(l);
        if (l->phase == RDMA_LINK_DOWN)
            return;
    }
    rdma_link_settle(l, now_ns);
}

uint64_t rdma_link_due_ns(const struct rdma_link *l)
{
    uint64_t liveness_ns = l->t->options->liveness_ns;

    if (l->deadline_ns != 0)
        return l->deadline_ns;
    if (awaits_completion(l))
        return l->wait_since_ns + liveness_ns - liveness_ns / 3;
    return l->last_sign_ns + liveness_ns / 3;
}

/* ---- the rest ----------------------------------------------------------------------------- */

static void link_destroy(struct embar_link *link)
{
    struct rdma_link *l = link_private(link);

    /* Only a link that core gave up with the whole transport still has something. */
    if (l->phase != RDMA_LINK_DOWN)
        release(l);
}

static void link_stats(const struct embar_link *link, struct embar_link_stats *stats)
{
    const struct rdma_link *l = link_private(link);

    stats->send_calls = l->send_calls;
    stats->receive_calls = l->receive_calls;
    stats->registrations = l->registrations;
    stats->receiver_not_ready = rnr_count(l);
    stats->lanes = l->lane_count;
    stats->send_mode = "rdma-write";
    snprintf(stats->send_mode_why, sizeof(stats->send_mode_why), "%s", l->how);
}

const struct backend_link_ops rdma_link_ops = {
    .connect = rdma_link_connect,
    .accept = rdma_link_accept,
    .reject = rdma_link_reject,
    .disconnect = link_disconnect,
    .abort = link_abort,
    .destroy = link_destroy,
    .stats = link_stats,
};
