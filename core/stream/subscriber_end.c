/*
 * How a publisher's session ends: with totals that are compared, by loss, or by never having begun;
 * and what is kept of it. Also the buffers of sessions, and what the passing of time means for
 * them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "stream/subscriber.h"
#include "stream/targets.h"

int64_t count_sessions(const struct embar_subscriber *s, bool detached_only)
{
    int64_t count = 0;

    for (const struct session *session = s->sessions; session; session = session->next)
        count += session->state == SESSION_DETACHED ||
                 (!detached_only && session->state != SESSION_ENDED);
    return count;
}

int session_take_buffer(struct session *session, unsigned transport, struct embar_diag *diag)
{
    struct embar_subscriber *s = session->subscriber;

    if (!s->spare.addr)
        return stream_buffer_open(&session->buffer, &s->endpoint, transport, EMBAR_ACCESS_REMOTE,
                                  diag);
    session->buffer = s->spare;
    memset(&s->spare, 0, sizeof s->spare);
    return 0;
}

static void give_buffer(struct session *session)
{
    struct embar_subscriber *s = session->subscriber;

    /* A publisher that has not learnt of the end of its link may build in a mapped buffer still. */
    if (!s->spare.addr && !session->mapped)
        s->spare = session->buffer;
    else
        stream_buffer_close(&session->buffer);
    memset(&session->buffer, 0, sizeof session->buffer);
}

/* The session has delivered something: should its publisher come again, that must not come twice.
 */
static void keep_past(const struct session *session, bool lost)
{
    struct embar_subscriber *s = session->subscriber;

    s->past[s->past_next] = (struct past_session){
        .instance = session->instance,
        .placed_next = session->placed_next,
        .next_message = session->next_message,
        .bytes = session->bytes,
        .gaps = session->gaps,
        .lost = lost,
    };
    s->past_next = (s->past_next + 1) % SUBSCRIBER_PAST;
}

void session_remember(struct session *session)
{
    struct embar_subscriber *s = session->subscriber;

    for (unsigned i = 0; i < SUBSCRIBER_PAST; i++) {
        struct past_session *past = &s->past[i];

        if (past->instance != session->instance)
            continue;
        session->started = true;
        session->placed_next = past->placed_next;
        session->next_message = past->next_message;
        session->bytes = past->bytes;
        session->gaps = past->gaps;
        session->complete = !past->lost;
        if (past->lost)
            s->stats.peers_lost--;
        else
            s->stats.peers_finished--;
        past->instance = 0;
        return;
    }
}

void session_end(struct session *session, bool lost, const char *why)
{
    struct embar_subscriber *s = session->subscriber;
    const char *what;

    if (session->state == SESSION_ENDED)
        return;
    lost = lost && !session->complete;
    what = !session->started ? "did not join" : lost ? "is lost" : "has finished";
    if (session->started) {
        bool counts_as_lost = lost || session->failed;

        s->stats.peers_lost += counts_as_lost;
        s->stats.peers_finished += !counts_as_lost;
        keep_past(session, counts_as_lost);
    }
    log_line(lost ? EMBAR_LOG_WARN : EMBAR_LOG_INFO, "publisher %s %s: %s", session->name, what,
             why);
    session->state = SESSION_ENDED;
    if (session->conn) {
        session_hide_buffer(session);
        session->conn->peer = NULL;
        endpoint_disconnect(session->conn);
        session->conn = NULL;
    }
    session_forget_unplaced(session);
}

static void compare_totals(struct session *session)
{
    const struct control_totals *finish = &session->finish;

    if (finish->end_message != session->next_message ||
        (session->gaps == 0 && finish->bytes != UNKNOWN_BYTES && finish->bytes != session->bytes)) {
        session->failed = true;
        log_error("publisher %s says it published up to message %" PRIu64 " and %" PRIu64
                  " bytes; %" PRIu64 " and %" PRIu64 " came",
                  session->name, finish->end_message, finish->bytes, session->next_message,
                  session->bytes);
    }
}

