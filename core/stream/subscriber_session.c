/*
 * The publishers of a subscriber: joining and coming back, granting the buffer, and what they say.
 * Everything a publisher says is checked against what came from it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "stream/link_count.h"
#include "stream/subscriber.h"
#include "stream/targets.h"

static void subscriber_hello(void *self, struct control_hello *hello)
{
    const struct embar_subscriber *s = self;

    hello->slot_bytes = s->options.batch_size;
}

static struct session *find_session(struct embar_subscriber *s, uint64_t instance)
{
    for (struct session *session = s->sessions; session; session = session->next)
        if (session->instance == instance && session->state != SESSION_ENDED)
            return session;
    return NULL;
}

static struct session *session_new(struct embar_subscriber *s, uint64_t instance,
                                   unsigned transport, struct embar_diag *diag)
{
    struct session *session = calloc(1, sizeof *session);
    uint64_t slots = s->options.buffer_size / s->options.batch_size;

    if (!session)
        goto no_memory;
    session->slots = slots < CONTROL_SLOTS ? (uint32_t)slots : CONTROL_SLOTS;
    session->batches = calloc(session->slots, sizeof *session->batches);
    if (!session->batches)
        goto no_memory;
    session->subscriber = s;
    session->instance = instance;
    session->unconsumed_end = &session->unconsumed;
    for (uint32_t slot = 0; slot < session->slots; slot++) {
        session->batches[slot].session = session;
        session->batches[slot].slot = slot;
    }
    if (session_take_buffer(session, transport, diag) < 0)
        goto free_session;
    session_remember(session);
    session->next = s->sessions;
    s->sessions = session;
    return session;

no_memory:
    diag_fail(diag, ENOMEM, "out of memory for a session");
free_session:
    if (session)
        free(session->batches);
    free(session);
    return NULL;
}

static enum control_reject subscriber_admit(void *self, struct conn *conn,
                                            const struct control_hello *hello, char *reason,
                                            size_t reason_bytes)
{
    struct embar_subscriber *s = self;
    struct embar_diag diag = {0};

    if (hello->slot_bytes > s->options.batch_size) {
        snprintf(reason, reason_bytes,
                 "batches of %" PRIu64 " bytes do not fit into slots of %" PRIu64
                 ": give both ends the same batch.size",
                 hello->slot_bytes, s->options.batch_size);
        return REJECT_GEOMETRY;
    }
    if (find_session(s, hello->instance))
        return REJECT_NONE;
    if (count_sessions(s, false) >= s->options.subscriber_max_links) {
        int64_t detached = count_sessions(s, true);

        snprintf(reason, reason_bytes, "subscriber.max_links of %d is reached",
                 (int)s->options.subscriber_max_links);
        if (detached == 0)
            return REJECT_LIMIT;
        snprintf(reason + strlen(reason), reason_bytes - strlen(reason),
                 "; %" PRId64 " of them are lost and may come back", detached);
        return REJECT_BUSY;
    }
    if (!session_new(s, hello->instance, conn->transport, &diag)) {
        snprintf(reason, reason_bytes, "%.250s", diag.text);
        return REJECT_RESOURCES;
    }
    return REJECT_NONE;
}

void session_hide_buffer(struct session *session)
{
    if (session->exposed)
        embar_buffer_unexpose(session->exposed);
    session->exposed = NULL;
}

/* From the loss of a link that had joined; failed attempts to come back do not prolong it. */
static void set_return(struct session *session)
{
    const struct embar_subscriber *s = session->subscriber;

    session->return_by_ns = s->endpoint.now_ns + s->options.reconnect_timeout_ns;
}

/* The link of a session that goes on over a later one. */
static void drop_link(struct session *session, const struct conn *later)
{
    struct target *target = session->target;

    if (!session->conn)
        return;
    session_hide_buffer(session);
    session->conn->peer = NULL;
    embar_link_abort(session->conn->link);
    session->conn = NULL;
    if (session->state == SESSION_UP || session->state == SESSION_CONFIRMED)
        set_return(session);
    if (!target || !later->target || target == later->target)
        return;
    /* Two addresses: their links would drive each other out for ever. */
    diag_fail(&target->failure, EALREADY, "%s leads to the same publisher as %s", target->address,
              later->target->address);
    log_warn("%s: only one link is kept", target->failure.text);
    target_finished(target, true);
}

