/*
 * <embar/embar.h> - the upper level: publishers and subscribers of a stream.
 *
 * A publisher packs messages into batches and writes each batch into the buffer of every subscriber
 * that has joined; a subscriber takes whole batches in place and releases them. Per publisher and
 * subscriber messages arrive in order, without gap or duplicate, also across a reconnect; a gap
 * that policy allows is counted and never silent.
 *
 * Conventions. 0, a count, or a negative errno; outputs are written on success only; -EAGAIN:
 * nothing was taken, poll and call again. One thread per object. Time-outs are in milliseconds: 0
 * does not block, -1 waits without bound. Nothing moves while no call is made: a program with its
 * own event loop waits on the object's descriptor and calls its poll function.
 */
#ifndef EMBAR_H
#define EMBAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <embar/config.h>
#include <embar/diag.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* the library is built with hidden symbols */

struct embar_publisher;
struct embar_subscriber;
struct embar_batch; /* one batch in the subscriber's buffer */

/* How far a batch has come. */
enum embar_level {
    EMBAR_SENT = 0, /* its source slot may be reused: the transport has the bytes */
    EMBAR_PLACED,   /* its bytes lie in the subscriber's buffer */
    EMBAR_CONSUMED, /* the subscriber's application has released it */
};

/* ---- publisher ---------------------------------------------------------------------------- */

/*
 * Allocates the buffer, listens or begins to connect. Does not wait for subscribers.
 * Errors: those of embar_config_check, embar_transport_open, embar_buffer_alloc and embar_listen.
 */
int embar_publisher_open(const struct embar_config *config, struct embar_publisher **publisher,
                         struct embar_diag *diag);

/* Ends all links, giving the goodbyes up to 200 ms to leave, and frees. Always succeeds. */
void embar_publisher_close(struct embar_publisher *publisher);

/* Waits until publisher.min_subscribers have joined. -ETIMEDOUT; the publisher's failure (see
 * embar_publisher_failure). Blocks up to `timeout_ms`. */
int embar_publisher_wait(struct embar_publisher *publisher, int timeout_ms);

/*
 * Copies a message into the open batch; an empty message (len 0) is a message. A full batch goes
 * out at once, a partial one after batch.linger or with embar_flush. Errors: -EAGAIN no slot is
 * free or too few subscribers have joined: poll and call again; -EMSGSIZE more than
 * embar_publisher_max_message; the publisher's failure.
 */
int embar_publish(struct embar_publisher *publisher, const void *data, size_t len_bytes);

/*
 * Gives room for a message of up to `len_bytes` in the open batch's slot, to be built in place:
 * with one subscriber over a transport with EMBAR_CAP_MAPPED (shm) that is memory of the
 * subscriber's own buffer, and nothing is copied any more. The room is valid until embar_commit,
 * also when the link is lost meanwhile; the next embar_reserve, embar_publish, embar_flush or
 * embar_publisher_finish takes it back. Errors as publish.
 */
int embar_reserve(struct embar_publisher *publisher, size_t len_bytes, void **data);

/* Publishes the first `len_bytes` of the reserved room. -EINVAL nothing reserved, or more than was.
 */
int embar_commit(struct embar_publisher *publisher, size_t len_bytes);

/* Largest message: a slot less the batch header and one message header. */
size_t embar_publisher_max_message(const struct embar_publisher *publisher);

/*
 * Sends the open batch and waits until all that was published has reached `level` at every
 * subscriber. Subscribers report a batch that this call closes at once; one that was closed before,
 * by batch.linger, within a moment of quiet or 1 ms. 0; -ETIMEDOUT (nothing is lost, call again);
 * the publisher's failure.
 */
int embar_flush(struct embar_publisher *publisher, enum embar_level level, int timeout_ms);

/*
 * Flushes, tells every subscriber the totals, and waits until each has confirmed that it consumed
 * just that. After it only stats and close may be called. 0; -ETIMEDOUT; -EBADMSG a subscriber
 * counted differently; the publisher's failure.
 */
int embar_publisher_finish(struct embar_publisher *publisher, int timeout_ms);

/* Makes progress; with nothing to do waits up to `timeout_ms`. 1 when something happened, 0 when
 * not; the publisher's failure. */
int embar_publisher_poll(struct embar_publisher *publisher, int timeout_ms);

/* For an event loop: wait for POLLIN on fd after arm returned 0 (-EAGAIN: poll first), then call
 * embar_publisher_poll(publisher, 0). The descriptor also wakes for linger and time-outs. */
int embar_publisher_fd(const struct embar_publisher *publisher);
int embar_publisher_arm(struct embar_publisher *publisher);

/* Why the publisher failed (error 0: it has not). Failures are final: nobody listened for
 * connect_timeout (-ETIMEDOUT), every subscriber refused (-ECONNREFUSED), too few are left
 * (-ENOTCONN). Valid as long as the publisher. */
