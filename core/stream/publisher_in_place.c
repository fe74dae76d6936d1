/*
 * Building batches in place: with one subscriber whose buffer is mapped here (EMBAR_CAP_MAPPED) the
 * open batch lies in a slot of that buffer, and closing it only tells. Each such batch also has a
 * slot of its own, untouched, into which its bytes are moved when the link is over before they were
 * placed: so they can be written again, over any transport. What is moved is trusted as far as the
 * subscriber's own copy goes and no further: length and header come from here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "stream/publisher.h"

static uint8_t *own_slot(const struct embar_publisher *p, uint32_t slot)
{
    return p->buffer.addr + (size_t)slot * p->options.batch_size;
}

static uint8_t *mapped_slot(const struct peer *peer, uint32_t slot)
{
    return peer->mapped + (size_t)slot * peer->slot_bytes;
}

void in_place_map(struct embar_publisher *p, struct peer *peer)
{
    struct embar_link *link = peer->conn->link;
    const struct embar_transport_caps *caps = embar_transport_caps(embar_link_transport(link));
    struct embar_diag diag = {0};
    void *addr;

    peer->mapped = NULL;
    peer->is_built_in = false;
    peer->unmapped_why[0] = '\0';
    if (!(caps->flags & EMBAR_CAP_MAPPED))
        return;
    /* That its slots lie within its key was checked when GRANT came. */
    if (embar_map(link, &peer->key, &addr, &diag) < 0) {
        snprintf(peer->unmapped_why, sizeof peer->unmapped_why,
                 "the subscriber's buffer could not be mapped: %.90s", diag.text);
        log_warn("subscriber %s: batches are copied: %s", peer->name, peer->unmapped_why);
        return;
    }
    peer->mapped = addr;
    p->may_map = true;
}

struct peer *in_place_peer(const struct embar_publisher *p)
{
    struct peer *only = NULL;

    for (struct peer *peer = p->peers; peer; peer = peer->next) {
        if (!peer_counts(peer))
            continue;
        if (only)
            return NULL;
        only = peer;
    }
    return only && only->state == PEER_UP && only->mapped ? only : NULL;
}

bool in_place_ready(const struct embar_publisher *p, const struct peer *peer)
{
    /* Batches in own slots come first: they need the credits that are left. */
    return peer->next_seq == p->next_seq && peer_has_credit(p, peer);
}

uint8_t *in_place_open(struct embar_publisher *p)
{
    struct peer *peer = in_place_peer(p);

    p->in_place.peer = NULL;
    if (!peer || !in_place_ready(p, peer) || slot_pool_get(&peer->remote, &p->in_place.slot) < 0)
        return own_slot(p, p->slot);
    p->in_place.peer = peer;
    if (!peer->is_built_in) {
        peer->is_built_in = true;
        log_info("subscriber %s: batches are built in its buffer, without a copy", peer->name);
    }
    return mapped_slot(peer, p->in_place.slot);
}

/* The open batch goes on in its own slot. A message that is being built stays where it is until
 * embar_commit: the caller has its address. */
void in_place_move_open(struct embar_publisher *p)
{
    struct peer *peer = p->in_place.peer;
    size_t len_bytes;
    uint8_t *own;

    if (!peer)
        return;
    p->in_place.peer = NULL;
    if (!p->slot_addr)
        return;
    len_bytes = (size_t)(p->cursor - p->slot_addr);
    own = own_slot(p, p->slot);
    memcpy(own + BATCH_HEADER_BYTES, p->slot_addr + BATCH_HEADER_BYTES,
           len_bytes - BATCH_HEADER_BYTES);
    if (p->reserving) {
        p->reserving = ROOM_MOVED;
        p->away = (struct room_away){
            .data = p->cursor + MESSAGE_HEADER_BYTES,
            .left = p->room,
            .peer = peer,
            .slot = p->in_place.slot,
            .slot_taken = true,
            .link = peer->conn->link,
        };
        p->room = 0; /* the next publish takes the slow path, which takes the room back */
    } else {
        slot_pool_put(&peer->remote, p->in_place.slot);
    }
    p->slot_addr = own;
    p->cursor = own + len_bytes;
}