static int grant(struct session *session, struct embar_diag *diag)
{
    struct control_message message = {.type = CONTROL_GRANT};
    uint8_t taken[CONTROL_SLOTS / 8] = {0};
    struct embar_buffer *buffer;
    int rc = stream_buffer_on(&session->buffer, session->conn->transport, &buffer, diag);

    if (rc < 0)
        return rc;
    rc = embar_buffer_expose(buffer, session->conn->link, &message.grant.key, diag);
    if (rc == -ENOTCONN)
        return 0; /* the link is over already: its LINK_DOWN is to come */
    if (rc < 0)
        return rc;
    session->exposed = buffer;
    if (embar_transport_caps(embar_link_transport(session->conn->link))->flags & EMBAR_CAP_MAPPED)
        session->mapped = true;
    for (uint32_t slot = 0; slot < session->slots; slot++)
        if (session->batches[slot].state != SLOT_FREE)
            taken[slot / 8] = (uint8_t)(taken[slot / 8] | 1u << (slot % 8));
    message.grant.slot_bytes = session->subscriber->options.batch_size;
    message.grant.slots = session->slots;
    message.grant.next_sequence = session->started ? session->placed_next : ANY_SEQUENCE;
    message.grant.taken = taken;
    rc = endpoint_send(session->conn, &message);
    if (rc < 0)
        return diag_fail(diag, -rc, "GRANT could not be sent");
    return 0;
}

static void subscriber_joined(void *self, struct conn *conn, const struct control_hello *hello)
{
    struct embar_subscriber *s = self;
    struct session *session = find_session(s, hello->instance);
    struct embar_diag diag = {0};

    drop_link(session, conn);
    session_forget_unplaced(session);
    snprintf(session->name, sizeof session->name, "%s", embar_link_peer(conn->link));
    session->ack = hello->ack;
    session->checksum = hello->checksum != 0;
    session->in_flight = hello->in_flight;
    session->conn = conn;
    session->target = conn->target;
    session->finish_due = false;
    session->reported_placed = session->placed_next;
    session->reported_consumed = ANY_SEQUENCE; /* a CREDIT may have been lost with the link */
    session->deadline_ns = s->endpoint.now_ns + s->options.handshake_timeout_ns;
    if (session->state != SESSION_JOINING)
        session->state = SESSION_DETACHED; /* until START */
    conn->peer = session;
    if (grant(session, &diag) < 0)
        endpoint_end(conn, REJECT_RESOURCES, "%s", diag.text);
}

static int handle_start(struct session *session, const struct control_start *start,
                        struct embar_diag *diag)
{
    struct embar_subscriber *s = session->subscriber;

    if (session->state == SESSION_UP || session->state == SESSION_CONFIRMED)
        return diag_fail(diag, EPROTO, "a second START");
    if (!session->started) {
        s->stats.peers_joined++;
        session->placed_next = start->first_sequence;
        session->next_message = start->first_message;
        session->reported_placed = session->placed_next;
    } else {
        s->stats.reconnects++;
        if (session->transport != session->conn->transport)
            s->stats.failovers++;
        if (start->first_sequence < session->placed_next ||
            start->first_message < session->next_message)
            return diag_fail(diag, EPROTO, "START goes back to batch %" PRIu64,
                             start->first_sequence);
    }
    session->transport = session->conn->transport;
    log_info("publisher %s %s over %s: from batch %" PRIu64, session->name,
             session->started ? "is back" : "joined",
             s->endpoint.transports[session->conn->transport].name, start->first_sequence);
    if (start->first_message > session->next_message) {
        uint64_t missing = start->first_message - session->next_message;

        session->gaps += missing;
        s->stats.gaps += missing;
        log_warn("publisher %s no longer has %" PRIu64 " messages that had not arrived",
                 session->name, missing);
    }
    session->placed_next = start->first_sequence;
    session->next_message = start->first_message;
    session->started = true;
    session->state = SESSION_UP;
    target_joined(session->conn);
    session_report_soon(session, s->endpoint.now_ns); /* what was consumed meanwhile, at least */
    return session_advance(session, diag);
}

