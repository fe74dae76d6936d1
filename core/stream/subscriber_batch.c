/*
 * A batch's way through a slot of the subscriber: arrival and checks, order, delivery, release, and
 * the credits that give slots back. What arrives is hostile until checked: the slot must be one
 * that the publisher was allowed to write, and the header must agree with what came.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/diag.h"
#include "common/log.h"
#include "stream/subscriber.h"
#include "stream/targets.h"

/* How long anything may go unreported, credits included, while there is no quiet moment. */
#define REPORT_NS NS_PER_MS
/* Damaged batches that may come without any progress before their publisher is given up. */
#define DAMAGED_MOST 3

static const uint8_t *slot_addr(const struct embar_batch *batch)
{
    const struct session *session = batch->session;

    return session->buffer.addr + (size_t)batch->slot * session->subscriber->options.batch_size;
}

static uint64_t message_bytes(const struct batch_header *header)
{
    return header->payload_bytes - (uint64_t)header->messages * MESSAGE_HEADER_BYTES;
}

/* Gives a slot back with the next CREDIT. */
static void credit(struct embar_batch *batch)
{
    struct session *session = batch->session;

    batch_let_go(batch);
    batch->state = SLOT_CREDITED;
    session->credits[session->credit_count++] = (uint16_t)batch->slot;
}

void session_report_soon(struct session *session, uint64_t now_ns)
{
    if (session->report_due_ns == 0)
        session->report_due_ns = now_ns + REPORT_NS;
}

static void make_ready(struct embar_batch *batch)
{
    struct session *session = batch->session;
    struct embar_subscriber *subscriber = session->subscriber;

    batch->state = SLOT_READY;
    batch->next_ready = NULL;
    batch->next_unconsumed = NULL;
    *session->unconsumed_end = batch;
    session->unconsumed_end = &batch->next_unconsumed;
    *subscriber->ready_end = batch;
    subscriber->ready_end = &batch->next_ready;
    session->placed_next = batch->header.sequence + 1;
    session->next_message = batch->header.first_message + batch->header.messages;
    session->bytes += message_bytes(&batch->header);
    if (batch->header.awaited == EMBAR_PLACED)
        session->report_due_ns = subscriber->endpoint.now_ns;
    if (session->target)
        target_works(session->target);
    subscriber->stats.level_bytes[EMBAR_PLACED] += message_bytes(&batch->header);
    subscriber->stats.level_ns[EMBAR_PLACED] = subscriber->endpoint.now_ns;
}

static struct embar_batch *find_waiting(struct session *session, uint64_t sequence)
{
    for (uint32_t slot = 0; session->waiting > 0 && slot < session->slots; slot++)
        if (session->batches[slot].state == SLOT_WAITING &&
            session->batches[slot].header.sequence == sequence)
            return &session->batches[slot];
    return NULL;
}

/* Over a gap that the publisher announced, once all before it is there. */
static void cross_gap(struct session *session)
{
    struct embar_subscriber *subscriber = session->subscriber;
    uint64_t missing = session->gap.to_message - session->next_message;

    log_warn("publisher %s left out %" PRIu64 " messages (batches %" PRIu64 " to %" PRIu64 ")",
             session->name, missing, session->gap.from_sequence, session->gap.to_sequence - 1);
    session->gaps += missing;
    subscriber->stats.gaps += missing;
    session->placed_next = session->gap.to_sequence;
    session->next_message = session->gap.to_message;
    session->gap.from_sequence = session->gap.to_sequence;
    session_report_soon(session, subscriber->endpoint.now_ns);
}

