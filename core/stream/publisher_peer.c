/*
 * The subscribers of a publisher: joining and coming back, writing batches into their slots as
 * credits allow, and what they say. Everything a subscriber says is checked against what was sent
 * to it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "stream/link_count.h"
#include "stream/publisher.h"
#include "stream/targets.h"

static void publisher_hello(void *self, struct control_hello *hello)
{
    struct embar_publisher *p = self;

    hello->ack = (uint8_t)p->options.ack;
    hello->checksum = p->options.checksum == CHECKSUM_CRC32C;
    hello->slot_bytes = p->options.batch_size;
    hello->in_flight = (uint32_t)p->options.batch_in_flight;
}

static struct peer *find_peer(struct embar_publisher *p, uint64_t instance)
{
    for (struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer->instance == instance && peer->state != PEER_LOST && peer->state != PEER_FINISHED)
            return peer;
    return NULL;
}

static enum control_reject publisher_admit(void *self, struct conn *conn,
                                           const struct control_hello *hello, char *reason,
                                           size_t reason_bytes)
{
    struct embar_publisher *p = self;

    (void)conn;
    if (hello->slot_bytes < p->options.batch_size) {
        snprintf(reason, reason_bytes,
                 "batches of %" PRIu64 " bytes do not fit into slots of %" PRIu64
                 ": give both ends the same batch.size",
                 p->options.batch_size, hello->slot_bytes);
        return REJECT_GEOMETRY;
    }
    if (p->finishing && !find_peer(p, hello->instance)) {
        snprintf(reason, reason_bytes, "the publisher has finished");
        return REJECT_LIMIT;
    }
    return REJECT_NONE;
}

/* Batches from `sequence` on, which are kept, go out again. */
static void go_back(struct peer *peer, uint64_t sequence)
{
    peer->next_seq = sequence;
    if (peer->released_next > sequence)
        peer->released_next = sequence; /* and must not be let go before */
}

/* Its link is over, or has a successor: what had not arrived is due again. */
static void detach(struct embar_publisher *p, struct peer *peer)
{
    in_place_leave(p, peer);
    lend_leave(p, peer);
    peer->conn = NULL;
    peer->writes = 0;
    peer->gap_due.from_sequence = peer->gap_due.to_sequence; /* START will say it */
    peer_stall(p, peer, false);
    if (peer->next_seq > peer->placed_next)
        go_back(peer, peer->placed_next > p->oldest_seq ? peer->placed_next : p->oldest_seq);
    if (peer->state != PEER_UP)
        return;
    peer->state = PEER_DETACHED;
    peer->return_by_ns = p->endpoint.now_ns + p->options.reconnect_timeout_ns;
}

/* The old link of a subscriber that has come back on another one. */
static void drop_old_link(struct embar_publisher *p, struct peer *peer, const struct conn *later)
{
    struct target *target = peer->target;

    if (!peer->conn)
        return;
    peer->conn->peer = NULL;
    embar_link_abort(peer->conn->link);
    detach(p, peer);
    if (!target || !later->target || target == later->target)
        return;
    /* Two addresses: their links would drive each other out for ever. */
    diag_fail(&target->failure, EALREADY, "%s leads to the same subscriber as %s", target->address,
              later->target->address);
    log_warn("%s: only one link is kept", target->failure.text);
    target_finished(target, true);
}

static void publisher_joined(void *self, struct conn *conn, const struct control_hello *hello)
{
    struct embar_publisher *p = self;
    struct peer *peer = find_peer(p, hello->instance);

    if (!peer) {
        peer = calloc(1, sizeof *peer);
        if (!peer) {
            endpoint_end(conn, REJECT_RESOURCES, "out of memory");
            return;
        }
        peer->instance = hello->instance;
        peer->next = p->peers;
        p->peers = peer;
    }
    drop_old_link(p, peer, conn);
    snprintf(peer->name, sizeof peer->name, "%s", embar_link_peer(conn->link));
    peer->deadline_ns = p->endpoint.now_ns + p->options.handshake_timeout_ns;
    peer->conn = conn;
    peer->target = conn->target;
    conn->peer = peer;
}

