/*
 * The TCP transport: one epoll descriptor with everything that is watched, one timer descriptor in
 * it for deadlines, and the rounds of progress. A round settles the lanes that are back from their
 * threads and serves those that are known to have work; epoll is asked when that moved nothing, and
 * otherwise now and then. Runs on the transport's thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/diag.h"
#include "socket.h"
#include "tcp.h"

#define EPOLL_EVENTS 64
/* Epoll is asked after so many rounds or bytes, even when lanes are busy. */
#define ROUNDS_WITHOUT_EPOLL 16u
#define BYTES_WITHOUT_EPOLL  (1u << 20)

uint64_t tcp_transport_now(struct tcp_transport *t)
{
    t->now_ns = env_now_ns(t->env);
    return t->now_ns;
}

void tcp_transport_at(struct tcp_transport *t, uint64_t when_ns)
{
    if (t->deadline_ns == 0 || when_ns < t->deadline_ns)
        t->deadline_ns = when_ns;
}

int tcp_transport_watch(struct tcp_transport *t, int fd, uint32_t events, void *watch)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    return epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int transport_open(struct embar_transport *transport, const void *settings,
                          struct embar_transport_caps *caps, struct embar_diag *diag)
{
    struct tcp_transport *t = transport_private(transport);
    int rc = tcp_socket_try_settings(settings, diag);

    if (rc < 0)
        return rc;
    t->settings = settings;
    if (t->settings->lanes > 1)
        caps->flags &= ~(uint32_t)EMBAR_CAP_ORDERED;
    t->env = transport_env(transport);
    t->timer_watch = TCP_WATCH_TIMER;
    tcp_list_init(&t->links);
    tcp_list_init(&t->listeners);
    tcp_list_init(&t->pending);
    tcp_list_init(&t->dropped);
    tcp_list_init(&t->busy);
    tcp_list_init(&t->away);
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll_fd < 0)
        return diag_fail(diag, errno, "cannot make an epoll descriptor: %s", strerror(errno));
    t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (t->timer_fd < 0) {
        rc = diag_fail(diag, errno, "cannot make a timer descriptor: %s", strerror(errno));
        goto close_epoll;
    }
    rc = tcp_transport_watch(t, t->timer_fd, EPOLLIN, &t->timer_watch);
    if (rc < 0) {
        diag_fail(diag, -rc, "cannot watch a timer descriptor: %s", strerror(-rc));
        goto close_timer;
    }
    return 0;

close_timer:
    close(t->timer_fd);
close_epoll:
    close(t->epoll_fd);
    return rc;
}

static void transport_close(struct embar_transport *transport)
{
    struct tcp_transport *t = transport_private(transport);

    close(t->timer_fd);
    close(t->epoll_fd);
}

/* ---- deadlines ---------------------------------------------------------------------------- */

static bool expired(struct tcp_transport *t, uint64_t deadline_ns)
{
    if (deadline_ns == 0)
        return false;
    if (deadline_ns <= t->now_ns)
        return true;
    tcp_transport_at(t, deadline_ns);
    return false;
}

/* Runs what is due and finds the next deadline. */
static void run_timers(struct tcp_transport *t)
{
    struct tcp_list *item, *next;

    t->deadline_ns = 0;
    for (item = t->links.next; item != &t->links; item = next) {
        struct tcp_link *link = TCP_LIST_ENTRY(item, struct tcp_link, in_links);

        next = item->next;
        if (expired(t, link->deadline_ns))
            tcp_link_timeout(link);
    }
    for (item = t->pending.next; item != &t->pending; item = next) {
        struct tcp_pending *p = TCP_LIST_ENTRY(item, struct tcp_pending, in_list);

        next = item->next;
        if (expired(t, p->deadline_ns))
            tcp_pending_timeout(p);
    }
    for (item = t->listeners.next; item != &t->listeners; item = item->next) {
        struct tcp_listener *l = TCP_LIST_ENTRY(item, struct tcp_listener, in_listeners);

        if (expired(t, l->resume_ns))
            tcp_listener_resume(l);
    }
}

static void take_timer(struct tcp_transport *t)
{
    uint64_t expirations;

    /* Only to make it unreadable; what is due is found by the clock. */
    if (read(t->timer_fd, &expirations, sizeof(expirations)) > 0)
        t->armed_ns = 0;
}

