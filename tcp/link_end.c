/*
 * How links end. In order: what was accepted goes out, then a last frame, then this side closes and
 * reads on, dropping what comes, until the peer has closed too, because closing with unread bytes
 * would reset the connection and destroy what is still on its way. Otherwise: the connection is
 * reset, so that the kernel lets go of every source, and only when it has are the writes reported.
 * Spliced sources may also lie in the receive queue of a peer on this host: they are held until the
 * peer has closed, or the reset has reached it (docs/decisions/014). Runs on the transport's
 * thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/text.h"
#include "socket.h"
#include "tcp.h"

/* How often the error queue of a reset connection is looked at, and for how long before the link
 * goes down all the same: a device that holds pages longer than that has hung. */
#define DRAIN_STEP_NS (1 * NS_PER_MS)
#define DRAIN_MAX_NS  (5 * NS_PER_S)
#define ABORT_STEPS   10 /* milliseconds */

/* A reset travels within the host in the same instant, at worst after a turn of its softirqs. */
#define RESET_NS (2 * NS_PER_MS)

__attribute__((format(printf, 3, 0))) static void settle_end(struct tcp_link *link, int status,
                                                             const char *fmt, va_list args)
{
    if (link->has_end)
        return;
    link->has_end = true;
    link->end_status = status;
    text_vformat(link->end_reason, sizeof(link->end_reason), fmt, args);
}

/* An end in order that then fails is not one in order. */
static void reconsider_end(struct tcp_link *link)
{
    if (!link->ended_by_peer)
        link->has_end = link->has_end && link->end_status != 0;
}

static uint32_t outstanding(const struct tcp_link *link)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < link->lane_count; i++)
        count += tcp_zerocopy_outstanding(&link->lanes[i].tx.zerocopy);
    return count;
}

void tcp_lane_peer_is_done(struct tcp_lane *lane, bool in_order)
{
    lane->peer_done = true;
    if (in_order)
        tcp_sender_peer_is_done(&lane->tx);
}

static bool is_unplaced(const struct tcp_lane *lane)
{
    return !lane->peer_done && tcp_sender_unplaced(&lane->tx) > 0;
}

static bool any_unplaced(const struct tcp_link *link)
{
    for (uint32_t i = 0; i < link->lane_count; i++) {
        if (is_unplaced(&link->lanes[i]))
            return true;
    }
    return false;
}

static bool is_unreachable(int status)
{
    return status == -ETIMEDOUT || status == -ENETUNREACH || status == -EHOSTUNREACH;
}

/* Of a peer that cannot be reached a reset says nothing: its own kernel has to find that out. */
static uint64_t hold_time(const struct tcp_link *link)
{
    return link->unreachable ? link->transport->settings->close_timeout_ns : RESET_NS;
}

/* Resets the lanes and takes the completions that this frees. Returns whether all came and no
 * peer reads sources any more. */
static bool release_sources(struct tcp_link *link)
{
    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[i];

        if (lane->fd < 0 ||
            (tcp_zerocopy_outstanding(&lane->tx.zerocopy) == 0 && !is_unplaced(lane)))
            continue;
        tcp_sender_close_pipe(&lane->tx);
        if (!link->aborted)
            tcp_socket_abort(lane->fd);
        /* Errors of the connection are of no interest any more. */
        (void)tcp_sender_take_completions(&lane->tx, link->transport->now_ns);
        tcp_sender_reap(&lane->tx, tcp_lane_write_over, lane);
    }
    link->aborted = true;
    if (link->hold_ns == 0 && any_unplaced(link))
        link->hold_ns = tcp_transport_now(link->transport) + hold_time(link);
    return outstanding(link) == 0 &&
           (link->hold_ns == 0 || tcp_transport_now(link->transport) >= link->hold_ns);
}

static void log_held_pages(const struct tcp_link *link)
{
    log_error("link %" PRIu64 ": a network device still holds the pages of %" PRIu32
              " sends of a connection that was reset",
              embar_link_id(link->link), outstanding(link));
}

