/*
 * Lanes with a thread of their own: whether they have one, what is worth handing to it, the job
 * that it does, and what is made of that when the lane is back. A job is nothing but non-blocking
 * system calls on one connection, and bounded; what it received is recorded, and reported when the
 * lane is settled. Owns the jobs. Runs on the transport's thread, but for `run_job` and the
 * recorder.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/log.h"
#include "tcp.h"

/* A job brings back at most so many arrivals, bytes of payload, and one other frame. */
#define JOB_ARRIVALS 64
#define JOB_BYTES    (4u << 20)

_Static_assert(TCP_MAX_REASON_BYTES <= TCP_MAX_SEND_BYTES, "a job has room for any frame");

struct arrival {
    uint32_t immediate, len_bytes;
    bool spliced;
};

struct tcp_job {
    struct tcp_lane_thread *thread; /* owned; NULL: it has ended */
    struct tcp_lane *lane;          /* borrowed */
    struct tcp_lane_counts before;  /* as of when it was handed out */
    bool send, receive;             /* what is to be done */
    uint64_t now_ns, send_bytes;
    int64_t sent; /* what came of it: as tcp_sender_run and tcp_receiver_run say it */
    int receive_rc;
    struct embar_diag why;
    uint64_t received_bytes;
    int budget; /* of reports */
    uint32_t arrival_count;
    struct arrival arrivals[JOB_ARRIVALS];
    bool has_frame; /* and it came after the arrivals; type 0: a control message */
    struct tcp_frame frame;
    uint8_t payload[TCP_MAX_SEND_BYTES];
};

/* ---- on the lane's thread ---------------------------------------------------------------------
 */

static void record_arrival(void *user, uint32_t immediate, uint32_t len_bytes, bool spliced)
{
    struct tcp_job *job = user;

    job->arrivals[job->arrival_count++] = (struct arrival){immediate, len_bytes, spliced};
}

/* The last of this job: what follows may depend on what is made of it. */
static void record_frame(struct tcp_job *job, const struct tcp_frame *frame, const uint8_t *payload)
{
    job->has_frame = true;
    job->frame = *frame;
    if (frame->len_bytes > 0)
        memcpy(job->payload, payload, frame->len_bytes);
    job->budget = 0;
}

static void record_message(void *user, const uint8_t *data, uint32_t len_bytes)
{
    const struct tcp_frame frame = {.type = TCP_FRAME_SEND, .len_bytes = len_bytes};

    record_frame(user, &frame, data);
}

static bool record_control(void *user, const struct tcp_frame *frame, const uint8_t *payload)
{
    record_frame(user, frame, payload);
    return true;
}

static void run_job(void *user)
{
    struct tcp_job *job = user;
    struct tcp_lane *lane = job->lane;
    const struct tcp_receive_sink recorder = {.arrival = record_arrival,
                                              .message = record_message,
                                              .control = record_control,
                                              .user = job};
    uint64_t before = lane->rx.received_bytes;

    if (job->send)
        job->sent = tcp_sender_run(&lane->tx, job->send_bytes, job->now_ns);
    if (job->receive && job->sent >= 0)
        job->receive_rc =
            tcp_receiver_run(&lane->rx, JOB_BYTES, &job->budget, &recorder, &job->why);
    job->received_bytes = lane->rx.received_bytes - before;
}

/* ---- beginning and end ------------------------------------------------------------------------
 */

static unsigned processors(void)
{
    cpu_set_t allowed;
    long online;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0)
        return (unsigned)CPU_COUNT(&allowed);
    online = sysconf(_SC_NPROCESSORS_ONLN); /* more than the set has room for */
    return online > 0 ? (unsigned)online : 1;
}

static int start_thread(struct tcp_lane *lane)
{
    struct tcp_transport *t = lane->link->transport;
    char name[16];
    int rc;

    lane->job = calloc(1, sizeof(*lane->job));
    if (lane->job == NULL)
        return -ENOMEM;
    lane->job->lane = lane;
    snprintf(name, sizeof(name), "embar-lane-%" PRIu32, lane->index);
    rc = tcp_lane_thread_create(&lane->job->thread, &t->bell, name, run_job, lane->job);
    if (rc == 0)
        t->lane_threads++;
    return rc;
}

