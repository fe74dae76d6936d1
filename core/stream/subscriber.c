/*
 * The subscriber's public calls: opening, taking batches, waiting, closing. All progress is made in
 * subscriber_progress, one round without blocking.
 */
#include "stream/subscriber.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/diag.h"
#include "common/log.h"
#include "stream/config.h"
#include "stream/link_count.h"

static int subscriber_progress(struct embar_subscriber *s)
{
    struct embar_diag diag = {0};
    int events = endpoint_poll(&s->endpoint, &diag);

    if (events < 0) {
        if (!s->failure.error) {
            s->failure = diag;
            log_error("%s", diag.text);
        }
        return events;
    }
    session_check_all(s);
    subscriber_report_due(s, events == 0 && endpoint_is_quiet(&s->endpoint));
    return events;
}

static uint64_t subscriber_deadline(const struct embar_subscriber *s)
{
    uint64_t deadline = endpoint_deadline(&s->endpoint);
    uint64_t sessions = session_deadline(s);

    return sessions < deadline ? sessions : deadline;
}

static uint64_t until(const struct embar_subscriber *s, int timeout_ms)
{
    if (timeout_ms < 0)
        return UINT64_MAX;
    if (timeout_ms == 0)
        return 0; /* over by any clock */
    return env_now_ns(s->endpoint.env) + (unsigned)timeout_ms * NS_PER_MS;
}

static void deliver(struct embar_subscriber *s, struct embar_batch **batch)
{
    struct embar_batch *first = s->ready;
    const struct batch_header *header = &first->header;
    uint64_t wall = env_wall_ns(s->endpoint.env);

    s->ready = first->next_ready;
    if (!s->ready)
        s->ready_end = &s->ready;
    first->state = SLOT_HELD;
    first->session->held++;
    if (s->stats.first_ns == 0)
        s->stats.first_ns = s->endpoint.now_ns;
    s->stats.batches++;
    s->stats.messages += header->messages;
    s->stats.bytes += header->payload_bytes - (uint64_t)header->messages * MESSAGE_HEADER_BYTES;
    histogram_record(&s->latency, wall > header->published_ns ? wall - header->published_ns : 0);
    *batch = first;
}

int embar_next(struct embar_subscriber *s, struct embar_batch **batch, int timeout_ms)
{
    uint64_t end = 0;

    while (!s->ready) {
        int events = subscriber_progress(s);
        uint64_t deadline = subscriber_deadline(s);

        if (s->ready)
            break;
        if (s->failure.error)
            return -s->failure.error;
        if (timeout_ms == 0)
            return 0;
        if (end == 0)
            end = until(s, timeout_ms);
        if (s->endpoint.now_ns >= end)
            return 0;
        if (events == 0)
            endpoint_wait(&s->endpoint, deadline < end ? deadline : end);
    }
    deliver(s, batch);
    return 1;
}

int embar_subscriber_poll(struct embar_subscriber *s, int timeout_ms)
{
    uint64_t end = until(s, timeout_ms);

    for (;;) {
        int events = subscriber_progress(s);
        uint64_t deadline = subscriber_deadline(s);

        if (events > 0 || s->ready)
            return 1;
        if (s->failure.error)
            return -s->failure.error;
        if (s->endpoint.now_ns >= end)
            return 0;
        endpoint_wait(&s->endpoint, deadline < end ? deadline : end);
    }
}

int embar_subscriber_fd(const struct embar_subscriber *s)
{
    return s->endpoint.epoll_fd;
}

int embar_subscriber_arm(struct embar_subscriber *s)
{
    if (s->ready)
        return -EAGAIN;
    subscriber_report_due(s, true); /* the caller is about to sleep */
    return endpoint_arm(&s->endpoint, subscriber_deadline(s));
}

const char *embar_subscriber_address(const struct embar_subscriber *s)
{
    return s->endpoint.address;
}

const struct embar_diag *embar_subscriber_failure(const struct embar_subscriber *s)
{
    return &s->failure;
}

void embar_batch_info(const struct embar_batch *batch, struct embar_batch_info *info)
{
    *info = (struct embar_batch_info){
        .publisher = batch->session->instance,
        .sequence = batch->header.sequence,
        .first_message = batch->header.first_message,
        .messages = batch->header.messages,
        .payload_bytes = batch->header.payload_bytes,
        .published_ns = batch->header.published_ns,
    };
}

struct embar_iter embar_iterate(const struct embar_batch *batch)
{
    const uint8_t *payload = batch->bytes + BATCH_HEADER_BYTES;

    return (struct embar_iter){
        .pos = payload,
        .end = payload + batch->header.payload_bytes,
        .left = batch->header.messages,
    };
}

int embar_subscriber_open(const struct embar_config *config, struct embar_subscriber **subscriber,
                          struct embar_diag *diag)
{
    struct embar_subscriber *s;
    int rc = embar_config_check(config, diag);

    if (rc < 0)
        return rc;
    s = calloc(1, sizeof *s);
    if (!s)
        return diag_fail(diag, ENOMEM, "out of memory for a subscriber");
    s->options = *config_stream(config);
    s->ready_end = &s->ready;
    rc = endpoint_open(&s->endpoint, config, &s->options, &subscriber_role, s,
                       s->options.subscriber_listen, s->options.subscriber_connect, diag);
    if (rc < 0)
        goto free_subscriber;
    rc = stream_buffer_open(&s->spare, &s->endpoint, 0, EMBAR_ACCESS_REMOTE, diag);
    if (rc < 0)
        goto close_endpoint;
    *subscriber = s;
    return 0;

close_endpoint:
    endpoint_close(&s->endpoint);
    endpoint_free(&s->endpoint);
free_subscriber:
    free(s);
    return rc;
}

void embar_subscriber_close(struct embar_subscriber *s)
{
    struct control_message leave = {.type = CONTROL_LEAVE};

    if (!s)
        return;
    for (struct session *session = s->sessions; session; session = session->next) {
        if (!session->conn)
            continue;
        if (session->state != SESSION_CONFIRMED)
            endpoint_send(session->conn, &leave);
        session->conn->peer = NULL;
    }
    endpoint_close(&s->endpoint);
    lenders_close(s);
    while (s->sessions)
        session_free(s->sessions);
    stream_buffer_close(&s->spare);
    endpoint_free(&s->endpoint);
    free(s);
}

void embar_subscriber_stats(const struct embar_subscriber *s, struct embar_stats *stats)
{
    *stats = s->stats;
    stats->level_bytes[EMBAR_SENT] = stats->level_bytes[EMBAR_PLACED];
    stats->level_ns[EMBAR_SENT] = stats->level_ns[EMBAR_PLACED];
    endpoint_why(&s->endpoint, stats->transport_why, sizeof stats->transport_why);
    for (const struct session *session = s->sessions; session; session = session->next) {
        if (session->state == SESSION_UP)
            stats->peers_up++;
        stream_buffer_count(&session->buffer, stats);
    }
    stream_buffer_count(&s->spare, stats);
    link_count_all(stats, &s->endpoint);
    histogram_latency(&s->latency, stats);
}