static void go_down(struct tcp_link *link)
{
    tcp_spread_log(link);
    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[i];

        tcp_sender_reap(&lane->tx, tcp_lane_write_over, lane);
        tcp_sender_cancel(&lane->tx, true, -ECANCELED, tcp_lane_write_over, lane);
        tcp_lane_close(lane, link->end_status != 0);
        tcp_lane_stop_thread(lane);
    }
    if (link->addresses != NULL)
        freeaddrinfo(link->addresses);
    link->addresses = NULL;
    link->deadline_ns = 0;
    tcp_list_remove(&link->in_links);
    tcp_link_set_state(link, TCP_LINK_DOWN);
    core_link_down(link->link, link->end_status, "%s", link->end_reason);
}

/* Epoll always reports a reset socket, so it is looked at by the clock instead. */
static void begin_draining(struct tcp_link *link)
{
    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[i];

        tcp_lane_forget(lane);
        if (lane->fd >= 0)
            epoll_ctl(link->transport->epoll_fd, EPOLL_CTL_DEL, lane->fd, NULL);
    }
    link->limit_ns = tcp_transport_now(link->transport) + DRAIN_MAX_NS;
    if (link->limit_ns < link->hold_ns)
        link->limit_ns = link->hold_ns;
    tcp_link_set_state(link, TCP_LINK_DRAINING);
    tcp_link_set_deadline(link, link->transport->now_ns + DRAIN_STEP_NS);
}

void tcp_link_end(struct tcp_link *link, int status, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    settle_end(link, status, fmt, args);
    va_end(args);
    link->unreachable |= is_unreachable(status); /* also when another cause came first */
    tcp_link_recall(link);
    if (link->state == TCP_LINK_DOWN || link->state == TCP_LINK_DRAINING)
        return;
    if ((outstanding(link) == 0 && !any_unplaced(link)) || release_sources(link))
        go_down(link);
    else
        begin_draining(link);
}

/* The contract of an abort leaves no time to come back later. A reset frees what the kernel has
 * queued at once; only pages in the hands of a network device take longer, usually microseconds. */
void tcp_link_abort(struct tcp_link *link)
{
    tcp_link_recall(link);
    reconsider_end(link);
    if (!link->has_end) {
        link->has_end = true;
        link->end_status = -ECONNABORTED;
        snprintf(link->end_reason, sizeof(link->end_reason), "this side aborted the link");
    }
    for (int i = 0; !release_sources(link) && i < ABORT_STEPS; i++)
        poll(NULL, 0, 1);
    if (outstanding(link) > 0)
        log_held_pages(link);
    go_down(link);
}

static void go_on_draining(struct tcp_link *link)
{
    if (release_sources(link)) {
        go_down(link);
    } else if (link->transport->now_ns >= link->limit_ns) {
        log_held_pages(link);
        go_down(link);
    } else {
        tcp_link_set_deadline(link, link->transport->now_ns + DRAIN_STEP_NS);
    }
}

/* ---- in order ------------------------------------------------------------------------------- */

static uint64_t unacked_of(const struct tcp_link *link)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < link->lane_count; i++)
        bytes += tcp_socket_unacked(link->lanes[i].fd);
    return bytes;
}

static void set_close_deadline(struct tcp_link *link)
{
    struct tcp_transport *t = link->transport;

    link->unacked_bytes = unacked_of(link);
    tcp_link_set_deadline(link, tcp_transport_now(t) + t->settings->close_timeout_ns);
}

void tcp_link_finish(struct tcp_link *link, const struct tcp_frame *last, const char *payload,
                     int status, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    settle_end(link, status, fmt, args);
    va_end(args);
    link->last_type = last->type;
    tcp_link_recall(link);
    tcp_link_set_state(link, TCP_LINK_ENDING);
    set_close_deadline(link);
    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[i];

        if (lane->fd < 0)
            continue;
        /* The ring keeps room for one such frame, and only one is ever queued. */
        (void)tcp_sender_control(&lane->tx, last, payload);
        lane->rx.discard = true;
        tcp_lane_set_interest(lane, lane->interest | EPOLLIN);
    }
    for (uint32_t i = 0; i < link->lane_count && link->state == TCP_LINK_ENDING; i++) {
        tcp_lane_send(&link->lanes[i]);
        tcp_lane_wake(&link->lanes[i]);
    }
}

/* Epoll reports a connection that is closed both ways as long as it lives; nothing is to be learned
 * from it any more, but that another lane is still open. */