static int accept_slots(struct peer *peer, const struct control_grant *grant)
{
    int rc;

    slot_pool_destroy(&peer->remote);
    memset(&peer->remote, 0, sizeof peer->remote);
    rc = slot_pool_init(&peer->remote, grant->slots);
    if (rc < 0)
        return rc;
    for (uint32_t slot = 0; slot < grant->slots; slot++)
        if (grant->taken[slot / 8] & (1u << (slot % 8)))
            slot_pool_take(&peer->remote, slot);
    return 0;
}

/* Counts what the subscriber was told that it does not get, once it has taken note of it. */
static void count_gap(struct embar_publisher *p, struct peer *peer)
{
    if (peer->placed_next < peer->gap_end)
        return;
    p->stats.gaps += peer->gap_messages;
    peer->gap_messages = 0;
}

/* It is new, or was given up and everything since then is missing. */
static void begin(struct embar_publisher *p, struct peer *peer, uint64_t wanted,
                  struct control_start *start)
{
    peer->next_seq = peer->placed_next = peer->consumed_next = p->next_seq;
    peer->placed_message = p->total_messages;
    peer->start_bytes = p->total_bytes;
    peer->rejoined = peer->gap = wanted != ANY_SEQUENCE;
    if (peer->gap)
        peer->gap_messages =
            p->total_messages - publisher_first_message(p, wanted, p->total_messages);
    peer->gap_end = p->next_seq;
    start->first_sequence = p->next_seq;
    start->first_message = p->total_messages;
}

/* Where the peer goes on: where it stopped, if that is kept, else at the oldest batch that is. What
 * lies between is a gap: for a peer that knows where it stopped START tells it. One that START
 * never reached is told where it had joined, and a GAP. */
static int go_on(struct embar_publisher *p, struct peer *peer, uint64_t wanted,
                 struct control_start *start, struct embar_diag *diag)
{
    bool told = wanted != ANY_SEQUENCE;
    uint64_t missing;

    if (!told)
        wanted = peer->placed_next;
    if (wanted > p->next_seq || wanted < peer->placed_next)
        return diag_fail(diag, EPROTO, "GRANT goes on at batch %" PRIu64 ", which was not due",
                         wanted);
    peer->placed_message = publisher_first_message(p, wanted, peer->placed_message);
    peer->placed_next = wanted;
    if (told)
        count_gap(p, peer); /* it had taken note, though its CREDIT was lost */
    peer->gap_end = peer->gap_messages = 0;
    go_back(peer, wanted > p->oldest_seq ? wanted : p->oldest_seq);
    start->first_sequence = peer->next_seq;
    start->first_message = publisher_first_message(p, peer->next_seq, p->total_messages);
    if (peer->next_seq == wanted)
        return 0;
    peer->gap = true;
    missing = start->first_message - peer->placed_message;
    if (told) {
        peer->gap_end = peer->next_seq;
        peer->gap_messages = missing;
        return 0;
    }
    peer->gap_due = (struct control_gap){wanted, peer->next_seq, start->first_message};
    peer->gap_due_messages = missing;
    start->first_sequence = wanted;
    start->first_message = peer->placed_message;
    return 0;
}