static void start_all(struct tcp_link *link, const char *setting, unsigned cpus)
{
    uint64_t id = embar_link_id(link->link);
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < link->lane_count; i++)
        rc = start_thread(&link->lanes[i]);
    if (rc == 0) {
        log_info("link %" PRIu64 ": a thread for each of %" PRIu32
                 " lanes (tcp.lane_threads: %s; %u processors)",
                 id, link->lane_count, setting, cpus);
        return;
    }
    for (uint32_t i = 0; i < link->lane_count; i++) {
        tcp_lane_stop_thread(&link->lanes[i]);
        free(link->lanes[i].job);
        link->lanes[i].job = NULL;
    }
    log_warn("link %" PRIu64 ": one thread serves all lanes: another cannot be made: %s", id,
             strerror(-rc));
}

void tcp_link_start_threads(struct tcp_link *link)
{
    const struct tcp_transport *t = link->transport;
    unsigned cpus = processors();

    switch (t->settings->lane_threads) {
    case TCP_LANE_THREADS_YES:
        start_all(link, "yes", cpus);
        return;
    case TCP_LANE_THREADS_NO:
        if (link->lane_count > 1)
            log_info("link %" PRIu64 ": one thread serves all lanes (tcp.lane_threads: no)",
                     embar_link_id(link->link));
        return;
    default:
        break;
    }
    if (link->lane_count == 1)
        return;
    if (cpus >= t->lane_threads + link->lane_count + 1)
        start_all(link, "auto", cpus);
    else
        log_info("link %" PRIu64 ": one thread serves all lanes: the process may run on %u "
                 "processors, and each of %" PRIu32 " lanes wants one beside the %" PRIu32
                 " in use (tcp.lane_threads: auto)",
                 embar_link_id(link->link), cpus, link->lane_count, t->lane_threads + 1);
}

void tcp_lane_stop_thread(struct tcp_lane *lane)
{
    if (lane->job == NULL || lane->job->thread == NULL)
        return;
    tcp_lane_thread_destroy(lane->job->thread);
    lane->job->thread = NULL;
    lane->link->transport->lane_threads--;
}

/* ---- going away -------------------------------------------------------------------------------
 */

static bool may_go(const struct tcp_lane *lane)
{
    return lane->job != NULL && lane->job->thread != NULL && lane->fd >= 0 && !lane->away &&
           lane->link->state == TCP_LINK_UP && !lane->bye && lane->send_error == 0;
}

uint32_t tcp_lane_limit(const struct tcp_lane *lane)
{
    return may_go(lane) ? (uint32_t)lane->link->transport->settings->lane_thread_limit : 0;
}

bool tcp_lane_sends_much(const struct tcp_lane *lane)
{
    return may_go(lane) && !lane->tx.blocked &&
           tcp_sender_has_bytes(&lane->tx, tcp_lane_limit(lane));
}

/* After a large write another one is expected. */
bool tcp_lane_receives_much(const struct tcp_lane *lane)
{
    uint32_t limit = tcp_lane_limit(lane);

    return may_go(lane) && (lane->readable || lane->rx.more) &&
           (lane->rx.left >= limit || (lane->rx.after_write && lane->rx.write.len_bytes >= limit));
}

void tcp_lane_hand_out(struct tcp_lane *lane)
{
    struct tcp_transport *t = lane->link->transport;
    struct tcp_job *job = lane->job;

    job->send = !lane->tx.blocked && tcp_sender_pending(&lane->tx);
    job->receive = tcp_lane_receives_much(lane);
    if (job->receive)
        lane->readable = false;
    job->send_bytes = tcp_lane_turn_bytes(lane);
    job->now_ns = t->now_ns;
    job->sent = 0;
    job->receive_rc = 0;
    job->why.error = 0;
    job->budget = JOB_ARRIVALS;
    job->arrival_count = 0;
    job->has_frame = false;
    tcp_lane_count(lane, &job->before);
    lane->away = true;
    tcp_list_remove(&lane->in_list); /* of the busy ones, if it was woken meanwhile */
    tcp_list_add_tail(&t->away, &lane->in_list);
    tcp_lane_thread_give(job->thread);
}