static int handle_gap(struct session *session, const struct control_gap *gap,
                      struct embar_diag *diag)
{
    if (session->gap.from_sequence == session->gap.to_sequence) {
        session->gap = *gap;
    } else if (gap->from_sequence == session->gap.to_sequence) {
        session->gap.to_sequence = gap->to_sequence;
        session->gap.to_message = gap->to_message;
    } else {
        return diag_fail(diag, EPROTO, "a second GAP before the first was reached");
    }
    if (session->gap.from_sequence < session->placed_next)
        return diag_fail(diag, EPROTO, "GAP over batches that have come");
    return session_advance(session, diag);
}

static int subscriber_message(void *self, struct conn *conn, const struct control_message *message,
                              struct embar_diag *diag)
{
    struct session *session = conn->peer;

    (void)self;
    if (!session)
        return 0; /* its place was taken by a later link */
    if (message->type == CONTROL_START)
        return handle_start(session, &message->start, diag);
    if (message->type == CONTROL_LEAVE) {
        session_leave(session);
        return 0;
    }
    if (session->state != SESSION_UP)
        return diag_fail(diag, EPROTO, "%s before START", control_name(message->type));
    if (message->type == CONTROL_GAP)
        return handle_gap(session, &message->gap, diag);
    if (message->type == CONTROL_FINISH)
        return session_finish(session, &message->totals, diag);
    return diag_fail(diag, EPROTO, "%s is not for a subscriber", control_name(message->type));
}

static int subscriber_arrival(void *self, struct conn *conn, const struct embar_event *event,
                              struct embar_diag *diag)
{
    struct session *session = conn->peer;

    (void)self;
    if (!session)
        return 0;
    if (session->state == SESSION_CONFIRMED)
        return diag_fail(diag, EPROTO, "a batch came after FINISH");
    return batch_arrived(session, event, diag);
}

static void subscriber_write_done(void *self, struct conn *conn, uint64_t token, int status)
{
    (void)self;
    (void)conn;
    (void)token;
    (void)status; /* a subscriber writes nothing */
}

static void link_lost(struct session *session, const struct conn *conn, int status,
                      const char *reason)
{
    session_hide_buffer(session);
    session->conn = NULL;
    if (session->state == SESSION_CONFIRMED && status == 0) {
        session_end(session, false, "all of it is consumed");
    } else if (session->state == SESSION_JOINING && !session->started) {
        session_end(session, false, reason);
    } else if (!endpoint_may_retry(conn->ended)) {
        session_end(session, true, reason);
    } else {
        log_warn("link to publisher %s was lost: %s", session->name, reason);
        if (session->state == SESSION_UP || session->state == SESSION_CONFIRMED)
            set_return(session);
        session->deadline_ns = session->return_by_ns;
        if (session->state != SESSION_CONFIRMED)
            session->state = SESSION_DETACHED;
        session_forget_unplaced(session);
    }
}

static void subscriber_down(void *self, struct conn *conn, int status, const char *reason)
{
    struct embar_subscriber *s = self;
    struct session *session = conn->peer;

    link_count_add(&s->stats, conn->link);
    if (session)
        link_lost(session, conn, status, reason);
    conn->kept = lender_is_kept(s, conn->link);
}

static void subscriber_target_failed(void *self, struct target *target)
{
    struct embar_subscriber *s = self;

    for (struct session *session = s->sessions; session; session = session->next)
        if (session->target == target && !session->conn && session->state == SESSION_DETACHED)
            session_end(session, true, target->failure.text);
}

const struct endpoint_role subscriber_role = {
    .role = ROLE_SUBSCRIBER,
    .hello = subscriber_hello,
    .admit = subscriber_admit,
    .joined = subscriber_joined,
    .message = subscriber_message,
    .arrival = subscriber_arrival,
    .write_done = subscriber_write_done,
    .down = subscriber_down,
    .target_failed = subscriber_target_failed,
};