static int handle_grant(struct embar_publisher *p, struct peer *peer,
                        const struct control_grant *grant, struct embar_diag *diag)
{
    struct control_message start = {.type = CONTROL_START};
    bool again = peer->state != PEER_JOINING;
    int rc = 0;

    if (peer->state == PEER_UP)
        return diag_fail(diag, EPROTO, "a second GRANT");
    if (grant->slot_bytes < p->options.batch_size)
        return diag_fail(diag, EPROTO, "GRANT of slots of %" PRIu64 " bytes", grant->slot_bytes);
    if (again)
        rc = go_on(p, peer, grant->next_sequence, &start.start, diag);
    else
        begin(p, peer, grant->next_sequence, &start.start);
    if (rc < 0)
        return rc;
    if (accept_slots(peer, grant) < 0)
        return diag_fail(diag, ENOMEM, "out of memory for %u slots", grant->slots);
    peer->key = grant->key;
    peer->slot_bytes = grant->slot_bytes;
    room_granted(p, peer);
    in_place_map(p, peer);
    lend_begin(peer);
    if (p->in_place.peer && !again)
        in_place_move_open(p); /* two need it now */
    peer->finish_sent = peer->slow = false;
    peer->state = PEER_UP;
    target_joined(peer->conn);
    if (again)
        p->stats.reconnects++;
    else
        p->stats.peers_joined++;
    if (again && peer->transport != peer->conn->transport)
        p->stats.failovers++;
    peer->transport = peer->conn->transport;
    log_info("subscriber %s %s over %s: %u slots of %" PRIu64 " bytes, from batch %" PRIu64,
             peer->name, again ? "is back" : "joined",
             p->endpoint.transports[peer->conn->transport].name, grant->slots, grant->slot_bytes,
             peer->next_seq);
    rc = endpoint_send(peer->conn, &start);
    if (rc < 0 && rc != -ENOTCONN) /* when the link is over already, its LINK_DOWN is to come */
        return diag_fail(diag, -rc, "START could not be sent");
    publisher_check_peers(p);
    publisher_pump(p);
    return 0;
}

static int handle_credit(struct embar_publisher *p, struct peer *peer,
                         const struct control_credit *credit, struct embar_diag *diag)
{
    if (peer->state != PEER_UP)
        return diag_fail(diag, EPROTO, "CREDIT before GRANT");
    if (credit->placed_next > peer->next_seq || credit->placed_next < peer->placed_next ||
        credit->consumed_next < peer->consumed_next)
        return diag_fail(diag, EPROTO,
                         "CREDIT says placed %" PRIu64 " and consumed %" PRIu64 ", of %" PRIu64
                         " written",
                         credit->placed_next, credit->consumed_next, peer->next_seq);
    for (unsigned i = 0; i < credit->count; i++)
        if (slot_pool_put(&peer->remote, credit->slots[i]) < 0)
            return diag_fail(diag, EPROTO, "CREDIT gives back slot %u, which was not in use",
                             credit->slots[i]);
    if (peer->target && credit->placed_next > peer->placed_next)
        target_works(peer->target);
    peer->placed_message = publisher_first_message(p, credit->placed_next, peer->placed_message);
    peer->placed_next = credit->placed_next;
    peer->consumed_next = credit->consumed_next;
    lend_consumed(p, peer);
    count_gap(p, peer);
    peer->slow = false;
    peer->credit_ns = p->endpoint.now_ns;
    publisher_pump(p);
    publisher_advance(p);
    return 0;
}

/* It takes no part any more: nothing leads to it, and its link ends. */
static void part(struct embar_publisher *p, struct peer *peer)
{
    peer_stall(p, peer, false);
    in_place_leave(p, peer);
    lend_leave(p, peer);
    if (peer->target)
        target_finished(peer->target, true);
    if (!peer->conn)
        return;
    peer->conn->peer = NULL;
    endpoint_disconnect(peer->conn);
    peer->conn = NULL;
}

static int handle_finished(struct embar_publisher *p, struct peer *peer,
                           const struct control_totals *totals, struct embar_diag *diag)
{
    if (peer->state != PEER_UP || !peer->finish_sent)
        return diag_fail(diag, EPROTO, "FINISHED before FINISH");
    peer->placed_next = peer->consumed_next = peer->next_seq;
    lend_consumed(p, peer);
    count_gap(p, peer);
    peer->state = PEER_FINISHED;
    if (totals->end_sequence != p->next_seq || totals->end_message != p->total_messages ||
        (!peer->gap && totals->bytes != p->total_bytes - peer->start_bytes)) {
        p->mismatch = true;
        log_error("subscriber %s confirms %" PRIu64 " batches, %" PRIu64 " messages, %" PRIu64
                  " bytes; published were %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                  peer->name, totals->end_sequence, totals->end_message, totals->bytes, p->next_seq,
                  p->total_messages, p->total_bytes - peer->start_bytes);
    } else {
        p->stats.peers_finished++;
    }
    p->confirmed++;
    part(p, peer);
    publisher_advance(p);
    return 0;
}