void tcp_lane_count(const struct tcp_lane *lane, struct tcp_lane_counts *counts)
{
    if (lane->away && !tcp_lane_thread_is_over(lane->job->thread)) {
        *counts = lane->job->before;
        return;
    }
    counts->send_calls = lane->tx.send_calls;
    counts->receive_calls = lane->rx.receive_calls;
    counts->zerocopy_sends = lane->tx.zerocopy.sends;
    counts->zerocopy_copied = lane->tx.zerocopy.copied;
    counts->handed_bytes = lane->tx.handed_bytes;
    counts->send_mode = tcp_send_mode_name(&lane->tx.mode);
    snprintf(counts->send_mode_why, sizeof(counts->send_mode_why), "%s",
             tcp_send_mode_why(&lane->tx.mode));
}

/* ---- coming back ------------------------------------------------------------------------------
 */

static void deliver(struct tcp_lane *lane, const struct tcp_job *job, int *budget)
{
    const struct tcp_receive_sink *sink = &tcp_link_sink;

    for (uint32_t i = 0; i < job->arrival_count; i++)
        sink->arrival(lane, job->arrivals[i].immediate, job->arrivals[i].len_bytes,
                      job->arrivals[i].spliced);
    *budget -= (int)job->arrival_count + job->has_frame;
    if (!job->has_frame)
        return;
    if (job->frame.type == TCP_FRAME_SEND)
        sink->message(lane, job->payload, job->frame.len_bytes);
    else
        (void)sink->control(lane, &job->frame, job->payload);
}

/* The lane is at home again, and all that it found out is acted upon, in the order of a turn. */
static uint64_t settle(struct tcp_lane *lane, int *budget)
{
    struct tcp_job *job = lane->job;
    uint64_t moved;

    tcp_list_remove(&lane->in_list);
    lane->away = false;
    moved = tcp_lane_settle_send(lane, job->sent);
    if (!job->receive) {
        tcp_lane_turn_ends(lane);
        return moved;
    }
    if (lane->link->state == TCP_LINK_UP) {
        deliver(lane, job, budget);
    } else {
        /* The link ends meanwhile: what was received is dropped, as what is still unread will be,
         * but not that the connection is over. */
        if (job->why.error != 0)
            job->receive_rc = 0;
        job->why.error = 0;
        lane->readable = true;
    }
    moved += tcp_lane_settle_receive(lane, job->receive_rc, &job->why, job->received_bytes);
    tcp_lane_turn_ends(lane);
    return moved;
}

uint64_t tcp_lanes_take_back(struct tcp_transport *t, int *budget)
{
    uint64_t moved = 0;
    unsigned count = 0;

    for (struct tcp_list *item = t->away.next; item != &t->away; item = item->next)
        count++;
    /* Each is looked at once; what one of them brings may end its link, and so take others out. */
    for (; count > 0 && *budget > 0 && !tcp_list_empty(&t->away); count--) {
        struct tcp_lane *lane = TCP_LIST_ENTRY(t->away.next, struct tcp_lane, in_list);

        tcp_list_remove(&lane->in_list);
        tcp_list_add_tail(&t->away, &lane->in_list);
        if (tcp_lane_thread_is_over(lane->job->thread))
            moved += settle(lane, budget);
    }
    return moved;
}

bool tcp_lanes_await(struct tcp_transport *t)
{
    uint32_t rings = tcp_bell_rings(&t->bell);

    if (tcp_list_empty(&t->away))
        return false;
    for (struct tcp_list *item = t->away.next; item != &t->away; item = item->next) {
        if (tcp_lane_thread_is_over(TCP_LIST_ENTRY(item, struct tcp_lane, in_list)->job->thread))
            return true;
    }
    tcp_bell_wait(&t->bell, rings);
    return true;
}

void tcp_lane_recall(struct tcp_lane *lane)
{
    if (!lane->away)
        return;
    tcp_lane_thread_wait(lane->job->thread);
    if (lane->job->sent < 0) { /* before anybody sends again and takes what follows for the cause */
        tcp_lane_defer_error(lane, (int)-lane->job->sent);
        lane->job->sent = 0;
    }
}

void tcp_link_recall(const struct tcp_link *link)
{
    for (uint32_t i = 0; i < link->lane_count; i++)
        tcp_lane_recall(&link->lanes[i]);
}

void tcp_lane_forget(struct tcp_lane *lane)
{
    tcp_lane_recall(lane);
    lane->away = false;
    tcp_list_remove(&lane->in_list);
}