int session_advance(struct session *session, struct embar_diag *diag)
{
    for (;;) {
        struct embar_batch *batch = find_waiting(session, session->placed_next);

        if (session->gap.from_sequence != session->gap.to_sequence &&
            session->gap.from_sequence == session->placed_next) {
            if (session->gap.to_message < session->next_message)
                return diag_fail(diag, EPROTO, "GAP goes back in message numbers");
            cross_gap(session);
        } else if (batch) {
            if (batch->header.first_message != session->next_message)
                return diag_fail(
                    diag, EPROTO,
                    "batch %" PRIu64 " begins with message %" PRIu64 " where %" PRIu64 " is due",
                    batch->header.sequence, batch->header.first_message, session->next_message);
            session->waiting--;
            make_ready(batch);
        } else {
            return 0;
        }
    }
}

/*
 * A batch that was damaged on its way ends the link (-EBADMSG) and comes again on the next one.
 * When that happens a few times without any progress, its publisher is given up (-EPROTO).
 */
static int damaged(struct session *session, const char *what, struct embar_diag *diag)
{
    session->subscriber->stats.checksum_errors++;
    if (session->damaged_at != session->placed_next)
        session->damaged = 0;
    session->damaged_at = session->placed_next;
    session->damaged++;
    return diag_fail(diag, session->damaged >= DAMAGED_MOST ? EPROTO : EBADMSG,
                     "a batch came damaged, %s (%u in a row)", what, session->damaged);
}

/* What can be told from its bytes alone. */
static int check_batch(struct session *session, const void *bytes, size_t len_bytes,
                       struct batch_header *header, struct embar_diag *diag)
{
    struct embar_diag why = {0};
    char what[EMBAR_DIAG_BYTES];

    if (batch_open(bytes, len_bytes, header, &why) < 0)
        return damaged(session, why.text, diag);
    if (!batch_intact(bytes, header) || (session->checksum && !header->checked)) {
        snprintf(what, sizeof what, "the checksum of batch %" PRIu64 " does not fit its %u bytes",
                 header->sequence, header->payload_bytes);
        return damaged(session, what, diag);
    }
    if (header->session != session->instance)
        return diag_fail(diag, EPROTO, "a batch of another session came");
    return 0;
}

int batch_arrived(struct session *session, const struct embar_event *event, struct embar_diag *diag)
{
    struct embar_subscriber *subscriber = session->subscriber;
    uint32_t slot = event->immediate;
    size_t len_bytes = event->len_bytes;
    struct embar_batch *batch;
    struct batch_header header;
    int rc;

    if (slot >= session->slots)
        return diag_fail(diag, EPROTO, "a batch came for slot %u of %u", slot, session->slots);
    batch = &session->batches[slot];
    if (batch->state != SLOT_FREE)
        return diag_fail(diag, EPROTO, "a batch came for slot %u without a credit for it", slot);
    if (len_bytes > subscriber->options.batch_size)
        return diag_fail(diag, EPROTO, "a batch of %zu bytes came for a slot of %" PRIu64,
                         len_bytes, subscriber->options.batch_size);
    batch->bytes = event->data ? event->data : slot_addr(batch);
    rc = check_batch(session, batch->bytes, len_bytes, &header, diag);
    if (rc < 0)
        return rc;
    batch->header = header;
    if ((session->started && header.sequence < session->placed_next) ||
        find_waiting(session, header.sequence)) {
        subscriber->stats.duplicates++;
        credit(batch);
        session_report_soon(session, subscriber->endpoint.now_ns);
        return 0;
    }
    if (event->data) {
        rc = batch_borrow(batch, event->link, diag);
        if (rc < 0)
            return rc;
    }
    batch->state = SLOT_WAITING;
    session->waiting++;
    if (header.sequence != session->placed_next && session->started)
        subscriber->stats.reordered++;
    /* A write may overtake START, which says where the order begins. */
    rc = session->state == SESSION_UP ? session_advance(session, diag) : 0;
    session_report_soon(session, subscriber->endpoint.now_ns);
    return rc;
}