static void confirm(struct session *session)
{
    struct control_message message = {.type = CONTROL_FINISHED};

    message.totals.end_sequence = session->placed_next;
    message.totals.end_message = session->next_message;
    message.totals.bytes = session->bytes;
    if (endpoint_send(session->conn, &message) < 0)
        return; /* the queue is full; the next round tries again */
    compare_totals(session);
    if (session->target)
        target_finished(session->target, false);
    session->state = SESSION_CONFIRMED;
    session->complete = true;
}

void session_check_finish(struct session *session)
{
    if (session->state == SESSION_UP && session->conn && session->finish_due &&
        session_consumed(session) == session->finish.end_sequence)
        confirm(session);
}

void session_leave(struct session *session)
{
    if (session->state == SESSION_UP && session->finish_due &&
        session->placed_next == session->finish.end_sequence) {
        compare_totals(session);
        session->complete = true;
    }
    session_end(session, true, "it left");
}

int session_finish(struct session *session, const struct control_totals *totals,
                   struct embar_diag *diag)
{
    if (session->finish_due || totals->end_sequence < session->placed_next)
        return diag_fail(diag, EPROTO, "FINISH at batch %" PRIu64 ", %" PRIu64 " have come",
                         totals->end_sequence, session->placed_next);
    session->finish = *totals;
    session->finish_due = true;
    session_check_finish(session);
    return 0;
}

/* Whether a session waits for its publisher: to complete the handshake, or to come back. */
static bool has_deadline(const struct session *session)
{
    return session->state == SESSION_JOINING || session->state == SESSION_DETACHED ||
           (session->state == SESSION_CONFIRMED && !session->conn);
}

/* A session whose link is gone and did not come back, or whose handshake was not completed. */
static void check_session(struct embar_subscriber *s, struct session *session)
{
    session_check_finish(session);
    if (!has_deadline(session) || s->endpoint.now_ns < session->deadline_ns)
        return;
    session->deadline_ns = UINT64_MAX;
    /* A publisher whose application makes no call says nothing: it may try again. */
    if (session->conn)
        endpoint_end(session->conn, REJECT_BUSY, "no START within handshake_timeout");
    else if (session->state == SESSION_DETACHED)
        session_end(session, true, "it did not come back within reconnect_timeout");
    else
        session_end(session, false, "all of it is consumed");
}

/* With nobody left to connect to and nobody joined, nothing can come any more. */
static void check_targets(struct embar_subscriber *s)
{
    const struct target *failed = NULL;

    if (s->endpoint.target_count == 0 || s->failure.error || count_sessions(s, false) > 0)
        return;
    for (unsigned i = 0; i < s->endpoint.target_count; i++) {
        if (s->endpoint.targets[i].state != TARGET_FAILED)
            return;
        failed = &s->endpoint.targets[i];
    }
    s->failure = failed->failure;
    log_error("%s", s->failure.text);
}

void session_check_all(struct embar_subscriber *s)
{
    struct session *next;

    for (struct session *session = s->sessions; session; session = next) {
        next = session->next;
        check_session(s, session);
        session_put(session);
    }
    check_targets(s);
}

uint64_t session_deadline(const struct embar_subscriber *s)
{
    uint64_t deadline = UINT64_MAX;

    for (const struct session *session = s->sessions; session; session = session->next) {
        if (has_deadline(session) && session->deadline_ns < deadline)
            deadline = session->deadline_ns;
        if (session->state == SESSION_UP && session->report_due_ns &&
            session->report_due_ns < deadline)
            deadline = session->report_due_ns;
    }
    return deadline;
}

void session_free(struct session *session)
{
    struct session **at = &session->subscriber->sessions;

    while (*at != session)
        at = &(*at)->next;
    *at = session->next;
    stream_buffer_close(&session->buffer);
    free(session->batches);
    free(session);
}

void session_put(struct session *session)
{
    if (session->state != SESSION_ENDED || session->held > 0)
        return;
    for (uint32_t slot = 0; slot < session->slots; slot++)
        if (session->batches[slot].state == SLOT_READY)
            return;
    give_buffer(session);
    session_free(session);
}
