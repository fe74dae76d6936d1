/*
 * Lanes: one connection under a link, its descriptor in epoll, and a turn of sending and receiving.
 * While bytes flow, receiving is tried directly, round after round; epoll is for what is quiet, for
 * full sockets, and for zero-copy completions. Large payloads may be the work of the lane's own
 * thread (lane_away.c). Runs on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/log.h"
#include "socket.h"
#include "tcp.h"

/* A turn of one lane; then the others have theirs. */
#define TURN_BYTES (4u << 20)
/* The same while send modes are measured: the clock is read once in a turn. */
#define MEASURED_TURN_BYTES (1u << 20)
/* Empty rounds in which receiving is still tried directly. */
#define HOT_ROUNDS 64u
/* Bytes of a payload that make the socket readable. */
#define LOW_WATER_MIN (64u << 10)
#define LOW_WATER_MAX (128u << 10)

int tcp_lane_init(struct tcp_lane *lane, struct tcp_link *link, uint32_t index)
{
    const struct tcp_settings *s = link->transport->settings;
    int rc;

    *lane = (struct tcp_lane){.watch = TCP_WATCH_LANE, .fd = -1, .link = link, .index = index};
    rc = tcp_receiver_init(&lane->rx, &tcp_sys_kernel, -1);
    if (rc < 0)
        return rc;
    lane->rx.silence_ms = (uint32_t)(s->user_timeout_ns / NS_PER_MS);
    rc = tcp_sender_init(&lane->tx, &tcp_sys_kernel, -1, (enum tcp_send_setting)s->send_mode,
                         s->zero_copy_send_limit);
    if (rc < 0)
        tcp_receiver_destroy(&lane->rx);
    return rc;
}

void tcp_lane_destroy(struct tcp_lane *lane)
{
    tcp_lane_stop_thread(lane);
    free(lane->job);
    tcp_sender_destroy(&lane->tx);
    tcp_receiver_destroy(&lane->rx);
}

static void take_over(struct tcp_lane *lane, int fd, uint32_t events)
{
    lane->fd = fd;
    lane->tx.fd = fd;
    lane->rx.fd = fd;
    lane->interest = events;
    lane->low_water = 1;
}

int tcp_lane_open(struct tcp_lane *lane, int fd, uint32_t events)
{
    int rc = tcp_transport_watch(lane->link->transport, fd, events, lane);

    if (rc == 0)
        take_over(lane, fd, events);
    return rc;
}

int tcp_lane_adopt(struct tcp_lane *lane, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = lane};

    if (epoll_ctl(lane->link->transport->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0)
        return -errno;
    take_over(lane, fd, events);
    return 0;
}

void tcp_lane_close(struct tcp_lane *lane, bool reset)
{
    tcp_lane_forget(lane);
    if (lane->fd < 0)
        return;
    tcp_sender_close_pipe(&lane->tx);
    tcp_socket_close(lane->fd, reset);
    lane->fd = -1;
}

bool tcp_lane_is_live(const struct tcp_lane *lane)
{
    return lane->fd >= 0 && lane->link->state != TCP_LINK_DRAINING;
}

void tcp_lane_set_interest(struct tcp_lane *lane, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = lane};

    /* While it drains it is not watched at all. */
    if (!tcp_lane_is_live(lane) || lane->interest == events)
        return;
    /* Cannot fail for a descriptor that is watched already, short of a bug. */
    if (epoll_ctl(lane->link->transport->epoll_fd, EPOLL_CTL_MOD, lane->fd, &event) < 0)
        log_error("link %" PRIu64 ": epoll_ctl: errno %d", embar_link_id(lane->link->link), errno);
    lane->interest = events;
}

void tcp_lane_wake(struct tcp_lane *lane)
{
    /* Who is away is looked after when it is back. */
    if (tcp_lane_is_live(lane) && !tcp_list_linked(&lane->in_list))
        tcp_list_add_tail(&lane->link->transport->busy, &lane->in_list);
}

void tcp_lane_ready(struct tcp_lane *lane, uint32_t events)
{
    /* Who is away misses nothing: what still holds when it is back is reported again. */
    if (lane->fd < 0 || lane->away)
        return;
    if (events & EPOLLERR)
        lane->completions = true;
    if (events & EPOLLOUT)
        lane->tx.blocked = false;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))
        lane->readable = true;
    tcp_lane_wake(lane);
}

static void log_switch(struct tcp_lane *lane)
{
    if (lane->switches == lane->tx.mode.switches)
        return;
    lane->switches = lane->tx.mode.switches;
    log_info("link %" PRIu64 ": sends with %s: %s", embar_link_id(lane->link->link),
             tcp_send_mode_name(&lane->tx.mode), lane->tx.mode.why);
}

void tcp_lane_defer_error(struct tcp_lane *lane, int error)
{
    if (lane->send_error == 0) /* the first is the cause */
        lane->send_error = error;
    lane->tx.blocked = true;
    lane->readable = true;
    tcp_lane_wake(lane);
}

static void take_completions(struct tcp_lane *lane)
{
    int rc = tcp_sender_take_completions(&lane->tx, lane->link->transport->now_ns);

    lane->completions = false;
    log_switch(lane);
    if (rc == -EBADMSG)
        tcp_link_end(lane->link, -EBADMSG,
                     "the kernel reported the completion of a zero-copy send that was never made; "
                     "set tcp.send_mode to copy");
    else if (rc < 0)
        tcp_lane_defer_error(lane, -rc);
    else
        tcp_sender_reap(&lane->tx, tcp_lane_write_over, lane);
    tcp_link_end_unpinned(lane->link);
}

