/*
 * Writing closed batches to the subscribers, as far as their credits and batch.in_flight allow, and
 * the messages that go with it (GAP, FINISH). Also what the passing of time means for subscribers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "stream/publisher.h"

static uint32_t in_flight(const struct peer *peer)
{
    return peer->remote.slot_count - peer->remote.free_count;
}

bool peer_has_credit(const struct embar_publisher *p, const struct peer *peer)
{
    return in_flight(peer) < p->options.batch_in_flight && peer->remote.free_count > 0;
}

void peer_stall(struct embar_publisher *p, struct peer *peer, bool stalled)
{
    if (stalled && peer->stall_since_ns == 0) {
        peer->stall_since_ns = p->endpoint.now_ns;
    } else if (!stalled && peer->stall_since_ns != 0) {
        p->stats.credit_stall_ns += p->endpoint.now_ns - peer->stall_since_ns;
        peer->stall_since_ns = 0;
    }
}

/* Its bytes lie in the peer's buffer already, in a slot whose credit was taken for it. */
static int tell(struct peer *peer, const struct record *record, struct embar_write *write)
{
    write->buffer = NULL;
    write->len_bytes = record->len_bytes;
    write->remote_offset = record->remote_slot * peer->slot_bytes;
    write->immediate = record->remote_slot;
    return embar_write(peer->conn->link, write);
}

/* Takes a credit and writes from the batch's own slot, or lends it. */
static int write_own(struct embar_publisher *p, struct peer *peer, const struct record *record,
                     struct embar_write *write, struct embar_diag *diag)
{
    uint32_t slot;
    int rc;

    if (!peer_has_credit(p, peer))
        return -ENOBUFS;
    rc = stream_buffer_on(&p->buffer, peer->conn->transport, &write->buffer, diag);
    if (rc < 0)
        return rc;
    slot_pool_get(&peer->remote, &slot);
    write->offset = (size_t)record->slot * p->options.batch_size;
    write->len_bytes = record->len_bytes;
    write->remote_offset = slot * peer->slot_bytes;
    write->immediate = slot;
    write->loan = lend_ready(p, peer) ? peer->lending->loan : NULL;
    rc = embar_write(peer->conn->link, write);
    if (rc < 0)
        slot_pool_put(&peer->remote, slot);
    else if (write->loan)
        lend_note(p, peer, record);
    return rc;
}

/* 0, or why the next batch cannot be written: -EAGAIN from the link, -ENOBUFS for want of a credit,
 * -ENOTCONN when the link is over; anything else ends the link here. */
static int write_next(struct embar_publisher *p, struct peer *peer)
{
    const struct record *record = publisher_record(p, peer->next_seq);
    struct embar_write write = {.key = peer->key, .token = record->slot};
    struct embar_diag diag = {0};
    int rc = record->in_place == peer ? tell(peer, record, &write)
                                      : write_own(p, peer, record, &write, &diag);

    if (rc == -EAGAIN || rc == -ENOTCONN || rc == -ENOBUFS)
        return rc;
    if (rc < 0) {
        if (!diag.error)
            diag_fail(&diag, -rc, "batches of up to %" PRIu64 " bytes cannot be written: %s",
                      p->options.batch_size, strerror(-rc));
        endpoint_end(peer->conn, REJECT_RESOURCES, "%s", diag.text);
        return rc;
    }
    p->sources[record->slot].writes++;
    peer->writes++;
    peer->next_seq++;
    return 0;
}

static bool send_due(struct embar_publisher *p, struct peer *peer)
{
    struct control_message message;

    if (peer->gap_due.from_sequence != peer->gap_due.to_sequence) {
        /* The subscriber keeps one gap in mind. Its CREDIT says when it has come past the last. */
        if (peer->placed_next < peer->gap_end)
            return false;
        message.type = CONTROL_GAP;
        message.gap = peer->gap_due;
        if (endpoint_send(peer->conn, &message) < 0)
            return false;
        peer->gap_end = peer->gap_due.to_sequence;
        peer->gap_messages = peer->gap_due_messages;
        peer->gap_due.from_sequence = peer->gap_due.to_sequence;
    }
    if (p->finishing && !peer->finish_sent && peer->next_seq == p->next_seq) {
        message.type = CONTROL_FINISH;
        message.totals.end_sequence = p->next_seq;
        message.totals.end_message = p->total_messages;
        message.totals.bytes = peer->rejoined ? UNKNOWN_BYTES : p->total_bytes - peer->start_bytes;
        peer->finish_sent = endpoint_send(peer->conn, &message) == 0;
    }
    return true;
}