static void set_timer(struct tcp_transport *t)
{
    uint64_t now = tcp_transport_now(t);
    uint64_t wait = t->deadline_ns > now ? t->deadline_ns - now : 1;
    struct itimerspec spec = {0};

    if (t->armed_ns == t->deadline_ns)
        return;
    t->armed_ns = t->deadline_ns;
    if (t->deadline_ns != 0) {
        spec.it_value.tv_sec = (time_t)(wait / NS_PER_S);
        spec.it_value.tv_nsec = (long)(wait % NS_PER_S);
    }
    timerfd_settime(t->timer_fd, 0, &spec, NULL);
}

/* ---- rounds ------------------------------------------------------------------------------- */

static void dispatch(struct tcp_transport *t, const struct epoll_event *event, int *budget)
{
    switch (*(enum tcp_watch *)event->data.ptr) {
    case TCP_WATCH_TIMER:
        take_timer(t);
        break;
    case TCP_WATCH_LISTENER:
        tcp_listener_ready(event->data.ptr);
        break;
    case TCP_WATCH_PENDING:
        tcp_pending_ready(event->data.ptr, budget);
        break;
    case TCP_WATCH_LANE:
        tcp_lane_ready(event->data.ptr, event->events);
        break;
    }
}

/* Settles the lanes that are back, and serves each lane that is busy then once; those that the
 * budget does not reach are first next time. */
static uint64_t serve_busy(struct tcp_transport *t, int *budget)
{
    uint64_t moved = tcp_lanes_take_back(t, budget);
    unsigned count = 0;

    for (struct tcp_list *item = t->busy.next; item != &t->busy; item = item->next)
        count++;
    for (; count > 0 && *budget > 0 && !tcp_list_empty(&t->busy); count--)
        moved += tcp_lane_serve(TCP_LIST_ENTRY(t->busy.next, struct tcp_lane, in_list), budget);
    return moved;
}

static int ask_epoll(struct tcp_transport *t, int *budget)
{
    struct epoll_event events[EPOLL_EVENTS];
    int n = epoll_wait(t->epoll_fd, events, EPOLL_EVENTS, 0);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++)
        dispatch(t, &events[i], budget);
    t->rounds = 0;
    t->bytes = 0;
    return n;
}

static int transport_progress(struct embar_transport *transport, int budget)
{
    struct tcp_transport *t = transport_private(transport);
    uint64_t moved = serve_busy(t, &budget);
    int rc = 0;

    t->bytes += moved;
    t->rounds++;
    if (moved == 0 || t->bytes >= BYTES_WITHOUT_EPOLL || t->rounds >= ROUNDS_WITHOUT_EPOLL) {
        tcp_transport_now(t);
        rc = ask_epoll(t, &budget);
        if (rc > 0 && moved == 0)
            serve_busy(t, &budget);
        if (t->deadline_ns != 0 && t->deadline_ns <= t->now_ns)
            run_timers(t);
        tcp_pending_free_dropped(t);
    }
    return rc < 0 ? rc : 0;
}

static int transport_fd(const struct embar_transport *transport)
{
    const struct tcp_transport *t = transport_private(transport);

    return t->epoll_fd;
}

static int transport_arm(struct embar_transport *transport)
{
    struct tcp_transport *t = transport_private(transport);
    struct tcp_list *item;

    /* Sooner or later there will be something to settle: it is awaited here, and not by a
     * descriptor, because it does not take long. */
    if (tcp_lanes_await(t))
        return -EAGAIN;
    for (item = t->busy.next; item != &t->busy; item = item->next) {
        if (tcp_lane_has_work(TCP_LIST_ENTRY(item, struct tcp_lane, in_list)))
            return -EAGAIN;
    }
    /* A socket with room left would keep the descriptor readable. */
    for (item = t->links.next; item != &t->links; item = item->next) {
        struct tcp_link *link = TCP_LIST_ENTRY(item, struct tcp_link, in_links);

        for (uint32_t i = 0; i < link->lane_count; i++) {
            struct tcp_lane *lane = &link->lanes[i];

            if (link->state != TCP_LINK_CONNECTING && !lane->connecting && !lane->tx.blocked)
                tcp_lane_set_interest(lane, lane->interest & ~(uint32_t)EPOLLOUT);
        }
    }
    set_timer(t);
    return t->deadline_ns != 0 && t->deadline_ns <= t->now_ns ? -EAGAIN : 0;
}

const struct backend_transport_ops tcp_transport_ops = {
    .open = transport_open,
    .close = transport_close,
    .progress = transport_progress,
    .fd = transport_fd,
    .arm = transport_arm,
};
