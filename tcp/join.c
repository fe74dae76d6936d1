/*
 * The lanes of a link beyond the first. The listener answers the first REQUEST with the number of
 * lanes that both sides want; the connecting end then opens the others to the same address, and
 * each names the link by the random number that the first one carried. When all are there, the
 * listener says so on the first lane and data may flow. Runs on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "common/diag.h"
#include "common/log.h"
#include "socket.h"
#include "tcp.h"

/* Gives the link its further lanes, still without connections. */
static int add_lanes(struct tcp_link *link, uint32_t lanes)
{
    while (link->lane_count < lanes) {
        uint32_t i = link->lane_count;
        int rc = tcp_lane_init(&link->lanes[i], link, i);

        if (rc < 0)
            return rc;
        link->lanes[i].rx.allowed = TCP_FRAME_BIT(TCP_FRAME_BYE);
        link->lane_count++;
    }
    return 0;
}

void tcp_join_abandon(struct tcp_link *link)
{
    for (uint32_t i = 1; i < link->lane_count; i++)
        tcp_lane_close(&link->lanes[i], false);
}

void tcp_join_timeout(struct tcp_link *link)
{
    tcp_link_end(link, -ETIMEDOUT,
                 "the %" PRIu32 " lanes of the link to %s were not all there within %s; the path "
                 "between takes some connections and not others",
                 link->lane_count, embar_link_peer(link->link),
                 link->is_connector ? "tcp.connect_timeout" : "tcp.handshake_timeout");
}

/* ---- the listening end ---------------------------------------------------------------------- */

int tcp_join_await(struct tcp_link *link)
{
    struct tcp_transport *t = link->transport;
    struct tcp_frame frame = {.type = TCP_FRAME_ACCEPT, .offset = link->lane_room};
    int rc = add_lanes(link, link->lane_room);

    if (rc == 0)
        rc = tcp_sender_control(&link->lanes[0].tx, &frame, NULL);
    if (rc < 0)
        return rc;
    link->joined = 1;
    tcp_link_set_state(link, TCP_LINK_JOINING);
    tcp_link_set_deadline(link, tcp_transport_now(t) + t->settings->handshake_timeout_ns);
    tcp_lane_send(&link->lanes[0]);
    tcp_lane_wake(&link->lanes[0]);
    return 0;
}

static struct tcp_link *find_link(struct tcp_transport *t, uint64_t wire_id)
{
    for (struct tcp_list *item = t->links.next; item != &t->links; item = item->next) {
        struct tcp_link *link = TCP_LIST_ENTRY(item, struct tcp_link, in_links);

        if (link->state == TCP_LINK_JOINING && !link->is_connector && link->wire_id == wire_id)
            return link;
    }
    return NULL;
}

static void complete(struct tcp_link *link)
{
    const struct tcp_frame frame = {.type = TCP_FRAME_ACCEPT};

    /* The ring has held nothing but the first ACCEPT: there is room. */
    (void)tcp_sender_control(&link->lanes[0].tx, &frame, NULL);
    tcp_link_go_up(link);
    tcp_lane_send(&link->lanes[0]);
    tcp_lane_wake(&link->lanes[0]);
}

int tcp_join_adopt(struct tcp_transport *t, const struct tcp_frame *request, int fd,
                   struct embar_diag *diag)
{
    uint32_t index = (uint32_t)request->offset, lanes = (uint32_t)(request->offset >> 32);
    struct tcp_link *link = find_link(t, request->key);
    int rc;