/* What is not placed for certain is moved into the batches' own slots. */
void in_place_leave(struct embar_publisher *p, struct peer *peer)
{
    if (!peer->mapped)
        return;
    if (p->in_place.peer == peer)
        in_place_move_open(p);
    for (uint64_t sequence = p->oldest_seq; sequence < p->next_seq; sequence++) {
        struct record *record = publisher_record(p, sequence);
        uint8_t *own = own_slot(p, record->slot);

        if (record->in_place != peer)
            continue;
        record->in_place = NULL;
        if (sequence < peer->placed_next || !peer_counts(peer))
            continue;
        memcpy(own, p->sources[record->slot].header, BATCH_HEADER_BYTES);
        memcpy(own + BATCH_HEADER_BYTES,
               mapped_slot(peer, record->remote_slot) + BATCH_HEADER_BYTES,
               record->len_bytes - BATCH_HEADER_BYTES);
    }
    peer->mapped = NULL;
    if (p->away.peer == peer)
        p->away.slot_taken = false; /* its pool begins anew with the next GRANT */
}

void in_place_drop(struct embar_publisher *p, struct peer *peer)
{
    for (uint64_t sequence = peer->next_seq; sequence < p->next_seq; sequence++) {
        struct record *record = publisher_record(p, sequence);

        if (record->in_place != peer)
            continue;
        record->in_place = NULL;
        slot_pool_put(&peer->remote, record->remote_slot);
    }
}

/* ---- a message that is being built where its batch is no more ---------------------------------
 */

void room_granted(struct embar_publisher *p, struct peer *peer)
{
    /* Nothing else may be written where the caller is still building. */
    if (p->reserving == ROOM_MOVED && p->away.peer == peer)
        p->away.slot_taken = slot_pool_take(&peer->remote, p->away.slot) == 0;
}

void room_forget_peer(struct embar_publisher *p, const struct peer *peer)
{
    if (p->away.peer == peer)
        p->away.peer = NULL;
}

void room_keep_link(struct embar_publisher *p, struct conn *conn)
{
    if (p->reserving != ROOM_MOVED || p->away.link != conn->link)
        return;
    conn->kept = true;
    p->away.link_kept = true;
}

void room_back(struct embar_publisher *p)
{
    struct peer *peer = p->away.peer;

    if (p->reserving != ROOM_MOVED) {
        p->reserving = ROOM_NONE;
        return;
    }
    if (peer && p->away.slot_taken)
        slot_pool_put(&peer->remote, p->away.slot);
    if (p->away.link_kept)
        embar_link_close(p->away.link);
    if (!p->failure.error && !p->finishing)
        p->room = p->away.left;
    p->reserving = ROOM_NONE;
    p->away = (struct room_away){0};
}

void room_bring(struct embar_publisher *p, size_t len_bytes)
{
    memcpy(p->cursor + MESSAGE_HEADER_BYTES, p->away.data, len_bytes);
    room_back(p);
}

/* ---- the report ------------------------------------------------------------------------------ */

void in_place_why(const struct embar_publisher *p, struct embar_stats *stats)
{
    bool lent = strcmp(stats->send_mode, "lent") == 0;
    unsigned count = 0;

    if ((!lent && strcmp(stats->send_mode, "copy") != 0) || stats->send_mode_why[0])
        return;
    for (const struct peer *peer = p->peers; peer; peer = peer->next) {
        const char *why = peer->unmapped_why[0] ? peer->unmapped_why : peer->unlent_why;

        count += peer_counts(peer);
        if (!lent && why[0])
            snprintf(stats->send_mode_why, sizeof stats->send_mode_why, "%s", why);
    }
    if (stats->send_mode_why[0])
        return;
    if (count > 1 && p->may_map)
        snprintf(stats->send_mode_why, sizeof stats->send_mode_why,
                 "in-place is for one subscriber, and %u have joined%s", count,
                 lent ? ": they read the publisher's own buffer" : "");
    else if (p->may_map)
        snprintf(stats->send_mode_why, sizeof stats->send_mode_why,
                 "%" PRIu64 " of %" PRIu64 " batches were built in place; the others %s",
                 p->in_place_batches, p->stats.batches,
                 lent ? "were read in the publisher's own buffer"
                      : "had several subscribers, or one that was away or behind");
}
