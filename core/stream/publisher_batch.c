/*
 * The per-message path: a message is copied (or built) behind the previous one in the open batch's
 * slot. Nothing here but opening and closing a batch takes a lock, reads a clock, allocates or
 * calls the system.
 */
#include <errno.h>
#include <string.h>

#include "stream/batch.h"
#include "stream/publisher.h"

/* Closed batches that may wait for a credit while credits flow: more would only cool the cache. */
#define BACKLOG_BATCHES 2
/* Credits that have not come for so long are a stall, and the whole buffer is there to ride it out.
 */
#define STALL_NS (10 * NS_PER_MS)
/* The linger is looked at when so many messages have passed, or earlier. */
#define CHECK_EACH_MOST 64

/* At the pace so far, about as many as come within a quarter of what is left of the linger may pass
 * before the clock is read again. */
static void check_next(struct embar_publisher *p)
{
    uint64_t since_ns = p->endpoint.now_ns - p->opened_ns;
    uint64_t pass = 1;

    if (p->messages > 1 && since_ns < p->options.batch_linger_ns)
        pass = p->messages * ((p->options.batch_linger_ns - since_ns) / 4) / (since_ns + 1);
    if (pass > p->messages)
        pass = p->messages; /* one pause is no pace */
    if (pass > CHECK_EACH_MOST)
        pass = CHECK_EACH_MOST;
    p->check_at = p->messages + (uint32_t)(pass > 0 ? pass : 1);
}

/* Until when a subscriber whose credits flow, but who lags behind, is to be waited for. */
static uint64_t backlog_until(const struct embar_publisher *p)
{
    const struct peer *only = in_place_peer(p);
    uint64_t until = 0;

    /* A credit is the room to build in. Back from a stall, what waits goes out first. */
    if (only)
        return in_place_ready(p, only) ? 0 : only->credit_ns + STALL_NS;
    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer->state == PEER_UP && p->next_seq - peer->next_seq >= BACKLOG_BATCHES &&
            peer->credit_ns + STALL_NS > until)
            until = peer->credit_ns + STALL_NS;
    return until;
}

bool publisher_has_room(const struct embar_publisher *p)
{
    return p->started && publisher_has_peers(p) && p->slots.free_count > 0 &&
           p->endpoint.now_ns >= backlog_until(p);
}

/* There is room: whoever held the next batch up, and has none before it to wait for, does no more.
 */
void publisher_end_refusal(struct embar_publisher *p)
{
    for (struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer->next_seq == p->next_seq)
            peer_stall(p, peer, false);
    p->refused = false;
}

static int open_batch(struct embar_publisher *p)
{
    if (!publisher_has_room(p)) {
        p->refused = true;
        publisher_progress(p); /* which also looks after slow subscribers */
        if (p->failure.error)
            return -p->failure.error;
        if (!publisher_has_room(p))
            return -EAGAIN;
    }
    slot_pool_get(&p->slots, &p->slot);
    if (p->refused)
        publisher_end_refusal(p);
    p->blocked_since_ns = 0;
    p->slot_addr = in_place_open(p);
    p->cursor = p->slot_addr + BATCH_HEADER_BYTES;
    p->room = p->options.batch_size - BATCH_HEADER_BYTES;
    p->messages = 0;
    check_next(p);
    return 0;
}

uint64_t publisher_open_bytes(const struct embar_publisher *p)
{
    if (!p->slot_addr)
        return 0;
    return (uint64_t)(p->cursor - p->slot_addr - BATCH_HEADER_BYTES) -
           (uint64_t)p->messages * MESSAGE_HEADER_BYTES;
}

void publisher_close_batch(struct embar_publisher *p, enum embar_level awaited)
{
    struct record *record = &p->ring[p->next_seq & p->ring_mask];
    struct source *source = &p->sources[p->slot];
    struct batch_header header = {
        .session = p->endpoint.instance,
        .sequence = p->next_seq,
        .first_message = p->total_messages,
        .published_ns = env_wall_ns(p->endpoint.env),
        .messages = p->messages,
        .payload_bytes = (uint32_t)(p->cursor - p->slot_addr - BATCH_HEADER_BYTES),
        .checked = p->options.checksum == CHECKSUM_CRC32C,
        .awaited = awaited,
    };

    if (p->reserving)
        room_back(p);
    batch_pack(source->header, p->slot_addr + BATCH_HEADER_BYTES, &header);
    memcpy(p->slot_addr, source->header, BATCH_HEADER_BYTES);
    p->total_bytes += publisher_open_bytes(p);
    p->total_messages += p->messages;
    *record = (struct record){
        .closed_ns = env_now_ns(p->endpoint.env),
        .bytes_through = p->total_bytes,
        .messages_through = p->total_messages,
        .slot = p->slot,
        .len_bytes = BATCH_HEADER_BYTES + header.payload_bytes,
        .in_place = p->in_place.peer,
        .remote_slot = p->in_place.slot,
    };
    p->in_place_batches += p->in_place.peer != NULL;
    p->in_place.peer = NULL;
    source->sequence = p->next_seq;
    p->stats.batches++;
    p->next_seq++;
    p->slot_addr = NULL;
    p->cursor = NULL;
    p->room = 0;
    p->messages = 0;
    publisher_pump(p);
}

