/*
 * Links: their states, the frames that begin and end them, the exposed window, and what core asks
 * of them. The end of a link is in link_end.c, connecting in connect.c, the lanes beyond the first
 * in join.c. Owns the lanes. Runs on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/diag.h"
#include "common/log.h"
#include "socket.h"
#include "tcp.h"

static const char *const state_names[] = {
    [TCP_LINK_NEW] = "new",
    [TCP_LINK_CONNECTING] = "connecting",
    [TCP_LINK_ASKING] = "asking",
    [TCP_LINK_ASKED] = "asked",
    [TCP_LINK_JOINING] = "joining",
    [TCP_LINK_UP] = "up",
    [TCP_LINK_ENDING] = "ending",
    [TCP_LINK_LINGERING] = "lingering",
    [TCP_LINK_UNPINNING] = "unpinning",
    [TCP_LINK_DRAINING] = "draining",
    [TCP_LINK_DOWN] = "down",
};

void tcp_link_set_state(struct tcp_link *link, enum tcp_link_state state)
{
    log_debug("link %" PRIu64 ": tcp %s -> %s", embar_link_id(link->link), state_names[link->state],
              state_names[state]);
    link->state = state;
}

void tcp_link_set_deadline(struct tcp_link *link, uint64_t when_ns)
{
    link->deadline_ns = when_ns;
    tcp_transport_at(link->transport, when_ns);
}

int tcp_link_init(struct tcp_link *link, struct embar_link *core, struct tcp_transport *t,
                  uint32_t lane_room)
{
    int rc;

    link->link = core;
    link->transport = t;
    tcp_list_add_tail(&t->links, &link->in_links);
    link->lanes = calloc(lane_room, sizeof(*link->lanes));
    if (link->lanes == NULL) {
        rc = -ENOMEM;
        goto unlink;
    }
    rc = tcp_lane_init(&link->lanes[0], link, 0);
    if (rc < 0)
        goto free_lanes;
    link->lane_room = lane_room;
    link->lane_count = 1;
    return 0;

free_lanes:
    free(link->lanes);
    link->lanes = NULL;
unlink:
    tcp_list_remove(&link->in_links);
    return rc;
}

void tcp_link_release(struct tcp_link *link)
{
    for (uint32_t i = 0; i < link->lane_count; i++) {
        tcp_lane_close(&link->lanes[i], true); /* open only when the whole transport is lost */
        tcp_lane_destroy(&link->lanes[i]);
    }
    free(link->lanes);
    if (link->addresses != NULL)
        freeaddrinfo(link->addresses);
    tcp_list_remove(&link->in_links);
    link->lanes = NULL;
    link->lane_count = 0;
}

int tcp_link_adopt(struct tcp_link *link, int fd)
{
    struct tcp_lane *lane = &link->lanes[0];
    int rc = tcp_lane_adopt(lane, fd, EPOLLIN);

    if (rc < 0)
        return rc;
    lane->rx.allowed = TCP_FRAME_BIT(TCP_FRAME_BYE);
    tcp_link_set_state(link, TCP_LINK_ASKED);
    return 0;
}

/* Messages have one order: they keep to the first lane. */
static unsigned frames_of_lane(const struct tcp_lane *lane)
{
    unsigned frames = TCP_FRAME_BIT(TCP_FRAME_WRITE) | TCP_FRAME_BIT(TCP_FRAME_PLACED) |
                      TCP_FRAME_BIT(TCP_FRAME_BYE);

    return lane->index == 0 ? frames | TCP_FRAME_BIT(TCP_FRAME_SEND) : frames;
}

void tcp_link_go_up(struct tcp_link *link)
{
    struct tcp_transport *t = link->transport;

    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[i];
        int rc =
            tcp_send_mode_wants_zerocopy(&lane->tx.mode) ? tcp_socket_enable_zerocopy(lane->fd) : 0;

        if (rc < 0)
            tcp_send_mode_unsupported(&lane->tx.mode, strerror(-rc));
        lane->rx.allowed = frames_of_lane(lane);
    }
    tcp_link_set_state(link, TCP_LINK_UP);
    if (link->is_connector && link->lane_count < link->lane_room)
        log_info("link %" PRIu64 ": %" PRIu32 " of %" PRIu32 " lanes: %s takes no more (tcp.lanes)",
                 embar_link_id(link->link), link->lane_count, link->lane_room,
                 embar_link_peer(link->link));
    tcp_link_start_threads(link);
    link->deadline_ns = 0;
    if (t->settings->user_timeout_ns > 0)
        tcp_link_set_deadline(link, tcp_transport_now(t) + t->settings->user_timeout_ns / 4);
    core_link_up(link->link);
}

static void look_at_peer(struct tcp_link *link)
{
    struct tcp_transport *t = link->transport;
    uint64_t timeout = t->settings->user_timeout_ns;

    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[i];
        struct tcp_liveness_facts facts;

        if (!tcp_liveness_read(lane->fd, &facts) ||
            !tcp_liveness_judge(&lane->liveness, &facts, timeout, t->now_ns))
            continue;
        tcp_link_end(link, -ETIMEDOUT,
                     "%s has not acknowledged anything for %" PRIu64 " ms: its host or the network "
                     "between has failed (tcp.user_timeout)",
                     embar_link_peer(link->link), (uint64_t)(timeout / NS_PER_MS));
        return;
    }
    tcp_link_set_deadline(link, t->now_ns + timeout / 4);
}

