/*
 * What has reached which level. A level of the publisher is the least of its subscribers'; when it
 * moves, rates and latency are counted and source slots become free. Slow subscribers are handled
 * here, since they are what keeps slots from becoming free.
 */
#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"
#include "stream/publisher.h"

/* Writes that have kept all slots for so long are stuck, not slow. */
#define STUCK_NS NS_PER_S

struct record *publisher_record(const struct embar_publisher *p, uint64_t sequence)
{
    if (sequence >= p->next_seq || p->next_seq - sequence > p->ring_mask)
        return NULL;
    return &p->ring[sequence & p->ring_mask];
}

uint64_t publisher_first_message(const struct embar_publisher *p, uint64_t sequence,
                                 uint64_t otherwise)
{
    const struct record *before = sequence > 0 ? publisher_record(p, sequence - 1) : NULL;

    return before ? before->messages_through : sequence > 0 ? otherwise : 0;
}

bool peer_counts(const struct peer *peer)
{
    return peer->state == PEER_UP || peer->state == PEER_DETACHED;
}

bool publisher_has_peers(const struct embar_publisher *p)
{
    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer_counts(peer))
            return true;
    return false;
}

/* Every batch before it has reached the level at this peer; writes in flight are counted apart. */
static uint64_t peer_level(const struct peer *peer, enum embar_level level)
{
    switch (level) {
    case EMBAR_SENT:
        return peer->next_seq;
    case EMBAR_PLACED:
        return peer->placed_next;
    case EMBAR_CONSUMED:
        return peer->consumed_next;
    }
    return 0;
}

static uint64_t least_level(const struct embar_publisher *p, enum embar_level level)
{
    uint64_t least = p->next_seq;

    for (const struct peer *peer = p->peers; peer; peer = peer->next) {
        uint64_t at = peer_level(peer, level);
        if (peer_counts(peer) && at < least)
            least = at;
    }
    return least;
}

/* The peer needs no batch before it any more, by the ack level or because policy let it go. */
uint64_t peer_needs(const struct embar_publisher *p, const struct peer *peer)
{
    uint64_t at = peer_level(peer, (enum embar_level)p->options.ack);

    return at < peer->released_next ? peer->released_next : at;
}

static uint64_t least_needed(const struct embar_publisher *p)
{
    uint64_t least = p->next_seq;

    for (const struct peer *peer = p->peers; peer; peer = peer->next) {
        uint64_t at = peer_needs(p, peer);
        if (peer_counts(peer) && at < least)
            least = at;
    }
    return least;
}

static void count_level(struct embar_publisher *p, enum embar_level level, uint64_t next)
{
    const struct record *last;

    if (next <= p->level_next[level])
        return;
    if (level == EMBAR_CONSUMED)
        for (uint64_t seq = p->level_next[level]; seq < next; seq++) {
            const struct record *record = publisher_record(p, seq);
            if (record)
                histogram_record(&p->latency, p->endpoint.now_ns - record->closed_ns);
        }
    p->level_next[level] = next;
    p->stats.level_ns[level] = p->endpoint.now_ns;
    last = publisher_record(p, next - 1);
    if (last)
        p->stats.level_bytes[level] = last->bytes_through;
}

static bool is_left_alone(const struct source *source)
{
    return source->writes == 0 && source->readers == 0;
}

static void free_slots(struct embar_publisher *p)
{
    uint64_t needed = least_needed(p);

    while (p->oldest_seq < needed) {
        uint32_t slot = publisher_record(p, p->oldest_seq)->slot;
        if (is_left_alone(&p->sources[slot]))
            slot_pool_put(&p->slots, slot);
        p->oldest_seq++;
    }
}

/* Nobody may have needed the batch any more, but somebody was still reading it. */
static void put_if_left_alone(struct embar_publisher *p, uint32_t slot)
{
    if (is_left_alone(&p->sources[slot]) && p->sources[slot].sequence < p->oldest_seq)
        slot_pool_put(&p->slots, slot);
}

void publisher_write_over(struct embar_publisher *p, uint32_t slot)
{
    p->sources[slot].writes--;
    put_if_left_alone(p, slot);
}

void publisher_read_over(struct embar_publisher *p, uint32_t slot)
{
    p->sources[slot].readers--;
    put_if_left_alone(p, slot);
}