const struct embar_diag *embar_publisher_failure(const struct embar_publisher *publisher);

/* ---- subscriber --------------------------------------------------------------------------- */

/* As embar_publisher_open. Buffers are allocated when publishers join, the first one at once. */
int embar_subscriber_open(const struct embar_config *config, struct embar_subscriber **subscriber,
                          struct embar_diag *diag);

/* Ends all links, giving the goodbyes up to 200 ms to leave, and frees. Batches not released become
 * invalid. Always succeeds. */
void embar_subscriber_close(struct embar_subscriber *subscriber);

/*
 * The next batch, checked and in order per publisher; waits up to `timeout_ms`. Returns 1 and a
 * batch, or 0 when none came; the subscriber's failure. Several batches may be held at once, each
 * keeps its slot from the publisher.
 */
int embar_next(struct embar_subscriber *subscriber, struct embar_batch **batch, int timeout_ms);

/* Gives the slot back to its publisher. The batch is invalid then. */
void embar_release(struct embar_batch *batch);

struct embar_batch_info {
    uint64_t publisher;     /* the publisher's session id */
    uint64_t sequence;      /* of the batch, from 0 */
    uint64_t first_message; /* number of its first message, from 0 */
    uint32_t messages;
    size_t payload_bytes;  /* message headers included */
    uint64_t published_ns; /* publisher's CLOCK_REALTIME when the batch was closed */
};

void embar_batch_info(const struct embar_batch *batch, struct embar_batch_info *info);

/* Walks the messages of a batch: `struct embar_iter it = embar_iterate(batch);`. Plain data. */
struct embar_iter {
    const unsigned char *pos, *end;
    uint32_t left;
};

struct embar_iter embar_iterate(const struct embar_batch *batch);

/* 1 and the message, in place (valid until the batch is released); 0 at the end; -EBADMSG when the
 * publisher built the batch wrongly. */
int embar_iter_next(struct embar_iter *iter, const void **data, size_t *len_bytes);

/* Makes progress without taking a batch; as embar_publisher_poll. */
int embar_subscriber_poll(struct embar_subscriber *subscriber, int timeout_ms);
int embar_subscriber_fd(const struct embar_subscriber *subscriber);
int embar_subscriber_arm(struct embar_subscriber *subscriber);

/* Where the subscriber listens (port 0 resolved), or "" when it connects. */
const char *embar_subscriber_address(const struct embar_subscriber *subscriber);
const char *embar_publisher_address(const struct embar_publisher *publisher);

const struct embar_diag *embar_subscriber_failure(const struct embar_subscriber *subscriber);

/* ---- stats -------------------------------------------------------------------------------- */

struct embar_stats {
    char transport[16];      /* of the last link that came up; "" when none has */
    char transport_why[256]; /* why a preferred one is not in use; "" when it is */
    char send_mode[16];
    char send_mode_why[160];
    uint64_t messages, batches, bytes; /* published, or delivered; bytes are message bytes */
    /* Bytes that have reached each level at every peer that needs them (a subscriber: all equal),
     * and when the last of them did. CLOCK_MONOTONIC; 0 before the first. */
    uint64_t level_bytes[3], level_ns[3];
    uint64_t first_ns; /* first message published, or first batch delivered */
    /* Publisher: closing of a batch to its release by the slowest subscriber. Subscriber: closing
     * of a batch to its delivery by the two hosts' real-time clocks. */
    uint64_t latency_ns_p50, latency_ns_p90, latency_ns_p99, latency_ns_p999, latency_ns_max;
    uint64_t zerocopy_sends, zerocopy_copied, send_calls, receive_calls;
    uint64_t receiver_not_ready, registrations;
    uint64_t gaps;       /* messages missing by policy or loss, as reported by the stream */
    uint64_t duplicates; /* batches that came twice and were dropped */
    uint64_t reordered;  /* batches that arrived before an earlier one and waited for it */
    uint64_t checksum_errors;
    uint64_t reconnects;      /* links that came back after a loss */
    uint64_t failovers;       /* of these, those over another transport than before */
    uint64_t credit_stall_ns; /* publisher: time in which a batch waited for a credit */
    uint32_t peers_joined;    /* so far */
    uint32_t peers_up;        /* now */
    uint32_t peers_finished;  /* ended with FINISH and equal totals */
    uint32_t peers_lost;      /* ended otherwise */
    uint32_t lanes, lane_threads;
    char page_kind[16];  /* of the buffers: the worst of them */
    uint64_t page_count; /* of all of them */
    uint64_t buffer_bytes;
};

void embar_publisher_stats(const struct embar_publisher *publisher, struct embar_stats *stats);
void embar_subscriber_stats(const struct embar_subscriber *subscriber, struct embar_stats *stats);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
