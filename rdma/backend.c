/*
 * The rdma backend: its table, and the transport's part of it: opening, one step of progress, and
 * sleeping. Completion queues are polled in every step; the descriptors (CM channel, completion
 * channels, timer) are a system call away and looked at less often: after a sleep, while a link
 * comes or goes, and every few microseconds. Owns the CM channel, the epoll set and the timer. Runs
 * on the transport's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "buffer.h"
#include "cm.h"
#include "common/diag.h"
#include "data.h"
#include "link.h"
#include "transport.h"

/* How long the descriptors are left alone while all links are up and nobody sleeps. */
#define LOOK_NS   (50 * NS_PER_US)
#define WAKES_MAX 16

extern const struct backend backend_rdma;

/* ---- opening ------------------------------------------------------------------------------ */

static int watch(struct rdma_transport *t, int fd, enum rdma_wake wake)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = wake};

    return epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void close_descriptors(struct rdma_transport *t)
{
    if (t->cm != NULL)
        rdma_destroy_event_channel(t->cm);
    if (t->timer_fd >= 0)
        close(t->timer_fd);
    if (t->epoll_fd >= 0)
        close(t->epoll_fd);
}

static int open_descriptors(struct rdma_transport *t)
{
    int rc;

    t->timer_fd = -1;
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll_fd < 0)
        return -errno;
    t->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (t->timer_fd < 0)
        goto fail;
    t->cm = rdma_create_event_channel();
    if (t->cm == NULL)
        goto fail;
    if (fcntl(t->cm->fd, F_SETFL, fcntl(t->cm->fd, F_GETFL) | O_NONBLOCK) < 0)
        goto fail;
    rc = watch(t, t->cm->fd, RDMA_WAKE_CM);
    if (rc == 0)
        rc = watch(t, t->timer_fd, RDMA_WAKE_TIMER);
    if (rc < 0) {
        errno = -rc;
        goto fail;
    }
    return 0;

fail:
    rc = -errno;
    close_descriptors(t);
    return rc;
}

/* The least that any device in use takes. */
static size_t longest_write(const struct rdma_transport *t)
{
    size_t least = SIZE_MAX;

    for (unsigned i = 0; i < t->device_count; i++) {
        if (t->devices[i].max_message_bytes < least)
            least = t->devices[i].max_message_bytes;
    }
    return least;
}

static int transport_open(struct embar_transport *transport, const void *settings,
                          struct embar_transport_caps *caps, struct embar_diag *diag)
{
    struct rdma_transport *t = transport_private(transport);
    int rc;

    t->transport = transport;
    t->options = settings;
    LIST_INIT(&t->links);
    LIST_INIT(&t->buffers);
    /* First the devices: without any the CM channel only says "no such device". */
    rc = rdma_devices_find(t, diag);
    if (rc < 0)
        return rc;
    rc = open_descriptors(t);
    if (rc < 0)
        return diag_fail(diag, -rc, "the connection manager of the RDMA devices does not open: %s",
                         strerror(-rc));
    rc = rdma_devices_use(t, diag);
    if (rc < 0) {
        close_descriptors(t);
        return rc;
    }
    caps->max_writes = (uint32_t)t->options->send_queue_depth;
    caps->max_write_bytes = longest_write(t);
    if (t->options->lanes > 1)
        caps->flags &= ~(uint32_t)EMBAR_CAP_ORDERED;
    return 0;
}

static void transport_close(struct embar_transport *transport)
{
    struct rdma_transport *t = transport_private(transport);

    rdma_devices_close(t);
    close_descriptors(t);
}

/* ---- progress ----------------------------------------------------------------------------- */

static void drain_timer(struct rdma_transport *t)
{
    uint64_t expirations;

    /* Empty when it has been set anew since: nothing to do then. */
    if (read(t->timer_fd, &expirations, sizeof(expirations)) == sizeof(expirations))
        t->timer_ns = 0;
}

static void drain_channel(struct rdma_device *device)
{
    struct ibv_cq *cq;
    void *context;

    while (ibv_get_cq_event(device->channel, &cq, &context) == 0) {
        struct rdma_link *l = context;
        l->cq_armed = false;
        ibv_ack_cq_events(cq, 1);
    }
}

static void tick(struct rdma_transport *t)
{
    uint64_t now_ns = rdma_now(t);
    struct rdma_link *l = LIST_FIRST(&t->links), *next;

    for (; l != NULL; l = next) {
        next = LIST_NEXT(l, node); /* the link may go down and leave the list */
        rdma_link_tick(l, now_ns);
    }
}

/* Looks at the descriptors. */
static int look(struct rdma_transport *t, int budget)
{
    struct epoll_event wakes[WAKES_MAX];
    int count, done = 0;

    t->armed = false;
    count = epoll_wait(t->epoll_fd, wakes, WAKES_MAX, 0);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count && done >= 0; i++) {
        uint32_t wake = wakes[i].data.u32;
        if (wake == RDMA_WAKE_CM)
            done = rdma_cm_progress(t, budget);
        else if (wake == RDMA_WAKE_TIMER)
            drain_timer(t);
        else
            drain_channel(&t->devices[wake - RDMA_WAKE_DEVICE]);
    }
    return done;
}