    if (link == NULL)
        return diag_fail(diag, ENOENT,
                         "it asked to be lane %" PRIu32 " of a link, but no link awaits it", index);
    if (lanes != link->lane_count)
        return diag_fail(diag, EPROTO,
                         "it asked to be lane %" PRIu32 " of %" PRIu32
                         " of a link that has %" PRIu32,
                         index, lanes, link->lane_count);
    if (link->lanes[index].fd >= 0)
        return diag_fail(diag, EEXIST, "it asked to be lane %" PRIu32 ", which is there already",
                         index);
    rc = tcp_lane_adopt(&link->lanes[index], fd, EPOLLIN);
    if (rc < 0)
        return diag_fail(diag, -rc, "it cannot be watched as a lane: %s", strerror(-rc));
    link->joined++;
    if (link->joined == link->lane_count)
        complete(link);
    return 0;
}

/* ---- the connecting end --------------------------------------------------------------------- */

int tcp_join_check_accept(const struct tcp_link *link, uint64_t lanes, struct embar_diag *diag)
{
    bool joining = link->state == TCP_LINK_JOINING;

    if (lanes > link->lane_room)
        return diag_fail(diag, EPROTO,
                         "an ACCEPT frame wants %" PRIu64 " lanes to join, but %" PRIu32
                         " were asked for",
                         lanes, link->lane_room);
    if (joining && lanes > 0)
        return diag_fail(diag, EPROTO, "an ACCEPT frame came while lanes are joining");
    for (uint32_t i = 1; joining && i < link->lane_count; i++) {
        if (link->lanes[i].fd < 0 || link->lanes[i].connecting)
            return diag_fail(diag, EPROTO, "an ACCEPT frame came before lane %" PRIu32 " had asked",
                             i);
    }
    return 0;
}

static int open_lane(struct tcp_lane *lane, const struct sockaddr_storage *peer, socklen_t len)
{
    int fd = tcp_socket_open(peer->ss_family, lane->link->transport->settings, NULL);
    int rc = 0;

    if (fd < 0)
        return fd;
    if (connect(fd, (const struct sockaddr *)peer, len) < 0 && errno != EINPROGRESS)
        rc = -errno;
    if (rc == 0)
        rc = tcp_lane_open(lane, fd, EPOLLOUT);
    if (rc < 0)
        tcp_socket_close(fd, false);
    else
        lane->connecting = true;
    return rc;
}

static void fail_lane(struct tcp_lane *lane, int error)
{
    tcp_link_end(lane->link, -error,
                 "%s takes the link, but lane %" PRIu32 " of %" PRIu32 " cannot connect to it: %s",
                 embar_link_peer(lane->link->link), lane->index, lane->link->lane_count,
                 strerror(error));
}

void tcp_join_begin(struct tcp_link *link, uint32_t lanes)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    int rc = getpeername(link->lanes[0].fd, (struct sockaddr *)&peer, &len) < 0 ? -errno : 0;

    if (rc == 0)
        rc = add_lanes(link, lanes);
    if (rc < 0) {
        tcp_link_end(link, rc, "cannot open %" PRIu32 " lanes to %s: %s", lanes,
                     embar_link_peer(link->link), strerror(-rc));
        return;
    }
    tcp_link_set_state(link, TCP_LINK_JOINING);
    for (uint32_t i = 1; i < lanes; i++) {
        rc = open_lane(&link->lanes[i], &peer, len);
        if (rc < 0) {
            fail_lane(&link->lanes[i], -rc);
            return;
        }
    }
}

void tcp_join_ready(struct tcp_lane *lane)
{
    struct tcp_link *link = lane->link;
    const struct tcp_frame frame = {.type = TCP_FRAME_REQUEST,
                                    .key = link->wire_id,
                                    .offset = (uint64_t)link->lane_count << 32 | lane->index};
    int error = tcp_sys_kernel.so_error(NULL, lane->fd);

    lane->connecting = false;
    lane->readable = false;
    lane->completions = false;
    if (error != 0) {
        fail_lane(lane, error);
        return;
    }
    tcp_lane_set_interest(lane, EPOLLIN);
    /* The sender is empty: there is room. */
    (void)tcp_sender_control(&lane->tx, &frame, NULL);
    tcp_lane_send(lane);
}
