/*
 * Lending batches: subscribers over a transport with EMBAR_CAP_MAPPED read them in the publisher's
 * own buffer, so that a batch for several of them is built once and copied never. A slot that was
 * lent is written to again when its readers have consumed it. A link that is lost leaves readers
 * that may never say so: what it was lent stays as it is until the loan is over, which the kernel
 * tells (decision 025). Half of the slots are never lent, so that readers that do not let go can
 * hold up nobody else.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "stream/publisher.h"

/* Links that are over and are still read from: with as many nothing more is lent. Each costs a
 * descriptor and, in every round, a system call. */
#define OLD_MOST 16

void lend_begin(struct peer *peer)
{
    const struct embar_transport *transport = embar_link_transport(peer->conn->link);

    peer->may_lend = embar_transport_caps(transport)->flags & EMBAR_CAP_MAPPED;
    peer->unlent_why[0] = '\0';
}

static void give_up(struct peer *peer, const char *why)
{
    peer->may_lend = false;
    snprintf(peer->unlent_why, sizeof peer->unlent_why, "the buffer could not be lent: %.120s",
             why);
    log_info("subscriber %s: batches that are not built in its buffer are copied: %s", peer->name,
             peer->unlent_why);
}

static void offer(struct embar_publisher *p, struct peer *peer)
{
    uint32_t most = peer->remote.slot_count; /* each that is lent takes one of its credits */
    struct embar_diag diag = {0};
    struct embar_buffer *buffer;
    struct lending *lending;
    int rc = stream_buffer_on(&p->buffer, peer->conn->transport, &buffer, &diag);

    if (rc < 0) {
        give_up(peer, diag.text);
        return;
    }
    lending = calloc(1, sizeof *lending + most * sizeof *lending->lent);
    if (!lending) {
        give_up(peer, "out of memory");
        return;
    }
    rc = embar_lend(peer->conn->link, buffer, &lending->loan, &diag);
    if (rc < 0) {
        free(lending);
        if (rc != -EAGAIN)
            give_up(peer, diag.text);
        return;
    }
    lending->most = most;
    peer->lending = lending;
    peer->may_lend = false;
}

static bool is_taken(struct peer *peer)
{
    struct lending *lending = peer->lending;
    enum embar_loan_state state = EMBAR_LOAN_TAKEN;

    if (!lending->taken)
        state = embar_loan_state(lending->loan);
    if (state == EMBAR_LOAN_OVER) {
        give_up(peer, "the subscriber could not map it");
        embar_loan_close(lending->loan);
        free(lending);
        peer->lending = NULL;
    } else if (state == EMBAR_LOAN_TAKEN && !lending->taken) {
        lending->taken = true;
        log_info("subscriber %s: batches are lent, it reads them where they were built",
                 peer->name);
    }
    return state == EMBAR_LOAN_TAKEN;
}

bool lend_ready(struct embar_publisher *p, struct peer *peer)
{
    if (p->slots.free_count * 2 < p->slots.slot_count)
        return false;
    if (peer->may_lend && p->old_lending_count < OLD_MOST)
        offer(p, peer);
    return peer->lending && is_taken(peer) && peer->lending->count < peer->lending->most;
}

void lend_note(struct embar_publisher *p, struct peer *peer, const struct record *record)
{
    struct lending *lending = peer->lending;
    uint32_t last = (lending->first + lending->count++) % lending->most;

    lending->lent[last].sequence = peer->next_seq;
    lending->lent[last].slot = record->slot;
    p->sources[record->slot].readers++;
}

static void take_back_first(struct embar_publisher *p, struct lending *lending)
{
    publisher_read_over(p, lending->lent[lending->first].slot);
    lending->first = (lending->first + 1) % lending->most;
    lending->count--;
}

void lend_consumed(struct embar_publisher *p, struct peer *peer)
{
    struct lending *lending = peer->lending;

    while (lending && lending->count > 0 &&
           lending->lent[lending->first].sequence < peer->consumed_next)
        take_back_first(p, lending);
}

void lend_leave(struct embar_publisher *p, struct peer *peer)
{
    struct lending *lending = peer->lending;

    peer->may_lend = false;
    peer->lending = NULL;
    if (!lending)
        return;
    lending->next = p->old_lendings;
    p->old_lendings = lending;
    p->old_lending_count++;
    lend_check(p);
}

void lend_check(struct embar_publisher *p)
{
    struct lending **at = &p->old_lendings;

    while (*at) {
        struct lending *old = *at;

        if (old->count > 0 && embar_loan_state(old->loan) != EMBAR_LOAN_OVER) {
            at = &old->next;
            continue;
        }
        *at = old->next;
        p->old_lending_count--;
        while (old->count > 0)
            take_back_first(p, old);
        embar_loan_close(old->loan);
        free(old);
    }
}

void lend_close(struct embar_publisher *p)
{
    for (struct lending *old = p->old_lendings; old; old = old->next)
        old->count = 0;
    lend_check(p);
}