/* The next batch is not even opened, because the peer has not given back what that takes: a credit
 * to build it in place with, or the slot of its oldest batch. */
static bool holds_up(const struct embar_publisher *p, const struct peer *peer)
{
    return p->refused && p->started &&
           ((peer == in_place_peer(p) && !peer_has_credit(p, peer)) ||
            (p->slots.free_count == 0 && peer_needs(p, peer) == p->oldest_seq));
}

void publisher_pump(struct embar_publisher *p)
{
    for (struct peer *peer = p->peers; peer; peer = peer->next) {
        int rc = 0;

        if (peer->state != PEER_UP || !send_due(p, peer))
            continue;
        while (rc == 0 && peer->next_seq < p->next_seq)
            rc = write_next(p, peer);
        peer_stall(p, peer, rc == -ENOBUFS || holds_up(p, peer));
        send_due(p, peer);
    }
    if (!publisher_has_peers(p))
        publisher_advance(p); /* nobody is left whose words would do it */
}

/* Subscribers that are there, may come back, or are being connected to for the first time. */
static unsigned peers_possible(const struct embar_publisher *p)
{
    unsigned count = p->confirmed;

    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        count += peer_counts(peer);
    for (unsigned i = 0; i < p->endpoint.target_count; i++) {
        const struct target *target = &p->endpoint.targets[i];
        bool known = false;

        for (const struct peer *peer = p->peers; peer; peer = peer->next)
            known |= peer->target == target && peer_counts(peer);
        count += target->state != TARGET_FAILED && !known;
    }
    return count;
}

static void check_enough(struct embar_publisher *p)
{
    const struct embar_diag *why = NULL;
    unsigned possible = peers_possible(p);

    if (possible >= p->options.publisher_min_subscribers)
        return;
    if (p->endpoint.target_count == 0 && !p->started)
        return; /* a listener waits for as long as it takes */
    for (unsigned i = 0; i < p->endpoint.target_count; i++)
        if (p->endpoint.targets[i].failure.error)
            why = &p->endpoint.targets[i].failure;
    if (why)
        publisher_fail(p, why->error, "%s", why->text);
    else
        publisher_fail(p, ENOTCONN, "%u of the %d subscribers that are needed are left: %s",
                       possible, (int)p->options.publisher_min_subscribers, p->last_loss);
}

void publisher_check_peers(struct embar_publisher *p)
{
    unsigned up = 0;

    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        up += peer->state == PEER_UP;
    if (up >= p->options.publisher_min_subscribers)
        p->started = true;
    for (struct peer *peer = p->peers; peer; peer = peer->next) {
        bool waiting = peer->state == PEER_DETACHED || peer->state == PEER_JOINING;

        if (!waiting || p->endpoint.now_ns < peer->deadline_ns)
            continue;
        peer->deadline_ns = UINT64_MAX;
        if (peer->conn)
            endpoint_end(peer->conn, REJECT_BUSY, "no GRANT within handshake_timeout");
        else
            peer_lost(p, peer, "it did not come back within reconnect_timeout");
    }
    check_enough(p);
}

uint64_t publisher_peers_deadline(const struct embar_publisher *p)
{
    uint64_t deadline = UINT64_MAX;

    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        if ((peer->state == PEER_DETACHED || peer->state == PEER_JOINING) &&
            peer->deadline_ns < deadline)
            deadline = peer->deadline_ns;
    return deadline;
}

void publisher_forget_peers(struct embar_publisher *p)
{
    struct peer **at = &p->peers;

    while (*at) {
        struct peer *peer = *at;

        if (peer->state != PEER_FINISHED && peer->state != PEER_LOST) {
            at = &peer->next;
            continue;
        }
        *at = peer->next;
        room_forget_peer(p, peer);
        slot_pool_destroy(&peer->remote);
        free(peer);
    }
}
