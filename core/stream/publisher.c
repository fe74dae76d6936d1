/*
 * The publisher's public calls: opening, waiting, flushing, finishing, closing. All progress is
 * made in publisher_progress, one round without blocking.
 */
#include "stream/publisher.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "stream/config.h"
#include "stream/link_count.h"

void publisher_fail(struct embar_publisher *p, int error, const char *fmt, ...)
{
    va_list args;

    if (p->failure.error)
        return;
    p->failure.error = error;
    va_start(args, fmt);
    vsnprintf(p->failure.text, sizeof p->failure.text, fmt, args);
    va_end(args);
    /* A room that is being built in stays where it is, and keeps the link that maps it. */
    in_place_move_open(p);
    if (p->reserving == ROOM_HERE)
        p->reserving = ROOM_NONE;
    p->room = 0; /* the next publish takes the slow path and finds the failure */
    log_error("%s", p->failure.text);
}

int publisher_progress(struct embar_publisher *p)
{
    struct embar_diag diag = {0};
    int events = endpoint_poll(&p->endpoint, &diag);

    if (events < 0) {
        publisher_fail(p, diag.error, "%s", diag.text);
        return events;
    }
    if (publisher_linger_due(p))
        publisher_close_batch(p, EMBAR_SENT);
    publisher_check_peers(p);
    lend_check(p);
    publisher_pump(p);
    if (p->refused)
        publisher_slow(p);
    publisher_forget_peers(p);
    return events;
}

static uint64_t publisher_deadline(const struct embar_publisher *p)
{
    uint64_t deadline = endpoint_deadline(&p->endpoint);
    uint64_t peers = publisher_peers_deadline(p);
    uint64_t batch = publisher_batch_deadline(p);

    if (peers < deadline)
        deadline = peers;
    return batch < deadline ? batch : deadline;
}

static uint64_t until(const struct embar_publisher *p, int timeout_ms)
{
    if (timeout_ms < 0)
        return UINT64_MAX;
    if (timeout_ms == 0)
        return 0; /* over by any clock */
    return env_now_ns(p->endpoint.env) + (unsigned)timeout_ms * NS_PER_MS;
}

/* Progress until `done`, the failure or the time: 0, the failure, -ETIMEDOUT. */
static int wait_for(struct embar_publisher *p, bool (*done)(const struct embar_publisher *, int),
                    int argument, int timeout_ms)
{
    uint64_t end = until(p, timeout_ms);

    p->refused = false; /* the caller waits for this, not for room */
    for (;;) {
        int events = publisher_progress(p);
        uint64_t deadline = publisher_deadline(p);

        if (p->failure.error)
            return -p->failure.error;
        if (done(p, argument))
            return 0;
        if (p->endpoint.now_ns >= end)
            return -ETIMEDOUT;
        if (events == 0)
            endpoint_wait(&p->endpoint, deadline < end ? deadline : end);
    }
}

static bool is_started(const struct embar_publisher *p, int unused)
{
    (void)unused;
    return p->started;
}

int embar_publisher_wait(struct embar_publisher *p, int timeout_ms)
{
    return wait_for(p, is_started, 0, timeout_ms);
}

static bool has_reached(const struct embar_publisher *p, int level)
{
    return p->level_next[level] == p->next_seq;
}

int embar_flush(struct embar_publisher *p, enum embar_level level, int timeout_ms)
{
    if ((unsigned)level >= LEVELS)
        return -EINVAL;
    room_back(p);
    if (p->messages > 0)
        publisher_close_batch(p, level);
    return wait_for(p, has_reached, (int)level, timeout_ms);
}

static bool is_finished(const struct embar_publisher *p, int unused)
{
    (void)unused;
    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer_counts(peer))
            return false;
    /* The transport may still be reading the last slots, and counting how it sent them. */
    return p->level_next[EMBAR_SENT] == p->next_seq;
}

int embar_publisher_finish(struct embar_publisher *p, int timeout_ms)
{
    int rc;

    if (p->failure.error)
        return -p->failure.error;
    if (p->messages > 0)
        publisher_close_batch(p, EMBAR_SENT);
    p->finishing = true;
    room_back(p);
    p->room = 0;
    rc = wait_for(p, is_finished, 0, timeout_ms);
    if (rc < 0)
        return rc;
    if (p->mismatch)
        return -EBADMSG;
    if (p->stats.peers_lost > 0) {
        publisher_fail(p, ENOTCONN, "%u of %u subscribers were lost before the end",
                       p->stats.peers_lost, p->stats.peers_joined);
        return -ENOTCONN;
    }
    return 0;
}