static int poll_links(struct rdma_transport *t, int budget)
{
    struct rdma_link *l;
    int total = 0;

    LIST_FOREACH(l, &t->links, node)
    {
        if (rdma_link_is_polled(l))
            total += rdma_link_poll(l, budget);
    }
    t->worked |= total > 0;
    return total;
}

/* Links that come or go do so by events of the CM. */
static bool all_are_up(const struct rdma_transport *t)
{
    const struct rdma_link *l;

    LIST_FOREACH(l, &t->links, node)
    {
        if (l->phase != RDMA_LINK_UP)
            return false;
    }
    return !LIST_EMPTY(&t->links);
}

static int transport_progress(struct embar_transport *transport, int budget)
{
    struct rdma_transport *t = transport_private(transport);
    uint64_t now_ns = rdma_now(t);
    bool wants_look = t->armed || !all_are_up(t) || now_ns - t->looked_ns >= LOOK_NS;
    int seen = 0, polled;

    if (wants_look) {
        t->looked_ns = now_ns;
        seen = look(t, budget);
        if (seen < 0) {
            t->lost = true;
            return seen;
        }
    }
    polled = poll_links(t, budget);
    /* After polling: a process that was stopped for long finds the signs of life there first. */
    if (wants_look)
        tick(t);
    return seen + polled;
}

/* ---- sleeping ----------------------------------------------------------------------------- */

static int transport_fd(const struct embar_transport *transport)
{
    const struct rdma_transport *t = transport_private(transport);

    return t->epoll_fd;
}

/* Wakes the sleeper for the next deadline of a link. */
static void set_timer(struct rdma_transport *t, uint64_t now_ns)
{
    struct itimerspec when = {0};
    uint64_t due_ns = UINT64_MAX, wait_ns;
    struct rdma_link *l;

    LIST_FOREACH(l, &t->links, node)
    {
        uint64_t link_due_ns = rdma_link_due_ns(l);
        if (link_due_ns < due_ns)
            due_ns = link_due_ns;
    }
    if (due_ns == t->timer_ns || (due_ns == UINT64_MAX && t->timer_ns == 0))
        return;
    if (due_ns != UINT64_MAX) {
        wait_ns = due_ns > now_ns ? due_ns - now_ns : 1;
        when.it_value.tv_sec = (time_t)(wait_ns / NS_PER_S);
        when.it_value.tv_nsec = (long)(wait_ns % NS_PER_S);
    }
    timerfd_settime(t->timer_fd, 0, &when, NULL);
    t->timer_ns = due_ns != UINT64_MAX ? due_ns : 0;
}

/* Asks for an event with the next completion; then polls again, because one that came in between
 * brings no event. An event that is on its way already need not be asked for. */
static int arm_link(struct rdma_transport *t, struct rdma_link *l)
{
    if (l->cq_armed)
        return 0;
    if (ibv_req_notify_cq(l->cq, 0) != 0)
        return -EAGAIN; /* no sleep without a wake-up */
    l->cq_armed = true;
    if (rdma_link_poll(l, 1) == 0)
        return 0;
    t->worked = true;
    return -EAGAIN;
}

static int transport_arm(struct embar_transport *transport)
{
    struct rdma_transport *t = transport_private(transport);
    uint64_t now_ns = rdma_now(t);
    struct rdma_link *l;
    int rc;

    if (t->options->completion == RDMA_COMPLETION_POLL)
        return -EAGAIN;
    if (t->worked)
        t->last_work_ns = now_ns;
    t->worked = false;
    if (t->options->completion == RDMA_COMPLETION_ADAPTIVE &&
        now_ns - t->last_work_ns < t->options->spin_ns)
        return -EAGAIN;
    LIST_FOREACH(l, &t->links, node)
    {
        rc = rdma_link_is_polled(l) ? arm_link(t, l) : 0;
        if (rc < 0)
            return rc;
    }
    set_timer(t, now_ns);
    t->armed = true;
    return 0;
}

/* ---- the table ---------------------------------------------------------------------------- */

static const struct backend_transport_ops transport_ops = {
    .open = transport_open,
    .close = transport_close,
    .progress = transport_progress,
    .fd = transport_fd,
    .arm = transport_arm,
};

const struct backend backend_rdma = {
    .name = "rdma",
    .summary = "one-sided writes over RDMA: InfiniBand, RoCE (soft-RoCE too) "
               "and iWARP",
    .options = &rdma_options,
    .settings_size = sizeof(struct rdma_options),
    .caps = {.name = "rdma",
             .flags = EMBAR_CAP_ORDERED | EMBAR_CAP_ONE_SIDED,
             .max_writes = 64,
             .max_write_bytes = 1u << 30,
             .max_send_bytes = RDMA_MESSAGE_BYTES},
    .transport_size = sizeof(struct rdma_transport),
    .listener_size = sizeof(struct rdma_listener),
    .link_size = sizeof(struct rdma_link),
    .buffer_size = sizeof(struct rdma_buffer),
    .transport = &transport_ops,
    .listener = &rdma_listener_ops,
    .link = &rdma_link_ops,
    .buffer = &rdma_buffer_ops,
    .data = &rdma_data_ops,
    .loan = &backend_loans_none,
};