/* ---- sending -------------------------------------------------------------------------------- */

uint64_t tcp_lane_turn_bytes(struct tcp_lane *lane)
{
    if (!tcp_send_mode_is_measuring(&lane->tx.mode))
        return TURN_BYTES;
    tcp_transport_now(lane->link->transport);
    return MEASURED_TURN_BYTES;
}

uint64_t tcp_lane_settle_send(struct tcp_lane *lane, int64_t sent)
{
    if (sent < 0) {
        tcp_lane_defer_error(lane, (int)-sent);
        return 0;
    }
    log_switch(lane);
    tcp_sender_reap(&lane->tx, tcp_lane_write_over, lane);
    if (lane->tx.blocked)
        tcp_lane_set_interest(lane, lane->interest | EPOLLOUT);
    if (sent > 0)
        tcp_link_sent(lane->link);
    return (uint64_t)sent;
}

uint64_t tcp_lane_send(struct tcp_lane *lane)
{
    uint64_t turn_bytes;

    if (!tcp_lane_is_live(lane) || lane->tx.blocked || !tcp_sender_pending(&lane->tx))
        return 0;
    turn_bytes = tcp_lane_turn_bytes(lane);
    return tcp_lane_settle_send(
        lane, tcp_sender_run(&lane->tx, turn_bytes, lane->link->transport->now_ns));
}

/* ---- receiving ------------------------------------------------------------------------------ */

/* After the peer's BYE on this lane nothing but the end of the stream comes, which says nothing as
 * long as other lanes carry on. */
static bool is_read(const struct tcp_lane *lane)
{
    return !lane->bye || lane->rx.discard || lane->send_error != 0;
}

/* Amid a large payload epoll need not report every segment: each wake-up is paid by the sender.
 * Never more than what is still to come, or the rest would not be reported at all. */
static void set_low_water(struct tcp_lane *lane)
{
    uint32_t want = 1;

    if (!tcp_lane_is_live(lane) || lane->rx.more)
        return;
    if (lane->rx.left >= LOW_WATER_MIN)
        want = lane->rx.left < LOW_WATER_MAX ? lane->rx.left : LOW_WATER_MAX;
    if (want == lane->low_water)
        return;
    lane->low_water = want;
    tcp_socket_set_low_water(lane->fd, want);
}

static void judge(struct tcp_lane *lane, int rc, const struct embar_diag *why)
{
    if (lane->link->state == TCP_LINK_DOWN || lane->link->state == TCP_LINK_DRAINING)
        return;
    if (why->error != 0)
        tcp_link_refuse(lane->link, rc, why->text);
    else if (lane->send_error != 0 && (rc < 0 || !lane->rx.more))
        tcp_link_lost(lane, lane->send_error);
    else if (rc == -EPIPE)
        tcp_link_closed_by_peer(lane);
    else if (rc < 0)
        tcp_link_lost(lane, -rc);
}

uint64_t tcp_lane_settle_receive(struct tcp_lane *lane, int rc, const struct embar_diag *why,
                                 uint64_t received)
{
    judge(lane, rc, why);
    set_low_water(lane);
    if (lane->low_water > 1)
        lane->hot = 0;
    else if (received > 0)
        lane->hot = HOT_ROUNDS;
    else if (lane->hot > 0)
        lane->hot--;
    return received;
}

static uint64_t receive(struct tcp_lane *lane, int *budget)
{
    struct tcp_receive_sink sink = tcp_link_sink;
    struct embar_diag why = {0};
    uint64_t before = lane->rx.received_bytes;
    int rc;

    if (!tcp_lane_is_live(lane) || !is_read(lane) ||
        !(lane->readable || lane->rx.more || lane->hot > 0))
        return 0;
    sink.user = lane;
    lane->readable = false;
    lane->rx.pause_bytes = tcp_lane_limit(lane);
    rc = tcp_receiver_run(&lane->rx, TURN_BYTES, budget, &sink, &why);
    lane->rx.pause_bytes = 0;
    return tcp_lane_settle_receive(lane, rc, &why, lane->rx.received_bytes - before);
}

/* ---- a turn --------------------------------------------------------------------------------- */

bool tcp_lane_has_work(const struct tcp_lane *lane)
{
    return lane->fd >= 0 && (lane->readable || lane->completions || lane->rx.more ||
                             (tcp_sender_pending(&lane->tx) && !lane->tx.blocked));
}

void tcp_lane_turn_ends(struct tcp_lane *lane)
{
    if (!is_read(lane)) {
        lane->readable = false;
        lane->rx.more = false;
        lane->hot = 0;
    }
    if (lane->hot > 0 || tcp_lane_has_work(lane))
        tcp_lane_wake(lane);
}

uint64_t tcp_lane_serve(struct tcp_lane *lane, int *budget)
{
    uint64_t moved = 0;

    tcp_list_remove(&lane->in_list);
    if (lane->link->state == TCP_LINK_CONNECTING) {
        tcp_connect_ready(lane->link);
        return 0;
    }
    if (lane->connecting) {
        tcp_join_ready(lane);
        return 0;
    }
    if (lane->completions)
        take_completions(lane);
    if (!tcp_lane_sends_much(lane))
        moved += tcp_lane_send(lane);
    if (!tcp_lane_receives_much(lane))
        moved += receive(lane, budget);
    if (tcp_lane_sends_much(lane) || tcp_lane_receives_much(lane))
        tcp_lane_hand_out(lane);
    else
        tcp_lane_turn_ends(lane);
    return moved;
}
