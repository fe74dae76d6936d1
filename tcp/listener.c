/*
 * Listeners, and the connections to them that have not asked for a link yet: who is silent, sends
 * something else or comes in too great a number is dropped, logged (at most one line a second and
 * listener), and disturbs nobody. Owns the listening sockets and the pending connections. Runs on
 * the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/log.h"
#include "common/text.h"
#include "socket.h"
#include "tcp.h"

#define MAX_PENDING     128u /* of a transport; the oldest is dropped for the next */
#define ACCEPTS_AT_ONCE 16
#define PAUSE_NS        (100 * NS_PER_MS)

static int listener_listen(struct embar_listener *listener, const char *address, char *bound,
                           size_t bound_bytes, struct embar_diag *diag)
{
    struct tcp_listener *l = listener_private(listener);
    struct sockaddr_storage name;
    socklen_t len = sizeof(name);
    int rc;

    l->watch = TCP_WATCH_LISTENER;
    l->listener = listener;
    l->transport = transport_private(listener_transport(listener));
    l->fd = tcp_socket_listen(address, l->transport->settings, diag);
    if (l->fd < 0)
        return l->fd;
    if (getsockname(l->fd, (struct sockaddr *)&name, &len) < 0)
        rc = -errno;
    else
        rc = tcp_transport_watch(l->transport, l->fd, EPOLLIN, l);
    if (rc < 0) {
        close(l->fd);
        return diag_fail(diag, -rc, "cannot listen on %s: %s", address, strerror(-rc));
    }
    address_format((struct sockaddr *)&name, len, bound, bound_bytes);
    tcp_list_add_tail(&l->transport->listeners, &l->in_listeners);
    return 0;
}

/* ---- connections that have not asked ------------------------------------------------------- */

/* The object stays until the round is over: epoll may have reported it once more. */
static void forget(struct tcp_pending *p)
{
    struct tcp_transport *t = p->listener->transport;

    p->fd = -1;
    tcp_list_remove(&p->in_list);
    tcp_list_add_tail(&t->dropped, &p->in_list);
    t->pending_count--;
}

void tcp_pending_free_dropped(struct tcp_transport *t)
{
    while (!tcp_list_empty(&t->dropped)) {
        struct tcp_pending *p = TCP_LIST_ENTRY(t->dropped.next, struct tcp_pending, in_list);

        tcp_list_remove(&p->in_list);
        free(p);
    }
}

__attribute__((format(printf, 2, 3))) static void drop(struct tcp_pending *p, const char *fmt, ...)
{
    struct tcp_listener *l = p->listener;
    char why[EMBAR_DIAG_BYTES];
    va_list args;

    close(p->fd);
    forget(p);
    if (l->log_ns != 0 && l->transport->now_ns - l->log_ns < NS_PER_S) {
        l->dropped++;
        return;
    }
    va_start(args, fmt);
    text_vformat(why, sizeof(why), fmt, args);
    va_end(args);
    log_warn("%s: a connection from %s was dropped: %s (%" PRIu64 " more since the last line)",
             embar_listener_address(l->listener), p->peer, why, l->dropped);
    l->log_ns = l->transport->now_ns;
    l->dropped = 0;
}

/* Tells a peer that speaks this protocol why it gets no link. One attempt: the frame fits into any
 * empty socket. */
