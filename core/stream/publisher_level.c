/*
 * What has reached which level. A level of the publisher is the least of its subscribers'; when it
 * moves, rates and latency are counted and source slots become free. Slow subscribers are handled
 * here, since they are what keeps slots from becoming free.
 */
#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"
#include "stream/publisher.h"

struct record *publisher_record(const struct embar_publisher *p, uint64_t sequence)
{
    if (sequence >= p->next_seq || p->next_seq - sequence > p->ring_mask)
        return NULL;
    return &p->ring[sequence & p->ring_mask];
}

bool peer_counts(const struct peer *peer)
{
    return peer->state == PEER_UP || peer->state == PEER_DETACHED;
}

uint64_t peer_slowest(const struct embar_publisher *p)
{
    uint64_t least = p->next_seq;

    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer_counts(peer) && peer->next_seq < least)
            least = peer->next_seq;
    return least;
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

/* No peer needs a batch before it any more, by the ack level or because policy let it go. */
static uint64_t least_needed(const struct embar_publisher *p)
{
    uint64_t least = p->next_seq;

    for (const struct peer *peer = p->peers; peer; peer = peer->next) {
        uint64_t at = peer_level(peer, (enum embar_level)p->options.ack);
        if (at < peer->released_next)
            at = peer->released_next;
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

static void free_slots(struct embar_publisher *p)
{
    uint64_t needed = least_needed(p);

    while (p->oldest_seq < needed) {
        const struct record *record = publisher_record(p, p->oldest_seq);
        if (record->writes > 0)
            break;
        slot_pool_put(&p->slots, record->slot);
        p->oldest_seq++;
    }
}

void publisher_advance(struct embar_publisher *p)
{
    uint64_t least = least_level(p, EMBAR_SENT);
    uint64_t sent = p->level_next[EMBAR_SENT];

    while (sent < least) {
        const struct record *record = publisher_record(p, sent);
        if (record && record->writes > 0)
            break;
        sent++;
    }
    count_level(p, EMBAR_SENT, sent);
    count_level(p, EMBAR_PLACED, least_level(p, EMBAR_PLACED));
    count_level(p, EMBAR_CONSUMED, least_level(p, EMBAR_CONSUMED));
    free_slots(p);
}

static void drop_for(struct embar_publisher *p, struct peer *peer)
{
    if (peer->next_seq < p->next_seq) {
        if (peer->gap_due.from_sequence == peer->gap_due.to_sequence)
            peer->gap_due.from_sequence = peer->next_seq;
        peer->gap_due.to_sequence = p->next_seq;
        peer->gap_due.to_message = p->total_messages;
        log_warn("subscriber %s is slow: batches %" PRIu64 " to %" PRIu64 " are dropped for it",
                 peer->name, peer->next_seq, p->next_seq - 1);
        peer->next_seq = p->next_seq;
    }
    peer->gap = true;
    peer->released_next = p->next_seq;
}

void publisher_slow(struct embar_publisher *p)
{
    uint64_t needed = least_needed(p);

    if (p->options.slow_subscriber == SLOW_BLOCK || p->slots.free_count > 0)
        return;
    if (p->blocked_since_ns == 0)
        p->blocked_since_ns = p->endpoint.now_ns;
    if (p->endpoint.now_ns - p->blocked_since_ns < p->options.slow_timeout_ns)
        return;
    for (struct peer *peer = p->peers; peer; peer = peer->next) {
        uint64_t at = peer_level(peer, (enum embar_level)p->options.ack);

        if (!peer_counts(peer) || at > needed || peer->released_next > needed)
            continue;
        if (p->options.slow_subscriber == SLOW_DROP) {
            drop_for(p, peer);
        } else {
            if (peer->conn)
                endpoint_end(peer->conn, REJECT_SLOW, "subscriber %s is slow and was evicted",
                             peer->name);
            peer_lost(p, peer, "it was slow and was evicted");
        }
    }
    publisher_pump(p);
    publisher_advance(p);
}