void tcp_link_timeout(struct tcp_link *link)
{
    switch (link->state) {
    case TCP_LINK_CONNECTING:
        tcp_connect_timeout(link);
        break;
    case TCP_LINK_ASKING:
        tcp_link_end(link, -ETIMEDOUT,
                     "%s took the connection, but did not answer within tcp.connect_timeout; it is "
                     "too busy, or not a listener of Embar",
                     embar_link_peer(link->link));
        break;
    case TCP_LINK_JOINING:
        tcp_join_timeout(link);
        break;
    case TCP_LINK_UP:
        look_at_peer(link);
        break;
    default:
        tcp_link_end_timeout(link);
        break;
    }
}

void tcp_lane_write_over(void *user, uint64_t token, size_t len_bytes, int status)
{
    struct tcp_lane *lane = user;

    lane->outstanding_bytes -= len_bytes;
    core_write_done(lane->link->link, token, len_bytes, status);
}

void tcp_link_sent(struct tcp_link *link)
{
    if (link->state == TCP_LINK_ENDING)
        tcp_link_end_sent(link);
}

/* ---- what the peer sends -------------------------------------------------------------------- */

static void on_arrival(void *user, uint32_t immediate, uint32_t len_bytes, bool spliced)
{
    struct tcp_lane *lane = user;

    if (spliced) {
        tcp_sender_has_read(&lane->tx);
        tcp_lane_wake(lane);
    }
    core_arrival(lane->link->link, immediate, len_bytes);
}

static void on_message(void *user, const uint8_t *data, uint32_t len_bytes)
{
    struct tcp_lane *lane = user;

    core_message(lane->link->link, data, len_bytes);
}

static bool on_placed(struct tcp_lane *lane, uint64_t count)
{
    struct embar_diag why;

    if (tcp_sender_placed(&lane->tx, count) == 0) {
        tcp_sender_reap(&lane->tx, tcp_lane_write_over, lane);
        return true;
    }
    diag_fail(&why, EPROTO,
              "the peer says that it has read %" PRIu64 " spliced writes, after %" PRIu64
              " before and %" PRIu64 " sent",
              count, lane->tx.placed, lane->tx.splices);
    tcp_link_refuse(lane->link, -EPROTO, why.text);
    return false;
}

/* The listener's answer. Returns whether to receive on. */
static bool on_accept(struct tcp_link *link, uint64_t lanes)
{
    struct embar_diag why;
    int rc = tcp_join_check_accept(link, lanes, &why);

    if (rc < 0)
        tcp_link_refuse(link, rc, why.text);
    else if (lanes > 0)
        tcp_join_begin(link, (uint32_t)lanes);
    else
        tcp_link_go_up(link);
    return link->state == TCP_LINK_JOINING || link->state == TCP_LINK_UP;
}

static bool on_control(void *user, const struct tcp_frame *frame, const uint8_t *payload)
{
    struct tcp_lane *lane = user;
    struct tcp_link *link = lane->link;
    const char *peer = embar_link_peer(link->link);
    int len = (int)frame->len_bytes;

    switch (frame->type) {
    case TCP_FRAME_ACCEPT:
        return on_accept(link, frame->offset);
    case TCP_FRAME_REJECT:
        tcp_link_end(link, -ECONNREFUSED, "%s refused the link: %.*s", peer, len,
                     (const char *)payload);
        return false;
    case TCP_FRAME_PLACED:
        return on_placed(lane, frame->offset);
    case TCP_FRAME_BYE:
        tcp_lane_peer_is_done(lane, frame->immediate == TCP_BYE_ORDERLY);
        if (frame->immediate == TCP_BYE_ORDERLY)
            tcp_link_bye(lane);
        else
            tcp_link_end(link, -ECONNABORTED, "%s broke the link off: %.*s", peer, len,
                         (const char *)payload);
        return false;
    default: /* the receiver's `allowed` lets no other through */
        return true;
    }
}

const struct tcp_receive_sink tcp_link_sink = {
    .arrival = on_arrival,
    .message = on_message,
    .control = on_control,
};

/* ---- what core asks for -----------------------------------------------------------------------
 */

static int link_accept(struct embar_link *core)
{
    struct tcp_link *link = link_private(core);
    struct tcp_frame frame = {.type = TCP_FRAME_ACCEPT};
    int rc;

    if (link->state != TCP_LINK_ASKED)
        return -ENOTCONN;
    if (link->lane_room > 1)
        return tcp_join_await(link);
    rc = tcp_sender_control(&link->lanes[0].tx, &frame, NULL);
    if (rc < 0)
        return rc;
    tcp_link_go_up(link);
    tcp_lane_send(&link->lanes[0]);
    tcp_lane_wake(&link->lanes[0]);
    return 0;
}

