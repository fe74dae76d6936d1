/*
 * Links: their states, the packets that begin them, their ends, and what core asks of them. An
 * orderly end needs no waiting: what was accepted lies in the region, which lives as long as the
 * peer maps it, so that this side leaves a note there, closes its socket and is done. A socket that
 * closes without a note is a process that died. Owns socket, region and mappings. Runs on the
 * transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/log.h"
#include "common/text.h"
#include "shm.h"

static const char *const state_names[] = {
    [SHM_LINK_NEW] = "new",       [SHM_LINK_CONNECTING] = "connecting",
    [SHM_LINK_ASKING] = "asking", [SHM_LINK_ASKED] = "asked",
    [SHM_LINK_UP] = "up",         [SHM_LINK_DOWN] = "down",
};

static bool is_joining(enum shm_link_state state)
{
    return state == SHM_LINK_CONNECTING || state == SHM_LINK_ASKING || state == SHM_LINK_ASKED;
}

void shm_link_set_state(struct shm_link *link, enum shm_link_state state)
{
    struct shm_transport *t = link->transport;

    log_debug("link %" PRIu64 ": shm %s -> %s", embar_link_id(link->link), state_names[link->state],
              state_names[state]);
    t->joining += (unsigned)is_joining(state);
    t->joining -= (unsigned)is_joining(link->state);
    t->up += (unsigned)(state == SHM_LINK_UP);
    t->up -= (unsigned)(link->state == SHM_LINK_UP);
    link->state = state;
}

void shm_link_set_deadline(struct shm_link *link, uint64_t when_ns)
{
    link->deadline_ns = when_ns;
    shm_transport_at(link->transport, when_ns);
}

void shm_link_init(struct shm_link *link, struct embar_link *core, struct shm_transport *t)
{
    link->watch = SHM_WATCH_LINK;
    link->lease_fd = -1;
    link->link = core;
    link->transport = t;
    LIST_INSERT_HEAD(&t->links, link, in_links);
}

void shm_link_set_region(struct shm_link *link, struct shm_region *region, unsigned side)
{
    link->region = region;
    link->mine = &region->halves[side];
    link->peer = &region->halves[1 - side];
    shm_ring_init(&link->tx, &link->rx, region, side);
}

/* ---- the end ------------------------------------------------------------------------------- */