static bool is_being_written(const struct embar_publisher *p, uint64_t sequence)
{
    const struct record *record = publisher_record(p, sequence);
    const struct source *source = record ? &p->sources[record->slot] : NULL;

    return source && source->sequence == sequence && source->writes > 0;
}

void publisher_advance(struct embar_publisher *p)
{
    uint64_t least = least_level(p, EMBAR_SENT);
    uint64_t sent = p->level_next[EMBAR_SENT];

    while (sent < least && !is_being_written(p, sent))
        sent++;
    count_level(p, EMBAR_SENT, sent);
    count_level(p, EMBAR_PLACED, least_level(p, EMBAR_PLACED));
    count_level(p, EMBAR_CONSUMED, least_level(p, EMBAR_CONSUMED));
    free_slots(p);
}

/* ---- slow subscribers ----------------------------------------------------------------------- */

/* Leaves out what was not written to it yet, and keeps nothing for it that was. A subscriber that
 * is away learns of it by START. */
static void drop_for(struct embar_publisher *p, struct peer *peer)
{
    struct control_gap *gap = &peer->gap_due;

    if (!peer->slow)
        log_warn("subscriber %s is slow: until it takes some, batches from %" PRIu64
                 " on are dropped for it",
                 peer->name, peer->next_seq);
    peer->gap = peer->slow = true;
    peer->released_next = p->next_seq;
    if (peer->next_seq == p->next_seq)
        return;
    in_place_drop(p, peer);
    if (peer->state == PEER_UP) {
        if (gap->from_sequence == gap->to_sequence) {
            gap->from_sequence = peer->next_seq;
            gap->to_message = publisher_first_message(p, peer->next_seq, p->total_messages);
            peer->gap_due_messages = 0;
        }
        peer->gap_due_messages += p->total_messages - gap->to_message;
        gap->to_sequence = p->next_seq;
        gap->to_message = p->total_messages;
    }
    peer->next_seq = p->next_seq;
}

/* Nothing is left to drop: what was handed to its link holds the slots. */
static void reset_link(struct peer *peer)
{
    log_warn("subscriber %s takes nothing of what was written to it: its link is reset",
             peer->name);
    embar_link_abort(peer->conn->link);
}

static void evict(struct embar_publisher *p, struct peer *peer)
{
    if (peer->conn)
        endpoint_end(peer->conn, REJECT_SLOW, "subscriber %s is slow and was evicted", peer->name);
    peer_lost(p, peer, "it was slow and was evicted");
}

/* Whether only subscribers that have been waited for already, in vain, hold the oldest slot. */
static bool is_known_slow(const struct embar_publisher *p)
{
    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer_counts(peer) && peer_needs(p, peer) == p->oldest_seq && !peer->slow)
            return false;
    return true;
}

uint64_t publisher_slow_deadline(const struct embar_publisher *p)
{
    uint64_t wait = p->options.slow_timeout_ns;

    if (p->options.slow_subscriber == SLOW_BLOCK || p->slots.free_count > 0 ||
        p->blocked_since_ns == 0)
        return UINT64_MAX;
    if (p->oldest_seq < p->next_seq && is_known_slow(p))
        wait = 0;
    else if (p->options.slow_subscriber == SLOW_DROP && p->oldest_seq == p->next_seq &&
             wait < STUCK_NS)
        wait = STUCK_NS;
    return p->blocked_since_ns + wait;
}

void publisher_slow(struct embar_publisher *p)
{
    uint64_t now = p->endpoint.now_ns;
    uint64_t oldest = p->oldest_seq;
    bool stuck = oldest == p->next_seq; /* all batches may go, yet writes hold their slots */

    if (p->options.slow_subscriber == SLOW_BLOCK || p->slots.free_count > 0)
        return;
    if (p->blocked_since_ns == 0)
        p->blocked_since_ns = now;
    if (now < publisher_slow_deadline(p))
        return;
    for (struct peer *peer = p->peers; peer; peer = peer->next) {
        bool holds = stuck ? peer->writes > 0 : peer_needs(p, peer) == oldest;

        if (!peer_counts(peer) || !holds)
            continue;
        if (p->options.slow_subscriber == SLOW_EVICT)
            evict(p, peer);
        else if (stuck)
            reset_link(peer);
        else
            drop_for(p, peer);
    }
    p->blocked_since_ns = now;
    publisher_pump(p);
    publisher_advance(p);
}
