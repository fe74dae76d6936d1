/*
 * The shm transport: one epoll descriptor with all sockets, one timer descriptor in it for
 * deadlines, and the rounds of progress. A round looks at the rings, which costs no system call;
 * epoll, which tells of joins, ends and the death of a peer, is asked after a sleep, while a link
 * joins, and otherwise every few rounds. Runs on the transport's thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/diag.h"
#include "shm.h"

#define EPOLL_EVENTS         64
#define ROUNDS_WITHOUT_EPOLL 64u

uint64_t shm_transport_now(struct shm_transport *t)
{
    t->now_ns = env_now_ns(t->env);
    return t->now_ns;
}

void shm_transport_at(struct shm_transport *t, uint64_t when_ns)
{
    if (t->deadline_ns == 0 || when_ns < t->deadline_ns)
        t->deadline_ns = when_ns;
}

int shm_transport_watch(struct shm_transport *t, int fd, void *watch)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};

    return epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int transport_open(struct embar_transport *transport, const void *settings,
                          struct embar_transport_caps *caps, struct embar_diag *diag)
{
    struct shm_transport *t = transport_private(transport);
    int rc;

    (void)caps;
    t->settings = settings;
    t->env = transport_env(transport);
    t->timer_watch = SHM_WATCH_TIMER;
    LIST_INIT(&t->links);
    TAILQ_INIT(&t->pending);
    TAILQ_INIT(&t->dropped);
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll_fd < 0)
        return diag_fail(diag, errno, "cannot make an epoll descriptor: %s", strerror(errno));
    t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (t->timer_fd < 0) {
        rc = diag_fail(diag, errno, "cannot make a timer descriptor: %s", strerror(errno));
        goto close_epoll;
    }
    rc = shm_transport_watch(t, t->timer_fd, &t->timer_watch);
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
    struct shm_transport *t = transport_private(transport);

    close(t->timer_fd);
    close(t->epoll_fd);
}

/* ---- deadlines ---------------------------------------------------------------------------- */

static bool expired(struct shm_transport *t, uint64_t deadline_ns)
{
    if (deadline_ns == 0)
        return false;
    if (deadline_ns <= t->now_ns)
        return true;
    shm_transport_at(t, deadline_ns);
    return false;
}

/* Runs what is due and finds the next deadline. */
static void run_timers(struct shm_transport *t)
{
    struct shm_link *link, *next_link;
    struct shm_pending *p, *next;

    t->deadline_ns = 0;
    for (link = LIST_FIRST(&t->links); link != NULL; link = next_link) {
        next_link = LIST_NEXT(link, in_links);
        if (expired(t, link->deadline_ns))
            shm_link_timeout(link);
    }
    for (p = TAILQ_FIRST(&t->pending); p != NULL; p = next) {
        next = TAILQ_NEXT(p, in_list);
        if (expired(t, p->deadline_ns))
            shm_pending_timeout(p);
    }
}

static void take_timer(struct shm_transport *t)
{
    uint64_t expirations;

    /* Only to make it unreadable; what is due is found by the clock. */
    if (read(t->timer_fd, &expirations, sizeof(expirations)) > 0)
        t->armed_ns = 0;
}

static void set_timer(struct shm_transport *t)
{
    uint64_t now, wait;
    struct itimerspec spec = {0};

    if (t->armed_ns == t->deadline_ns)
        return;
    now = shm_transport_now(t);
    wait = t->deadline_ns > now ? t->deadline_ns - now : 1;
    t->armed_ns = t->deadline_ns;
    if (t->deadline_ns != 0) {
        spec.it_value.tv_sec = (time_t)(wait / NS_PER_S);
        spec.it_value.tv_nsec = (long)(wait % NS_PER_S);
    }
    timerfd_settime(t->timer_fd, 0, &spec, NULL);
}

/* ---- rounds ------------------------------------------------------------------------------- */

static void dispatch(struct shm_transport *t, void *watch)
{
    switch (*(enum shm_watch *)watch) {
    case SHM_WATCH_TIMER:
        take_timer(t);
        break;
    case SHM_WATCH_LISTENER:
        shm_listener_ready(watch);
        break;
    case SHM_WATCH_PENDING:
        shm_pending_ready(watch);
        break;
    case SHM_WATCH_LINK:
        shm_link_ready(watch);
        break;
    }
}

static int ask_epoll(struct shm_transport *t)
{
    struct epoll_event events[EPOLL_EVENTS];
    int n = epoll_wait(t->epoll_fd, events, EPOLL_EVENTS, 0);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    t->rounds = 0;
    if (t->deadline_ns != 0 || n > 0)
        shm_transport_now(t);
    for (int i = 0; i < n; i++)
        dispatch(t, events[i].data.ptr);
    if (t->deadline_ns != 0 && t->deadline_ns <= t->now_ns)
        run_timers(t);
    shm_pending_free_dropped(t);
    return 0;
}

static void set_sleeping(struct shm_transport *t, bool sleeping)
{
    struct shm_link *link;

    t->armed = sleeping;
    LIST_FOREACH(link, &t->links, in_links)
    {
        if (link->state != SHM_LINK_UP)
            continue;
        atomic_store_explicit(&link->mine->wants_room, sleeping && link->full,
                              memory_order_relaxed);
        atomic_store_explicit(&link->mine->sleeping, sleeping, memory_order_relaxed);
    }
}

static int transport_progress(struct embar_transport *transport, int budget)
{
    struct shm_transport *t = transport_private(transport);
    bool ask = t->armed || t->joining > 0 || ++t->rounds >= ROUNDS_WITHOUT_EPOLL;
    struct shm_link *link, *next;
    int share, rc = 0;

    if (t->armed)
        set_sleeping(t, false);
    if (ask)
        rc = ask_epoll(t);
    /* A busy link does not starve the others. */
    share = t->up > 1 ? budget / (int)t->up : budget;
    for (link = LIST_FIRST(&t->links); link != NULL; link = next) {
        next = LIST_NEXT(link, in_links);
        if (link->state == SHM_LINK_UP)
            shm_data_progress(link, share > 1 ? share : 1);
    }
    return rc;
}

static int transport_fd(const struct embar_transport *transport)
{
    const struct shm_transport *t = transport_private(transport);

    return t->epoll_fd;
}

static int transport_arm(struct embar_transport *transport)
{
    struct shm_transport *t = transport_private(transport);
    struct shm_link *link;

    set_sleeping(t, true);
    /* Either the peer sees the flag, or this side sees what the peer has published. */
    atomic_thread_fence(memory_order_seq_cst);
    LIST_FOREACH(link, &t->links, in_links)
    {
        if (link->state == SHM_LINK_UP && shm_data_has_work(link))
            return -EAGAIN; /* progress takes the flags back */
    }
    set_timer(t);
    return 0;
}

const struct backend_transport_ops shm_transport_ops = {
    .open = transport_open,
    .close = transport_close,
    .progress = transport_progress,
    .fd = transport_fd,
    .arm = transport_arm,
};