static void look_away_when_over(struct tcp_lane *lane)
{
    if (lane->shut && lane->closed)
        tcp_lane_set_interest(lane, EPOLLONESHOT);
}

/* Nothing more is sent on the lane. */
static void shut(struct tcp_lane *lane)
{
    if (lane->shut || lane->fd < 0)
        return;
    /* Fails only when the peer has reset the connection, which receiving will tell. */
    (void)shutdown(lane->fd, SHUT_WR);
    lane->shut = true;
    look_away_when_over(lane);
}

/* Nothing more is sent on any lane; waits for the peer to close them. */
static void linger(struct tcp_link *link)
{
    tcp_link_set_state(link, TCP_LINK_LINGERING);
    for (uint32_t i = 0; i < link->lane_count; i++) {
        link->lanes[i].readable = true;
        tcp_lane_wake(&link->lanes[i]);
    }
}

void tcp_link_end_sent(struct tcp_link *link)
{
    bool pending = false;

    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[i];

        if (lane->fd >= 0 && tcp_sender_pending(&lane->tx))
            pending = true;
        else if (link->last_type != TCP_FRAME_REJECT)
            shut(lane);
    }
    if (!pending && link->last_type == TCP_FRAME_REJECT) {
        /* Nothing but the REQUEST was ever received: no unread bytes, closing is safe. */
        tcp_link_end(link, 0, "the link was refused");
        return;
    }
    set_close_deadline(link); /* bytes were taken */
    if (!pending)
        linger(link);
}

void tcp_link_end_timeout(struct tcp_link *link)
{
    uint64_t unacked;

    if (link->state == TCP_LINK_DRAINING) {
        go_on_draining(link);
        return;
    }
    unacked = unacked_of(link);
    if (unacked < link->unacked_bytes) {
        set_close_deadline(link); /* slow, but it takes them */
    } else if (link->state == TCP_LINK_ENDING || unacked > 0 || any_unplaced(link)) {
        reconsider_end(link);
        tcp_link_end(link, -ETIMEDOUT,
                     "%s did not take what was still to be delivered; given up after "
                     "tcp.close_timeout",
                     embar_link_peer(link->link));
    } else {
        tcp_link_end(link, 0, "this side ended the link");
    }
}

static bool all_said_bye(const struct tcp_link *link)
{
    for (uint32_t i = 0; i < link->lane_count; i++) {
        if (link->lanes[i].fd >= 0 && !link->lanes[i].bye)
            return false;
    }
    return true;
}

void tcp_link_bye(struct tcp_lane *lane)
{
    struct tcp_link *link = lane->link;
    bool joining = link->state == TCP_LINK_JOINING;

    if (link->state == TCP_LINK_ASKING || (joining && link->is_connector && lane->index == 0)) {
        tcp_link_end(link, -ECONNREFUSED, "%s ended the link instead of accepting it",
                     embar_link_peer(link->link));
        return;
    }
    lane->bye = true;
    if (!all_said_bye(link) && !(joining && lane->index == 0)) {
        /* What was accepted before it on the other lanes is still on its way. */
        tcp_lane_set_interest(lane, lane->interest & ~(uint32_t)EPOLLIN);
        return;
    }
    if (outstanding(link) == 0) {
        tcp_link_end(link, 0, "%s ended the link", embar_link_peer(link->link));
        return;
    }
    /* No lane is away, because one that said BYE goes nowhere. The peer reads on and drops what it
     * reads until this side closes, and so acknowledges what was sent from pages: no need to reset
     * the connection, which it would take for a failure. */
    link->has_end = true;
    link->ended_by_peer = true;
    snprintf(link->end_reason, sizeof(link->end_reason), "%s ended the link",
             embar_link_peer(link->link));
    for (uint32_t i = 0; i < link->lane_count; i++) {
        link->lanes[i].tx.blocked = true;
        link->lanes[i].rx.discard = true;
        tcp_lane_set_interest(&link->lanes[i], EPOLLIN);
    }
    tcp_link_set_state(link, TCP_LINK_UNPINNING);
    set_close_deadline(link);
}

void tcp_link_end_unpinned(struct tcp_link *link)
{
    if (link->state == TCP_LINK_UNPINNING && outstanding(link) == 0)
        tcp_link_end(link, 0, "the peer ended the link");
}

