/*
 * Two transports of one process, a sender of spliced writes and their receiver, for tests of when a
 * source is free. The receiver's socket refers to the sender's pages until it is read, so a source
 * that were given back early would change what arrives. Whoever may rewrite a source here does so
 * at once, and whatever arrives must be what was sent. Nothing is checksummed.
 */
#ifndef TCP_REWRITING_SENDER_H
#define TCP_REWRITING_SENDER_H

#include "tcp_raw_peer.h"

#define SLOTS      16u
#define SLOT_BYTES (256u << 10)
#define REWRITTEN  0xEE

struct side {
    struct embar_transport *transport;
    struct embar_buffer *buffer;
    uint8_t *memory;
    struct embar_link *link;
    unsigned arrivals, wrong, done, done_ok, ups;
    bool down;
    int status;
    char reason[EMBAR_DIAG_BYTES];
};

static struct side sender, receiver;
static struct embar_listener *listener;
static struct embar_key key;
static size_t write_bytes = SLOT_BYTES;

static inline uint8_t byte_of(unsigned round, unsigned slot)
{
    return (uint8_t)(1 + (round * 31 + slot) % 200); /* never REWRITTEN */
}

static inline bool holds(const uint8_t *bytes, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

static inline void on_event(struct side *side, const struct embar_event *event)
{
    uint32_t slot = event->immediate % SLOTS;

    switch (event->type) {
    case EMBAR_EVENT_LINK_REQUEST:
        side->link = event->link;
        assert_int_equal(embar_accept(event->link), 0);
        break;
    case EMBAR_EVENT_LINK_UP:
        side->ups++;
        break;
    case EMBAR_EVENT_WRITE_DONE:
        side->done++;
        side->done_ok += event->status == 0;
        memset(side->memory + event->token * SLOT_BYTES, REWRITTEN, SLOT_BYTES);
        break;
    case EMBAR_EVENT_ARRIVAL:
        side->arrivals++;
        if (!holds(side->memory + slot * SLOT_BYTES, event->len_bytes,
                   (uint8_t)(event->immediate >> 8)))
            side->wrong++;
        break;
    case EMBAR_EVENT_LINK_DOWN:
        side->down = true;
        side->status = event->status;
        snprintf(side->reason, sizeof(side->reason), "%s", event->reason);
        break;
    default:
        break;
    }
}

static inline void poll_side(struct side *side)
{
    struct embar_event events[16];
    int count = embar_poll(side->transport, events, 16);

    assert_true(count >= 0);
    for (int i = 0; i < count; i++)
        on_event(side, &events[i]);
}

static inline void poll_both(void)
{
    poll_side(&sender);
    poll_side(&receiver);
}

#define await_that(condition, poll_them)                                                           \
    for (uint64_t bound_ = now_ns() + BOUND_NS; !(condition);) {                                   \
        assert_true(now_ns() < bound_);                                                            \
        poll_them;                                                                                 \
    }

static inline void open_side(struct side *side, const char *const *settings)
{
    struct embar_buffer_info info;

    memset(side, 0, sizeof(*side));
    assert_int_equal(embar_transport_open("tcp", settings, &side->transport, NULL), 0);
    assert_int_equal(
        embar_buffer_alloc(side->transport, (size_t)SLOTS * SLOT_BYTES,
                           &(struct embar_buffer_options){EMBAR_HUGEPAGES_NEVER, -1, 0},
                           &side->buffer, NULL),
        0);
    embar_buffer_info(side->buffer, &info);
    side->memory = info.addr;
}

static inline void open_both(const char *const *settings)
{
    open_side(&sender, settings);
    open_side(&receiver, settings);
    assert_int_equal(embar_listen(receiver.transport, "127.0.0.1:0", &listener, NULL), 0);
}

static inline void join(void)
{
    sender.done = sender.done_ok = sender.ups = receiver.ups = receiver.arrivals = 0;
    sender.down = receiver.down = false;
    assert_int_equal(
        embar_connect(sender.transport, embar_listener_address(listener), &sender.link, NULL), 0);
    await_that(sender.ups > 0 && receiver.ups > 0, poll_both());
    assert_int_equal(embar_buffer_expose(receiver.buffer, receiver.link, &key, NULL), 0);
    memset(receiver.memory, 0, (size_t)SLOTS * SLOT_BYTES);
}

static inline void post(unsigned round, unsigned slot)
{
    struct embar_write write = {.buffer = sender.buffer,
                                .offset = (size_t)slot * SLOT_BYTES,
                                .len_bytes = write_bytes,
                                .key = key,
                                .remote_offset = (uint64_t)slot * SLOT_BYTES,
                                .immediate = (uint32_t)byte_of(round, slot) << 8 | slot,
                                .token = slot};

    memset(sender.memory + write.offset, byte_of(round, slot), SLOT_BYTES);
    assert_int_equal(embar_write(sender.link, &write), 0);
}

static inline void post_all(unsigned round)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        post(round, slot);
}

static inline void part(void)
{
    assert_int_equal(embar_link_close(sender.link), 0);
    assert_int_equal(embar_link_close(receiver.link), 0);
}

static inline void close_side(struct side *side)
{
    assert_int_equal(embar_buffer_free(side->buffer), 0);
    assert_int_equal(embar_transport_close(side->transport), 0);
}

static inline void close_both(void)
{
    assert_int_equal(embar_listener_close(listener), 0);
    close_side(&sender);
    close_side(&receiver);
}

static inline void poll_sender_for(uint64_t ns)
{
    for (uint64_t end = now_ns() + ns; now_ns() < end;)
        poll_side(&sender);
}

static const char *const settings[] = {"tcp.send_mode=splice", "tcp.zero_copy_send_limit=4KiB",
                                       "tcp.close_timeout=100ms", "tcp.congestion_control=cubic",
                                       NULL};

#endif