void session_forget_unplaced(struct session *session)
{
    for (uint32_t slot = 0; slot < session->slots; slot++) {
        struct embar_batch *batch = &session->batches[slot];

        if (batch->state != SLOT_WAITING && batch->state != SLOT_CREDITED)
            continue;
        batch_let_go(batch);
        batch->state = SLOT_FREE;
    }
    session->waiting = 0;
    session->credit_count = 0;
    session->gap.from_sequence = session->gap.to_sequence;
}

uint64_t session_consumed(const struct session *session)
{
    return session->unconsumed ? session->unconsumed->header.sequence : session->placed_next;
}

void session_report(struct session *session)
{
    struct control_message message = {.type = CONTROL_CREDIT};
    uint64_t consumed = session_consumed(session);

    if (!session->conn || !session->started || session->state != SESSION_UP)
        return;
    while (session->credit_count > 0 || session->placed_next != session->reported_placed ||
           consumed != session->reported_consumed) {
        uint32_t count = session->credit_count;

        if (count > CONTROL_CREDITS)
            count = CONTROL_CREDITS;
        message.credit.placed_next = session->placed_next;
        message.credit.consumed_next = consumed;
        message.credit.count = (uint16_t)count;
        for (uint32_t i = 0; i < count; i++)
            message.credit.slots[i] = session->credits[session->credit_count - 1 - i];
        if (endpoint_send(session->conn, &message) < 0) {
            session->report_due_ns = session->subscriber->endpoint.now_ns + REPORT_NS;
            return; /* the queue is full */
        }
        for (uint32_t i = 0; i < count; i++)
            session->batches[message.credit.slots[i]].state = SLOT_FREE;
        session->credit_count -= count;
        session->reported_placed = session->placed_next;
        session->reported_consumed = consumed;
    }
    session->report_due_ns = 0;
}

void subscriber_report_due(struct embar_subscriber *subscriber, bool idle)
{
    for (struct session *session = subscriber->sessions; session; session = session->next) {
        bool due = session->report_due_ns && subscriber->endpoint.now_ns >= session->report_due_ns;
        bool asked =
            session->ack == EMBAR_PLACED && session->placed_next != session->reported_placed;

        if (due || asked || (idle && session->credit_count > 0))
            session_report(session);
    }
}

/* Credits go back a few at a time, so that the publisher is woken seldom but never runs dry: half
 * of what it can have under way beside the batches that the application keeps. A lone one waits
 * until nothing comes any more: a message of its own would stand in the way of what the other
 * direction carries. */
static bool credits_are_worth_a_message(const struct session *session)
{
    uint32_t window = session->in_flight < session->slots ? session->in_flight : session->slots;
    uint32_t kept = session->held + session->released;

    window -= kept < window ? kept : window;
    return session->credit_count > 0 && session->credit_count * 2 >= window;
}

void embar_release(struct embar_batch *batch)
{
    struct session *session = batch->session;
    struct embar_subscriber *subscriber = session->subscriber;

    uint64_t now = env_now_ns(subscriber->endpoint.env);
    bool awaited = false;

    subscriber->stats.level_bytes[EMBAR_CONSUMED] += message_bytes(&batch->header);
    subscriber->stats.level_ns[EMBAR_CONSUMED] = now;
    session->held--;
    session->released++;
    batch->state = SLOT_RELEASED;
    /* Slots go back in order of sequence, so that "consumed through N" covers what was given back.
     */
    while (session->unconsumed && session->unconsumed->state == SLOT_RELEASED) {
        struct embar_batch *first = session->unconsumed;

        session->unconsumed = first->next_unconsumed;
        if (!session->unconsumed)
            session->unconsumed_end = &session->unconsumed;
        session->released--;
        credit(first);
        awaited = awaited || first->header.awaited == EMBAR_CONSUMED;
    }
    if (session->state == SESSION_ENDED) {
        session_put(session);
        return;
    }
    session_report_soon(session, now);
    if (awaited || credits_are_worth_a_message(session))
        session_report(session);
    session_check_finish(session);
}