static int publisher_message(void *self, struct conn *conn, const struct control_message *message,
                             struct embar_diag *diag)
{
    struct embar_publisher *p = self;
    struct peer *peer = conn->peer;

    if (!peer)
        return 0; /* its place was taken by a later link */
    switch (message->type) {
    case CONTROL_GRANT:
        return handle_grant(p, peer, &message->grant, diag);
    case CONTROL_CREDIT:
        return handle_credit(p, peer, &message->credit, diag);
    case CONTROL_FINISHED:
        return handle_finished(p, peer, &message->totals, diag);
    case CONTROL_LEAVE:
        peer_lost(p, peer, "it left");
        return 0;
    default:
        return diag_fail(diag, EPROTO, "%s is not for a publisher", control_name(message->type));
    }
}

static int publisher_arrival(void *self, struct conn *conn, const struct embar_event *event,
                             struct embar_diag *diag)
{
    (void)self;
    (void)conn;
    return diag_fail(diag, EPROTO, "a batch of %zu bytes came to a publisher", event->len_bytes);
}

static void publisher_write_done(void *self, struct conn *conn, uint64_t token, int status)
{
    struct embar_publisher *p = self;
    struct peer *peer = conn->peer;
    uint32_t slot = (uint32_t)token;
    uint64_t sequence = p->sources[slot].sequence;

    if (peer) {
        peer->writes--;
        if (status < 0 && sequence < peer->next_seq && sequence >= p->oldest_seq)
            go_back(peer, sequence); /* not sent: it goes out again on the next link */
    }
    publisher_write_over(p, slot);
    publisher_advance(p);
}

void peer_lost(struct embar_publisher *p, struct peer *peer, const char *why)
{
    if (peer->state == PEER_LOST || peer->state == PEER_FINISHED)
        return;
    if (peer->state != PEER_JOINING)
        p->stats.peers_lost++;
    peer->state = PEER_LOST;
    snprintf(p->last_loss, sizeof p->last_loss, "%s", why);
    log_warn("subscriber %s is lost: %s", peer->name, why);
    part(p, peer);
    publisher_advance(p);
    publisher_check_peers(p);
}

static void link_lost(struct embar_publisher *p, struct peer *peer, const struct conn *conn,
                      const char *reason)
{
    detach(p, peer);
    if (!endpoint_may_retry(conn->ended)) {
        peer_lost(p, peer, reason);
    } else if (peer->state == PEER_JOINING) {
        peer->state = PEER_LOST; /* it never joined: when it comes again it is a new one */
    } else {
        log_warn("link to subscriber %s was lost: %s", peer->name, reason);
        peer->deadline_ns = peer->return_by_ns;
        publisher_advance(p);
    }
}

static void publisher_down(void *self, struct conn *conn, int status, const char *reason)
{
    struct embar_publisher *p = self;

    (void)status;
    link_count_add(&p->stats, conn->link);
    if (conn->peer)
        link_lost(p, conn->peer, conn, reason);
    room_keep_link(p, conn);
}

static void publisher_target_failed(void *self, struct target *target)
{
    struct embar_publisher *p = self;

    for (struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer->target == target && peer->state == PEER_DETACHED && !peer->conn)
            peer_lost(p, peer, target->failure.text);
    publisher_check_peers(p);
}

const struct endpoint_role publisher_role = {
    .role = ROLE_PUBLISHER,
    .hello = publisher_hello,
    .admit = publisher_admit,
    .joined = publisher_joined,
    .message = publisher_message,
    .arrival = publisher_arrival,
    .write_done = publisher_write_done,
    .down = publisher_down,
    .target_failed = publisher_target_failed,
};