/* ---- otherwise ------------------------------------------------------------------------------ */

static bool amid_frame(const struct tcp_link *link)
{
    for (uint32_t i = 0; i < link->lane_count; i++) {
        if (tcp_sender_amid_frame(&link->lanes[i].tx))
            return true;
    }
    return false;
}

void tcp_link_refuse(struct tcp_link *link, int status, const char *sentence)
{
    struct tcp_frame bye = {.type = TCP_FRAME_BYE, .immediate = TCP_BYE_REFUSED};
    size_t len = strlen(sentence);

    tcp_link_recall(link);
    log_warn("link %" PRIu64 ": %s: %s", embar_link_id(link->link), embar_link_peer(link->link),
             sentence);
    if (link->state == TCP_LINK_ASKING) {
        tcp_link_end(link, status,
                     "%s answered with something else than Embar's wire (%s); is the port right?",
                     embar_link_peer(link->link), sentence);
        return;
    }
    if (link->state != TCP_LINK_UP || amid_frame(link)) {
        tcp_link_end(link, status, "%s broke the rules of the wire: %s",
                     embar_link_peer(link->link), sentence);
        return;
    }
    for (uint32_t i = 0; i < link->lane_count; i++)
        tcp_sender_cancel(&link->lanes[i].tx, false, -ECANCELED, tcp_lane_write_over,
                          &link->lanes[i]);
    bye.len_bytes = (uint32_t)(len < TCP_MAX_REASON_BYTES ? len : TCP_MAX_REASON_BYTES);
    tcp_link_finish(link, &bye, sentence, status, "%s broke the rules of the wire: %s",
                    embar_link_peer(link->link), sentence);
}

void tcp_link_lost(struct tcp_lane *lane, int error)
{
    struct tcp_link *link = lane->link;
    const char *peer = embar_link_peer(link->link);

    reconsider_end(link);
    switch (error) {
    case ECONNRESET:
    case EPIPE:
        tcp_lane_peer_is_done(lane, false);
        tcp_link_end(link, -ECONNRESET,
                     "%s reset the connection: its process has ended or was killed", peer);
        break;
    case ETIMEDOUT:
        tcp_link_end(link, -ETIMEDOUT,
                     "no sign of life from %s: its host or the network between has failed", peer);
        break;
    case ENETUNREACH:
    case EHOSTUNREACH:
        tcp_link_end(link, -error, "there is no route to %s any more (%s); check the network", peer,
                     strerror(error));
        break;
    default:
        tcp_link_end(link, -error, "the connection to %s failed: %s", peer, strerror(error));
        break;
    }
}

static bool all_closed(const struct tcp_link *link)
{
    for (uint32_t i = 0; i < link->lane_count; i++) {
        if (link->lanes[i].fd >= 0 && !link->lanes[i].closed)
            return false;
    }
    return true;
}

void tcp_link_closed_by_peer(struct tcp_lane *lane)
{
    struct tcp_link *link = lane->link;
    const char *peer = embar_link_peer(link->link);

    tcp_lane_peer_is_done(lane, link->state >= TCP_LINK_ENDING);
    switch (link->state) {
    case TCP_LINK_ENDING:
    case TCP_LINK_UNPINNING:
    case TCP_LINK_LINGERING:
        /* It sends nothing more, but may still read: what was accepted goes on. */
        lane->closed = true;
        tcp_lane_set_interest(lane, lane->interest & ~(uint32_t)EPOLLIN);
        look_away_when_over(lane);
        if (link->state == TCP_LINK_LINGERING && all_closed(link))
            tcp_link_end(link, 0, "this side ended the link");
        return;
    case TCP_LINK_JOINING:
        tcp_link_end(link, -ECONNRESET,
                     "%s closed lane %" PRIu32 " of %" PRIu32 " before the link was up", peer,
                     lane->index, link->lane_count);
        return;
    case TCP_LINK_ASKING:
        tcp_link_end(
            link, -ECONNRESET,
            "%s closed the connection instead of answering: it is not a listener of Embar, "
            "or it is overloaded",
            peer);
        return;
    default:
        tcp_link_end(link, -ECONNRESET,
                     "%s closed the connection without ending the link: its process has ended or "
                     "was killed",
                     peer);
        return;
    }
}