int embar_publisher_poll(struct embar_publisher *p, int timeout_ms)
{
    uint64_t end = until(p, timeout_ms);

    for (;;) {
        int events = publisher_progress(p);
        uint64_t deadline = publisher_deadline(p);

        if (p->failure.error)
            return -p->failure.error;
        if (p->refused && publisher_has_room(p)) {
            publisher_end_refusal(p);
            return 1;
        }
        if (events > 0)
            return 1;
        if (p->endpoint.now_ns >= end)
            return 0;
        endpoint_wait(&p->endpoint, deadline < end ? deadline : end);
    }
}

int embar_publisher_fd(const struct embar_publisher *p)
{
    return p->endpoint.epoll_fd;
}

int embar_publisher_arm(struct embar_publisher *p)
{
    return endpoint_arm(&p->endpoint, publisher_deadline(p));
}

const struct embar_diag *embar_publisher_failure(const struct embar_publisher *p)
{
    return &p->failure;
}

const char *embar_publisher_address(const struct embar_publisher *p)
{
    return p->endpoint.address;
}

static int ring_open(struct embar_publisher *p, uint32_t slots)
{
    uint64_t size = 1;

    /* All source slots unsent, and as much as one subscriber can have in flight behind them. */
    while (size < (uint64_t)slots + CONTROL_SLOTS + 1)
        size *= 2;
    p->ring = calloc(size, sizeof *p->ring);
    p->ring_mask = size - 1;
    p->sources = calloc(slots, sizeof *p->sources);
    return p->ring && p->sources ? 0 : -ENOMEM;
}

int embar_publisher_open(const struct embar_config *config, struct embar_publisher **publisher,
                         struct embar_diag *diag)
{
    struct embar_publisher *p;
    uint32_t slots;
    int rc = embar_config_check(config, diag);

    if (rc < 0)
        return rc;
    p = calloc(1, sizeof *p);
    if (!p)
        return diag_fail(diag, ENOMEM, "out of memory for a publisher");
    p->options = *config_stream(config);
    slots = (uint32_t)(p->options.buffer_size / p->options.batch_size);
    rc = endpoint_open(&p->endpoint, config, &p->options, &publisher_role, p,
                       p->options.publisher_listen, p->options.publisher_connect, diag);
    if (rc < 0)
        goto free_publisher;
    rc = stream_buffer_open(&p->buffer, &p->endpoint, 0, EMBAR_ACCESS_LOCAL, diag);
    if (rc < 0)
        goto close_endpoint;
    rc = slot_pool_init(&p->slots, slots);
    if (rc == 0)
        rc = ring_open(p, slots);
    if (rc < 0) {
        diag_fail(diag, -rc, "out of memory for %u slots", slots);
        goto close_buffer;
    }
    *publisher = p;
    return 0;

close_buffer:
    free(p->sources);
    free(p->ring);
    slot_pool_destroy(&p->slots);
    stream_buffer_close(&p->buffer);
close_endpoint:
    endpoint_close(&p->endpoint);
    endpoint_free(&p->endpoint);
free_publisher:
    free(p);
    return rc;
}

void embar_publisher_close(struct embar_publisher *p)
{
    struct control_message leave = {.type = CONTROL_LEAVE};
    struct peer *peer;

    if (!p)
        return;
    room_back(p);
    for (peer = p->peers; peer; peer = peer->next)
        if (peer->conn) {
            endpoint_send(peer->conn, &leave);
            peer->conn->peer = NULL;
        }
    endpoint_close(&p->endpoint);
    while ((peer = p->peers)) {
        p->peers = peer->next;
        slot_pool_destroy(&peer->remote);
        lend_leave(p, peer);
        free(peer);
    }
    lend_close(p);
    stream_buffer_close(&p->buffer);
    endpoint_free(&p->endpoint);
    slot_pool_destroy(&p->slots);
    free(p->sources);
    free(p->ring);
    free(p);
}

void embar_publisher_stats(const struct embar_publisher *p, struct embar_stats *stats)
{
    *stats = p->stats;
    stats->messages = p->total_messages + p->messages;
    stats->bytes = p->total_bytes + publisher_open_bytes(p);
    stats->first_ns = p->first_ns;
    endpoint_why(&p->endpoint, stats->transport_why, sizeof stats->transport_why);
    for (const struct peer *peer = p->peers; peer; peer = peer->next) {
        if (peer->state == PEER_UP)
            stats->peers_up++;
        if (peer->stall_since_ns)
            stats->credit_stall_ns += p->endpoint.now_ns - peer->stall_since_ns;
    }
    link_count_all(stats, &p->endpoint);
    in_place_why(p, stats);
    histogram_latency(&p->latency, stats);
    stream_buffer_count(&p->buffer, stats);
}