static void close_socket(struct shm_link *link)
{
    if (link->fd < 0)
        return;
    epoll_ctl(link->transport->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
    close(link->fd);
    link->fd = -1;
}

static void leave_note(struct shm_link *link, enum shm_end end, const char *reason)
{
    size_t len = strlen(reason);

    link->mine->reason_bytes = (uint32_t)(len < SHM_REASON_BYTES ? len : SHM_REASON_BYTES);
    memcpy(link->mine->reason, reason, link->mine->reason_bytes);
    atomic_store_explicit(&link->mine->end, (uint32_t)end, memory_order_release);
}

static void go_down(struct shm_link *link, int status, int write_status, const char *reason)
{
    if (link->state == SHM_LINK_DOWN)
        return;
    shm_data_report_dones(link, write_status);
    close_socket(link);
    link->deadline_ns = 0;
    LIST_REMOVE(link, in_links);
    shm_link_set_state(link, SHM_LINK_DOWN);
    core_link_down(link->link, status, "%s", reason);
}

void shm_link_end(struct shm_link *link, int status, const char *fmt, ...)
{
    char reason[EMBAR_DIAG_BYTES];
    va_list args;

    va_start(args, fmt);
    text_vformat(reason, sizeof(reason), fmt, args);
    va_end(args);
    go_down(link, status, 0, reason);
}

void shm_link_refuse(struct shm_link *link, int status, const char *fmt, ...)
{
    char reason[EMBAR_DIAG_BYTES];
    va_list args;

    va_start(args, fmt);
    text_vformat(reason, sizeof(reason), fmt, args);
    va_end(args);
    log_warn("link %" PRIu64 ": %s: %s", embar_link_id(link->link), embar_link_peer(link->link),
             reason);
    leave_note(link, SHM_END_REFUSED, reason);
    shm_link_end(link, status, "%s broke the rules of the wire: %s", embar_link_peer(link->link),
                 reason);
}

void shm_link_blame(struct shm_link *link, int status, const char *offence)
{
    if (link->offence != NULL)
        return;
    link->offence = offence;
    link->offence_status = status;
}

/* All that the peer had published is delivered; what is left is why it closed. */
static void end_as_noted(struct shm_link *link)
{
    const char *peer = embar_link_peer(link->link);
    char reason[SHM_REASON_BYTES + 1] = "";
    uint32_t end = atomic_load_explicit(&link->peer->end, memory_order_acquire);
    uint32_t len = ((volatile struct shm_half *)link->peer)->reason_bytes;

    if (end == SHM_END_ORDERLY) {
        shm_link_end(link, 0, "%s ended the link", peer);
        return;
    }
    if (end == SHM_END_REFUSED && len <= SHM_REASON_BYTES) {
        memcpy(reason, link->peer->reason, len);
        shm_link_end(link, -ECONNABORTED, "%s broke the link off: %s", peer, reason);
        return;
    }
    shm_link_end(link, -ECONNRESET,
                 "%s closed the link without a word: its process has ended or was killed", peer);
}

static void closed_by_peer(struct shm_link *link)
{
    const char *peer = embar_link_peer(link->link);

    switch (link->state) {
    case SHM_LINK_UP:
        /* A dead peer publishes nothing more, a lying one at most a ring: bounded. */
        shm_data_progress(link, (int)(2 * SHM_CELLS));
        if (link->state == SHM_LINK_UP)
            end_as_noted(link);
        break;
    case SHM_LINK_ASKED:
        shm_link_end(link, -ECONNRESET, "%s gave up before its request was answered", peer);
        break;
    default:
        shm_link_end(link, -ECONNRESET,
                     "%s closed the connection instead of answering: it has stopped listening, or "
                     "is not a listener of Embar",
                     peer);
        break;
    }
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void go_up(struct shm_link *link)
{
    link->deadline_ns = 0;
    shm_link_set_state(link, SHM_LINK_UP);
    core_link_up(link->link);
}

static void take_packet(struct shm_link *link, struct shm_packet *packet)
{
    const char *peer = embar_link_peer(link->link);

    if (link->state == SHM_LINK_ASKING && packet->type == SHM_PACKET_ACCEPT)
        go_up(link);
    else if (link->state == SHM_LINK_ASKING && packet->type == SHM_PACKET_REJECT)
        shm_link_end(link, -ECONNREFUSED, "%s refused the link: %s", peer, packet->reason);
    else if (link->state == SHM_LINK_UP && packet->type == SHM_PACKET_EXPOSE)
        shm_data_exposed(link, packet);
    else if (link->state == SHM_LINK_UP &&
             (packet->type == SHM_PACKET_LEASE || packet->type == SHM_PACKET_LEND))
        shm_loan_packet(link, packet);
    else if (link->state != SHM_LINK_UP || packet->type != SHM_PACKET_WAKE)
        shm_link_refuse(link, -EPROTO, "a packet of type %u while the link is %s",
                        (unsigned)packet->type, state_names[link->state]);
    if (packet->fd >= 0)
        close(packet->fd);
}

/* A peer that floods the socket gets its turn again in the next round. */
void shm_link_ready(struct shm_link *link)
{
    struct shm_packet packet;
    int resets = 0;

    for (unsigned i = 0; i < SHM_MAX_MAPPINGS && link->fd >= 0; i++) {
        struct embar_diag why = {0};
        int rc = shm_packet_receive(link->fd, &packet, &why);

        if (rc == -EAGAIN)
            return;
        if (rc == 1) {
            take_packet(link, &packet);
        } else if (rc == -ECONNRESET && resets++ == 0) {
            continue; /* unix(7) says so once, before what the peer had sent */
        } else if (rc == 0 || rc == -ECONNRESET) {
            closed_by_peer(link);
        } else if (rc == -EPROTO || rc == -EPROTONOSUPPORT) {
            shm_link_refuse(link, rc, "%s", why.text);
        } else {
            shm_link_end(link, rc, "the socket to %s failed: %s", embar_link_peer(link->link),
                         strerror(-rc));
        }
    }
}

void shm_link_timeout(struct shm_link *link)
{
    if (link->state == SHM_LINK_CONNECTING)
        shm_connect_timeout(link);
    else
        shm_link_end(link, -ETIMEDOUT,
                     "%s took the connection, but did not answer within shm.connect_timeout; it is "
                     "too busy, or stopped",
                     embar_link_peer(link->link));
}

/* ---- what core asks for -----------------------------------------------------------------------
 */

static int link_accept(struct embar_link *core)
{
    const struct shm_packet packet = {.type = SHM_PACKET_ACCEPT, .fd = -1};
    struct shm_link *link = link_private(core);
    int rc;

    if (link->state != SHM_LINK_ASKED)
        return -ENOTCONN;
    rc = shm_packet_send(link->fd, &packet);
    if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET) /* a peer that is gone shows at the socket */
        return rc;
    go_up(link);
    return 0;
}

/* Nothing was sent before, so that the packet fits; a peer that is gone needs no reason. */
static void send_reject(struct shm_link *link, const char *reason)
{
    struct shm_packet packet = {.type = SHM_PACKET_REJECT, .fd = -1};

    snprintf(packet.reason, sizeof(packet.reason), "%s", reason);
    if (shm_packet_send(link->fd, &packet) < 0)
        log_debug("link %" PRIu64 ": the peer could not be told why", embar_link_id(link->link));
}

static int link_reject(struct embar_link *core, const char *reason)
{
    struct shm_link *link = link_private(core);

    if (link->state != SHM_LINK_ASKED)
        return -ENOTCONN;
    send_reject(link, reason);
    shm_link_end(link, 0, "this side refused the link: %s", reason);
    return 0;
}

static void link_disconnect(struct embar_link *core)
{
    struct shm_link *link = link_private(core);

    if (link->state == SHM_LINK_ASKED)
        send_reject(link, "it ended the link instead of accepting it");
    if (link->state == SHM_LINK_UP)
        leave_note(link, SHM_END_ORDERLY, "");
    shm_link_end(link, 0, "this side ended the link");
}

static void link_abort(struct embar_link *core)
{
    go_down(link_private(core), -ECONNABORTED, -ECANCELED, "this side aborted the link");
}

static void link_destroy(struct embar_link *core)
{
    struct shm_link *link = link_private(core);

    if (link->state != SHM_LINK_DOWN) { /* the whole transport was lost */
        close_socket(link);
        LIST_REMOVE(link, in_links);
        shm_link_set_state(link, SHM_LINK_DOWN);
    }
    shm_mappings_close(&link->mappings);
    shm_loan_close_lent(link);
    shm_region_close(link->region);
}

static void link_stats(const struct embar_link *core, struct embar_link_stats *stats)
{
    const struct shm_link *link = link_private(core);

    stats->lanes = 1;
    stats->send_calls = link->posts + link->wakes;
    stats->receive_calls = link->takes;
    stats->send_mode = "copy";
    if (link->lends > link->copies && link->lends >= link->in_place)
        stats->send_mode = "lent";
    else if (link->in_place > link->copies)
        stats->send_mode = "in-place";
}

const struct backend_link_ops shm_link_ops = {
    .connect = shm_link_connect,
    .accept = link_accept,
    .reject = link_reject,
    .disconnect = link_disconnect,
    .abort = link_abort,
    .destroy = link_destroy,
    .stats = link_stats,
};
