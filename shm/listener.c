/*
 * Listeners, and the connections to them that have not asked for a link yet: who is silent, says
 * something else, is of another user or comes in too great a number is dropped, logged (at most one
 * line a second and transport), and disturbs nobody. Owns the listening sockets and the pending
 * connections. Runs on the transport's thread.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/log.h"
#include "common/text.h"
#include "shm.h"

#define MAX_PENDING     128u /* of a transport; the oldest is dropped for the next */
#define ACCEPTS_AT_ONCE 16

static int listener_listen(struct embar_listener *listener, const char *address, char *bound,
                           size_t bound_bytes, struct embar_diag *diag)
{
    struct shm_listener *l = listener_private(listener);
    int rc;

    l->watch = SHM_WATCH_LISTENER;
    l->listener = listener;
    l->transport = transport_private(listener_transport(listener));
    l->fd = shm_place_listen(address, bound, bound_bytes, diag);
    if (l->fd < 0)
        return l->fd;
    rc = shm_transport_watch(l->transport, l->fd, l);
    if (rc < 0) {
        close(l->fd);
        return diag_fail(diag, -rc, "cannot listen on %s: %s", address, strerror(-rc));
    }
    return 0;
}

/* ---- connections that have not asked ------------------------------------------------------- */

/* The object stays until the round is over: epoll may have reported it once more. */
static void forget(struct shm_pending *p)
{
    struct shm_transport *t = p->listener->transport;

    p->fd = -1;
    TAILQ_REMOVE(&t->pending, p, in_list);
    TAILQ_INSERT_TAIL(&t->dropped, p, in_list);
    t->pending_count--;
}

void shm_pending_free_dropped(struct shm_transport *t)
{
    struct shm_pending *p;

    while ((p = TAILQ_FIRST(&t->dropped)) != NULL) {
        TAILQ_REMOVE(&t->dropped, p, in_list);
        free(p);
    }
}

__attribute__((format(printf, 2, 3))) static void drop(struct shm_pending *p, const char *fmt, ...)
{
    char why[EMBAR_DIAG_BYTES];
    va_list args;

    va_start(args, fmt);
    text_vformat(why, sizeof(why), fmt, args);
    va_end(args);
    log_warn("%s: a connection from %s was dropped: %s",
             embar_listener_address(p->listener->listener), p->peer, why);
    close(p->fd);
    forget(p);
}

/* Tells the peer why it gets no link. One attempt: the packet fits into any empty socket. */
static void answer_reject(const struct shm_pending *p, const char *reason)
{
    struct shm_packet packet = {.type = SHM_PACKET_REJECT, .fd = -1};

    text_format(packet.reason, sizeof(packet.reason), "%s", reason);
    if (shm_packet_send(p->fd, &packet) < 0)
        log_debug("%s: %s could not be told why it was rejected",
                  embar_listener_address(p->listener->listener), p->peer);
}

static void refuse(struct shm_pending *p, const char *reason)
{
    answer_reject(p, reason);
    drop(p, "%s", reason);
}

/* The connection becomes a link's. */
static void request_link(struct shm_pending *p, struct shm_region *region)
{
    struct shm_transport *t = p->listener->transport;
    struct embar_link *core = core_link_requested(p->listener->listener);
    struct epoll_event event = {.events = EPOLLIN};
    struct shm_link *link;

    if (core == NULL) {
        shm_region_close(region);
        refuse(p, "the listener has no room for another link");
        return;
    }
    link_set_peer(core, p->peer);
    link = link_private(core);
    shm_link_init(link, core, t);
    shm_link_set_region(link, region, 1);
    link->fd = p->fd;
    forget(p);
    shm_link_set_state(link, SHM_LINK_ASKED);
    event.data.ptr = link;
    if (epoll_ctl(t->epoll_fd, EPOLL_CTL_MOD, link->fd, &event) < 0)
        shm_link_end(link, -errno, "the link that %s asked for cannot be watched: %s",
                     embar_link_peer(core), strerror(errno));
}

static void judge_request(struct shm_pending *p, const struct shm_packet *packet)
{
    struct shm_region *region;
    int rc;

    if (packet->type != SHM_PACKET_REQUEST) {
        if (packet->fd >= 0)
            close(packet->fd);
        drop(p, "it did not ask for a link, but sent a packet of type %u", (unsigned)packet->type);
        return;
    }
    rc = shm_region_open(packet->fd, &region);
    close(packet->fd);
    if (rc < 0) {
        answer_reject(p, "its control region cannot be mapped, or is not sealed");
        drop(p, "its control region cannot be used: %s", strerror(-rc));
        return;
    }
    request_link(p, region);
}

void shm_pending_ready(struct shm_pending *p)
{
    struct embar_diag why = {0};
    struct shm_packet packet;
    int rc;

    if (p->fd < 0)
        return;
    rc = shm_packet_receive(p->fd, &packet, &why);
    if (rc == -EAGAIN)
        return;
    if (rc == 1)
        judge_request(p, &packet);
    else if (rc == -EPROTONOSUPPORT)
        refuse(p, why.text);
    else if (rc == 0)
        drop(p, "it ended before it asked for a link");
    else
        drop(p, "%s", rc == -EPROTO ? why.text : strerror(-rc));
}

void shm_pending_timeout(struct shm_pending *p)
{
    drop(p, "it did not ask for a link within shm.handshake_timeout");
}

/* ---- taking connections --------------------------------------------------------------------- */

static void take(struct shm_listener *l, int fd)
{
    struct shm_transport *t = l->transport;
    struct shm_pending *p = calloc(1, sizeof(*p));
    struct embar_diag why = {0};
    int rc;

    if (p == NULL) {
        log_warn("%s: out of memory for a connection", embar_listener_address(l->listener));
        close(fd);
        return;
    }
    *p = (struct shm_pending){.watch = SHM_WATCH_PENDING, .fd = fd, .listener = l};
    p->deadline_ns = t->now_ns + t->settings->handshake_timeout_ns;
    rc = shm_place_check_peer(fd, t->settings->allow_other_users, p->peer, sizeof(p->peer), &why);
    if (t->pending_count >= MAX_PENDING)
        drop(TAILQ_FIRST(&t->pending),
             "%u connections wait that have not asked for a link, and it was the oldest",
             MAX_PENDING);
    TAILQ_INSERT_TAIL(&t->pending, p, in_list);
    t->pending_count++;
    shm_transport_at(t, p->deadline_ns);
    if (rc < 0) {
        refuse(p, why.text);
        return;
    }
    rc = shm_transport_watch(t, fd, p);
    if (rc < 0)
        drop(p, "it cannot be watched: %s", strerror(-rc));
}

void shm_listener_ready(struct shm_listener *l)
{
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take(l, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            log_warn("%s: cannot take a connection: %s; raise the limit of open files (ulimit -n)",
                     embar_listener_address(l->listener), strerror(errno));
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void listener_close(struct embar_listener *listener)
{
    struct shm_listener *l = listener_private(listener);
    struct shm_transport *t = l->transport;
    struct shm_pending *p, *next;

    for (p = TAILQ_FIRST(&t->pending); p != NULL; p = next) {
        next = TAILQ_NEXT(p, in_list);
        if (p->listener == l) {
            close(p->fd);
            forget(p);
        }
    }
    shm_pending_free_dropped(t);
    close(l->fd);
}

const struct backend_listener_ops shm_listener_ops = {
    .listen = listener_listen,
    .close = listener_close,
};