/* When the open batch has lingered long enough. It waits for a message that is being built in it:
 * that room is the caller's until embar_commit. */
static uint64_t linger_end(const struct embar_publisher *p)
{
    if (!p->slot_addr || p->messages == 0 || p->reserving)
        return UINT64_MAX;
    return p->opened_ns + p->options.batch_linger_ns;
}

bool publisher_linger_due(const struct embar_publisher *p)
{
    return p->endpoint.now_ns >= linger_end(p);
}

uint64_t publisher_batch_deadline(const struct embar_publisher *p)
{
    uint64_t deadline = linger_end(p);
    uint64_t room;

    if (!p->refused)
        return deadline;
    if (publisher_has_room(p))
        return 0;
    room = backlog_until(p);
    if (room <= p->endpoint.now_ns)
        room = publisher_slow_deadline(p);
    return room < deadline ? room : deadline;
}

size_t embar_publisher_max_message(const struct embar_publisher *p)
{
    return p->options.batch_size - BATCH_HEADER_BYTES - MESSAGE_HEADER_BYTES;
}

int publisher_room(struct embar_publisher *p, size_t len_bytes)
{
    if (len_bytes > embar_publisher_max_message(p))
        return -EMSGSIZE;
    if (p->reserving)
        room_back(p);
    if (p->slot_addr && p->room >= len_bytes + MESSAGE_HEADER_BYTES)
        return 0;
    if (p->failure.error)
        return -p->failure.error;
    if (p->finishing)
        return -EINVAL;
    if (p->slot_addr) {
        publisher_close_batch(p, EMBAR_SENT);
        publisher_progress(p);
    }
    return open_batch(p);
}

/* The first message of a batch, and every few after it: when the batch must go out. */
static void check_linger(struct embar_publisher *p)
{
    p->endpoint.now_ns = env_now_ns(p->endpoint.env);
    if (p->messages == 1) {
        p->opened_ns = p->endpoint.now_ns;
        if (p->first_ns == 0)
            p->first_ns = p->opened_ns;
    }
    if (publisher_linger_due(p)) {
        publisher_close_batch(p, EMBAR_SENT);
        publisher_progress(p);
        return;
    }
    check_next(p);
}

/* A message of which the bytes are, or are about to be, behind the cursor. Not the one after which
 * the linger is looked at. */
static inline void append(struct embar_publisher *p, size_t len_bytes)
{
    uint32_t len = (uint32_t)len_bytes;

    memcpy(p->cursor, &len, sizeof len);
    p->cursor += MESSAGE_HEADER_BYTES + len_bytes;
    p->room -= MESSAGE_HEADER_BYTES + len_bytes;
    p->messages++;
    p->reserving = ROOM_NONE;
}

static inline bool fits(const struct embar_publisher *p, size_t len_bytes)
{
    /* The two tests also catch a length near SIZE_MAX. */
    return p->room >= MESSAGE_HEADER_BYTES && len_bytes <= p->room - MESSAGE_HEADER_BYTES;
}

static inline bool check_is_due(const struct embar_publisher *p)
{
    return p->messages + 1 == p->check_at;
}

/* Apart, so that the way of most messages needs no stack frame. */
static __attribute__((noinline)) int publish_slowly(struct embar_publisher *p, const void *data,
                                                    size_t len_bytes)
{
    if (!fits(p, len_bytes)) {
        int rc = publisher_room(p, len_bytes);
        if (rc < 0)
            return rc;
    }
    if (len_bytes > 0)
        memcpy(p->cursor + MESSAGE_HEADER_BYTES, data, len_bytes);
    append(p, len_bytes);
    if (p->messages == p->check_at)
        check_linger(p);
    return 0;
}

int embar_publish(struct embar_publisher *p, const void *data, size_t len_bytes)
{
    uint8_t *to;

    if (!fits(p, len_bytes) || check_is_due(p))
        return publish_slowly(p, data, len_bytes);
    to = p->cursor + MESSAGE_HEADER_BYTES;
    append(p, len_bytes); /* ahead of the bytes: nobody looks before this returns */
    if (len_bytes > 0)
        memcpy(to, data, len_bytes);
    return 0;
}

int embar_reserve(struct embar_publisher *p, size_t len_bytes, void **data)
{
    if (!fits(p, len_bytes)) {
        int rc = publisher_room(p, len_bytes);
        if (rc < 0)
            return rc;
    }
    p->reserving = ROOM_HERE;
    p->reserved = len_bytes;
    *data = p->cursor + MESSAGE_HEADER_BYTES;
    return 0;
}

static __attribute__((noinline)) int commit_slowly(struct embar_publisher *p, size_t len_bytes)
{
    if (p->failure.error)
        return -p->failure.error;
    if (p->reserving == ROOM_NONE || len_bytes > p->reserved)
        return -EINVAL;
    if (p->reserving == ROOM_MOVED)
        room_bring(p, len_bytes);
    append(p, len_bytes);
    if (p->messages == p->check_at)
        check_linger(p);
    return 0;
}

int embar_commit(struct embar_publisher *p, size_t len_bytes)
{
    if (p->reserving != ROOM_HERE || len_bytes > p->reserved || check_is_due(p))
        return commit_slowly(p, len_bytes);
    append(p, len_bytes);
    return 0;
}