static void answer_reject(struct tcp_pending *p, const char *reason)
{
    uint8_t bytes[TCP_FRAME_BYTES + TCP_MAX_REASON_BYTES];
    size_t len = strlen(reason);
    struct tcp_frame frame = {.type = TCP_FRAME_REJECT};
    struct iovec iov = {.iov_base = bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    frame.len_bytes = (uint32_t)(len < TCP_MAX_REASON_BYTES ? len : TCP_MAX_REASON_BYTES);
    tcp_frame_pack(&frame, bytes);
    memcpy(bytes + TCP_FRAME_BYTES, reason, frame.len_bytes);
    iov.iov_len = TCP_FRAME_BYTES + frame.len_bytes;
    if (tcp_sys_kernel.sendmsg(NULL, p->fd, &msg, 0) < 0)
        log_debug("%s: %s could not be told why it was rejected",
                  embar_listener_address(p->listener->listener), p->peer);
}

/* A link has as many lanes as the side that wants fewer. */
static void request_link(struct tcp_pending *p, const struct tcp_frame *request)
{
    struct tcp_transport *t = p->listener->transport;
    struct embar_link *core = core_link_requested(p->listener->listener);
    uint32_t asked = (uint32_t)(request->offset >> 32), own = (uint32_t)t->settings->lanes;
    struct tcp_link *link;
    int rc;

    if (core == NULL) {
        answer_reject(p, "the listener has no room for another link");
        drop(p, "there is no memory for another link, or the listener is closing");
        return;
    }
    link_set_peer(core, p->peer);
    link = link_private(core);
    rc = tcp_link_init(link, core, t, asked < own ? asked : own);
    link->wire_id = request->key;
    if (rc == 0)
        rc = tcp_link_adopt(link, p->fd);
    if (rc < 0) {
        tcp_link_end(link, rc, "no resources for the link that %s asked for: %s", p->peer,
                     strerror(-rc));
        drop(p, "no resources for its link: %s", strerror(-rc));
        return;
    }
    forget(p);
}

/* All of the REQUEST is there. */
static void judge_request(struct tcp_pending *p)
{
    struct tcp_window nothing = {0};
    struct embar_diag why;
    struct tcp_frame frame;
    int rc = tcp_frame_unpack(p->bytes, &frame, &why);

    if (rc == 0)
        rc = tcp_frame_check(&frame, TCP_FRAME_BIT(TCP_FRAME_REQUEST), &nothing, &why);
    if (rc == -EPROTONOSUPPORT)
        answer_reject(p, why.text);
    if (rc < 0) {
        drop(p, "%s", why.text);
        return;
    }
    if ((uint32_t)frame.offset == 0) {
        request_link(p, &frame);
        return;
    }
    if (tcp_join_adopt(p->listener->transport, &frame, p->fd, &why) == 0)
        forget(p);
    else
        drop(p, "%s", why.text);
}

void tcp_pending_ready(struct tcp_pending *p, int *budget)
{
    struct iovec iov = {.iov_base = p->bytes + p->have_bytes,
                        .iov_len = TCP_FRAME_BYTES - p->have_bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (p->fd < 0)
        return;
    n = tcp_sys_kernel.recvmsg(NULL, p->fd, &msg, 0);
    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        drop(p, "it ended before it asked for a link%s%s", n < 0 ? ": " : "",
             n < 0 ? strerror((int)-n) : "");
        return;
    }
    p->have_bytes += (uint32_t)n;
    if (p->have_bytes == TCP_FRAME_BYTES) {
        --*budget;
        judge_request(p);
    }
}

void tcp_pending_timeout(struct tcp_pending *p)
{
    drop(p, "it did not ask for a link within tcp.handshake_timeout");
}

/* ---- taking connections --------------------------------------------------------------------- */

static void take(struct tcp_listener *l, int fd)
{
    struct tcp_transport *t = l->transport;
    struct tcp_pending *p = calloc(1, sizeof(*p));
    struct embar_diag why = {0};
    int rc;

    if (p == NULL) {
        log_warn("%s: out of memory for a connection", embar_listener_address(l->listener));
        close(fd);
        return;
    }
    p->watch = TCP_WATCH_PENDING;
    p->fd = fd;
    p->listener = l;
    p->deadline_ns = t->now_ns + t->settings->handshake_timeout_ns;
    tcp_socket_peer(fd, p->peer, sizeof(p->peer));
    if (t->pending_count >= MAX_PENDING)
        drop(TCP_LIST_ENTRY(t->pending.next, struct tcp_pending, in_list),
             "%u connections wait that have not asked for a link, and it was the oldest",
             MAX_PENDING);
    tcp_list_add_tail(&t->pending, &p->in_list);
    t->pending_count++;
    tcp_transport_at(t, p->deadline_ns);
    rc = tcp_socket_prepare(fd, t->settings, &why);
    if (rc == 0) {
        rc = tcp_transport_watch(t, fd, EPOLLIN, p);
        if (rc < 0)
            diag_fail(&why, -rc, "it cannot be watched: %s", strerror(-rc));
    }
    if (rc < 0)
        drop(p, "%s", why.text);
}

/* Without descriptors or memory the connection stays in the backlog and epoll would report it for
 * ever: look away for a moment. */
static void pause_listener(struct tcp_listener *l, int error)
{
    struct tcp_transport *t = l->transport;

    log_warn("%s: cannot take a connection: %s; raise the limit of open files (ulimit -n)",
             embar_listener_address(l->listener), strerror(error));
    epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
    l->resume_ns = t->now_ns + PAUSE_NS;
    tcp_transport_at(t, l->resume_ns);
}

void tcp_listener_resume(struct tcp_listener *l)
{
    int rc = tcp_transport_watch(l->transport, l->fd, EPOLLIN, l);

    l->resume_ns = 0;
    if (rc < 0)
        pause_listener(l, -rc);
}

void tcp_listener_ready(struct tcp_listener *l)
{
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take(l, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_listener(l, errno);
        /* accept(2): network errors of a connection that is gone already are no concern of ours. */
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void listener_close(struct embar_listener *listener)
{
    struct tcp_listener *l = listener_private(listener);
    struct tcp_transport *t = l->transport;
    struct tcp_list *item, *next;

    for (item = t->pending.next; item != &t->pending; item = next) {
        struct tcp_pending *p = TCP_LIST_ENTRY(item, struct tcp_pending, in_list);

        next = item->next;
        if (p->listener == l) {
            close(p->fd);
            forget(p);
        }
    }
    tcp_pending_free_dropped(t);
    tcp_list_remove(&l->in_listeners);
    close(l->fd);
}

const struct backend_listener_ops tcp_listener_ops = {
    .listen = listener_listen,
    .close = listener_close,
};