static int link_reject(struct embar_link *core, const char *reason)
{
    struct tcp_link *link = link_private(core);
    struct tcp_frame frame = {.type = TCP_FRAME_REJECT, .len_bytes = (uint32_t)strlen(reason)};

    if (link->state != TCP_LINK_ASKED)
        return -ENOTCONN;
    tcp_link_finish(link, &frame, reason, 0, "this side refused the link: %s", reason);
    return 0;
}

static void link_disconnect(struct embar_link *core)
{
    struct tcp_link *link = link_private(core);
    struct tcp_frame frame = {.type = TCP_FRAME_BYE};

    if (link->state == TCP_LINK_CONNECTING)
        tcp_link_end(link, 0, "this side gave the attempt to connect up");
    else if (link->state <= TCP_LINK_UP) {
        if (link->state == TCP_LINK_JOINING)
            tcp_join_abandon(link);
        tcp_link_finish(link, &frame, NULL, 0, "this side ended the link");
    }
    /* Else it is ending already. */
}

static void link_abort(struct embar_link *core)
{
    tcp_link_abort(link_private(core));
}

static void link_destroy(struct embar_link *core)
{
    tcp_link_release(link_private(core));
}

static void link_stats(const struct embar_link *core, struct embar_link_stats *stats)
{
    const struct tcp_link *link = link_private(core);
    uint64_t most = 0;

    stats->lanes = link->lane_count;
    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane_counts lane;

        tcp_lane_count(&link->lanes[i], &lane);
        stats->lane_threads += link->lanes[i].job != NULL;
        stats->send_calls += lane.send_calls;
        stats->receive_calls += lane.receive_calls;
        stats->zerocopy_sends += lane.zerocopy_sends;
        stats->zerocopy_copied += lane.zerocopy_copied;
        if (i > 0 && lane.handed_bytes <= most)
            continue;
        /* Each lane chooses for itself; the one that carried most speaks for the link. */
        most = lane.handed_bytes;
        stats->send_mode = lane.send_mode;
        snprintf(stats->send_mode_why, sizeof(stats->send_mode_why), "%s", lane.send_mode_why);
    }
}

const struct backend_link_ops tcp_link_ops = {
    .connect = tcp_link_connect,
    .accept = link_accept,
    .reject = link_reject,
    .disconnect = link_disconnect,
    .abort = link_abort,
    .destroy = link_destroy,
    .stats = link_stats,
};

static int buffer_expose(struct embar_buffer *buffer, struct embar_link *core,
                         struct embar_key *key, struct embar_diag *diag)
{
    struct tcp_link *link = link_private(core);

    (void)diag;
    key->id = env_random(link->transport->env);
    key->base = 0;
    key->size = buffer_size(buffer);
    tcp_link_recall(link);
    for (uint32_t i = 0; i < link->lane_count; i++)
        link->lanes[i].rx.window = (struct tcp_window){
            .addr = buffer_addr(buffer), .size_bytes = key->size, .key = key->id};
    return 0;
}

static void buffer_unexpose(struct embar_buffer *buffer, struct embar_link *core)
{
    struct tcp_link *link = link_private(core);

    (void)buffer;
    tcp_link_recall(link);
    for (uint32_t i = 0; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[i];

        tcp_receiver_close_window(&lane->rx);
        if (lane->rx.revoked) {
            lane->readable = true;
            tcp_lane_wake(lane);
        }
    }
}

const struct backend_buffer_ops tcp_buffer_ops = {
    .reg = backend_register_none,
    .unreg = backend_unregister_none,
    .expose = buffer_expose,
    .unexpose = buffer_unexpose,
};

static int data_write(struct embar_link *core, const struct embar_write *write)
{
    struct tcp_link *link = link_private(core);
    struct tcp_lane *lane;
    struct tcp_frame frame = {
        .type = TCP_FRAME_WRITE,
        .key = write->key.id,
        .offset = write->key.base + write->remote_offset,
        .immediate = write->immediate,
        .len_bytes = (uint32_t)write->len_bytes,
    };
    const uint8_t *source = buffer_addr(write->buffer);
    int rc;

    if (link->state != TCP_LINK_UP) /* it ends, and core does not know yet */
        return -ENOTCONN;
    lane = tcp_spread_lane(link, write->len_bytes);
    rc = tcp_sender_write(&lane->tx, &frame, source + write->offset, write->token);
    if (rc < 0)
        return rc;
    lane->outstanding_bytes += write->len_bytes;
    tcp_lane_wake(lane);
    return 0;
}

static int data_send(struct embar_link *core, const void *data, size_t len_bytes)
{
    struct tcp_link *link = link_private(core);
    struct tcp_lane *lane = &link->lanes[0];
    int rc;

    if (link->state != TCP_LINK_UP)
        return -ENOTCONN;
    rc = tcp_sender_send(&lane->tx, data, (uint32_t)len_bytes);
    if (rc == 0)
        tcp_lane_wake(lane);
    return rc;
}

const struct backend_data_ops tcp_data_ops = {
    .write = data_write,
    .send = data_send,
    .map = backend_map_none,
};
