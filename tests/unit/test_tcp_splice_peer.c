/*
 * When a spliced source is free, against the kernel's own receive queues: the receiver's socket
 * refers to the sender's pages until it is read, so a source that were given back early would
 * change what arrives. Whoever may rewrite a source here does so at once, and whatever arrives must
 * be what was sent. Two transports of one process; nothing is checksummed.
 */
#include "tcp_raw_peer.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

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

static uint8_t byte_of(unsigned round, unsigned slot)
{
    return (uint8_t)(1 + (round * 31 + slot) % 200); /* never REWRITTEN */
}

static bool holds(const uint8_t *bytes, size_t len, uint8_t value)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

static void on_event(struct side *side, const struct embar_event *event)
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

static void poll_side(struct side *side)
{
    struct embar_event events[16];
    int count = embar_poll(side->transport, events, 16);

    assert_true(count >= 0);
    for (int i = 0; i < count; i++)
        on_event(side, &events[i]);
}

static void poll_both(void)
{
    poll_side(&sender);
    poll_side(&receiver);
}

#define await_that(condition, poll_them)                                                           \
    for (uint64_t bound_ = now_ns() + BOUND_NS; !(condition);) {                                   \
        assert_true(now_ns() < bound_);                                                            \
        poll_them;                                                                                 \
    }

static void open_side(struct side *side, const char *const *settings)
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

static void open_both(const char *const *settings)
{
    open_side(&sender, settings);
    open_side(&receiver, settings);
    assert_int_equal(embar_listen(receiver.transport, "127.0.0.1:0", &listener, NULL), 0);
}

static void join(void)
{
    sender.done = sender.done_ok = sender.ups = receiver.ups = receiver.arrivals = 0;
    sender.down = receiver.down = false;
    assert_int_equal(
        embar_connect(sender.transport, embar_listener_address(listener), &sender.link, NULL), 0);
    await_that(sender.ups > 0 && receiver.ups > 0, poll_both());
    assert_int_equal(embar_buffer_expose(receiver.buffer, receiver.link, &key, NULL), 0);
    memset(receiver.memory, 0, (size_t)SLOTS * SLOT_BYTES);
}

static void post(unsigned round, unsigned slot)
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

static void post_all(unsigned round)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        post(round, slot);
}

static void part(void)
{
    assert_int_equal(embar_link_close(sender.link), 0);
    assert_int_equal(embar_link_close(receiver.link), 0);
}

static void close_side(struct side *side)
{
    assert_int_equal(embar_buffer_free(side->buffer), 0);
    assert_int_equal(embar_transport_close(side->transport), 0);
}

static void close_both(void)
{
    assert_int_equal(embar_listener_close(listener), 0);
    close_side(&sender);
    close_side(&receiver);
}

static void poll_sender_for(uint64_t ns)
{
    for (uint64_t end = now_ns() + ns; now_ns() < end;)
        poll_side(&sender);
}

static const char *const settings[] = {"tcp.send_mode=splice", "tcp.zero_copy_send_limit=4KiB",
                                       "tcp.close_timeout=100ms", "tcp.congestion_control=cubic",
                                       NULL};

static void test_source_is_not_free_while_the_receiver_does_not_read(void **state)
{
    struct embar_link_stats stats;

    (void)state;
    open_both(settings);
    join();
    for (unsigned slot = 0; slot < 4; slot++)
        post(0, slot);
    poll_sender_for(300 * NS_PER_MS);
    assert_int_equal(sender.done, 0);
    await_that(receiver.arrivals == 4, poll_side(&receiver));
    poll_side(&receiver); /* in its next turn it says so */
    await_that(sender.done_ok == 4, poll_side(&sender));
    embar_link_stats(sender.link, &stats);
    assert_string_equal(stats.send_mode, "splice");
    assert_int_equal(receiver.wrong, 0);
    assert_int_equal(embar_link_abort(sender.link), 0);
    await_that(sender.down && receiver.down, poll_both());
    part();
    close_both();
}

/* The proof has teeth: this kernel does let a receiver see what its sender writes too early. */
static void test_receive_queue_refers_to_the_pages_of_the_sender(void **state)
{
    (void)state;
    open_both(settings);
    join();
    post(0, 0);
    poll_sender_for(20 * NS_PER_MS);
    memset(sender.memory, REWRITTEN, SLOT_BYTES); /* which nobody allowed */
    await_that(receiver.arrivals == 1, poll_both());
    if (receiver.wrong == 0)
        print_message("this kernel copies what is spliced\n");
    receiver.wrong = 0;
    assert_int_equal(embar_link_abort(sender.link), 0);
    await_that(sender.down && receiver.down, poll_both());
    part();
    close_both();
}

/* ---- every end ------------------------------------------------------------------------------ */

enum end { ABORT, DISCONNECT, DISCONNECT_AND_ABORT, REFUSED, PEER_ABORT, PEER_DISCONNECT, ENDS };

static void end_link(enum end end)
{
    switch (end) {
    case ABORT:
        assert_int_equal(embar_link_abort(sender.link), 0);
        break;
    case DISCONNECT:
        assert_int_equal(embar_link_disconnect(sender.link), 0);
        break;
    case DISCONNECT_AND_ABORT:
        assert_int_equal(embar_link_disconnect(sender.link), 0);
        poll_side(&sender);
        assert_int_equal(embar_link_abort(sender.link), 0);
        break;
    case REFUSED: /* what comes from now on breaks a rule */
        assert_int_equal(embar_buffer_unexpose(receiver.buffer), 0);
        if (receiver.arrivals == SLOTS) /* nothing more comes */
            assert_int_equal(embar_link_abort(receiver.link), 0);
        break;
    case PEER_ABORT:
        assert_int_equal(embar_link_abort(receiver.link), 0);
        break;
    case PEER_DISCONNECT:
        assert_int_equal(embar_link_disconnect(receiver.link), 0);
        break;
    case ENDS:
        break;
    }
}

/* The receiver has read `turns` turns and then stops until the sender's link is down and all its
 * sources are rewritten. */
static void stall_and_end(unsigned round, enum end end, unsigned turns)
{
    join();
    post_all(round);
    for (unsigned i = 0; i < 50; i++)
        poll_side(&sender);
    for (unsigned i = 0; i < turns; i++) {
        poll_side(&receiver);
        poll_side(&sender);
    }
    end_link(end);
    /* Only an end in order may have to wait for the peer to read. */
    await_that(sender.down, (poll_side(&sender), end == REFUSED ? poll_side(&receiver) : (void)0));
    assert_int_equal(sender.done, SLOTS);
    memset(sender.memory, REWRITTEN, (size_t)SLOTS * SLOT_BYTES);
    await_that(receiver.down, poll_both());
    part();
    assert_int_equal(receiver.wrong, 0);
}

static void test_no_end_lets_a_stalled_receiver_report_rewritten_bytes(void **state)
{
    (void)state;
    srand(5);
    open_both((const char *const[]){"tcp.send_mode=splice", "tcp.zero_copy_send_limit=4KiB",
                                    "tcp.close_timeout=20ms", "tcp.congestion_control=cubic",
                                    "tcp.receive_buffer=150000", NULL});
    for (unsigned round = 0; round < 120; round++) {
        write_bytes = SLOT_BYTES >> rand() % 6; /* some of them, or a part of one, fill the queue */
        stall_and_end(round, (enum end)(round % ENDS), (unsigned)rand() % 40);
    }
    write_bytes = SLOT_BYTES;
    close_both();
}

static void test_end_in_order_delivers_and_frees_everything(void **state)
{
    (void)state;
    open_both(settings);
    join();
    post_all(1);
    assert_int_equal(embar_link_disconnect(sender.link), 0);
    await_that(sender.down && receiver.down, poll_both());
    assert_int_equal(sender.status, 0);
    assert_int_equal(receiver.status, 0);
    assert_int_equal(receiver.arrivals, SLOTS);
    assert_int_equal(receiver.wrong, 0);
    assert_int_equal(sender.done_ok, SLOTS);
    part();
    close_both();
}

/* ---- a receiver that reads all the while ------------------------------------------------------
 */

static atomic_bool stop_reading;

static void *read_all_the_while(void *unused)
{
    while (!atomic_load(&stop_reading))
        poll_side(&receiver);
    return unused;
}

static void test_aborts_amid_reading_never_let_rewritten_bytes_arrive(void **state)
{
    pthread_t thread;

    (void)state;
    srand(6);
    open_both(settings);
    for (unsigned round = 0; round < 300; round++) {
        join();
        atomic_store(&stop_reading, false);
        assert_int_equal(pthread_create(&thread, NULL, read_all_the_while, NULL), 0);
        post_all(round);
        for (unsigned i = (unsigned)rand() % 20; i > 0; i--)
            poll_side(&sender);
        assert_int_equal(embar_link_abort(sender.link), 0);
        await_that(sender.down, poll_side(&sender));
        memset(sender.memory, REWRITTEN, (size_t)SLOTS * SLOT_BYTES);
        usleep(500);
        atomic_store(&stop_reading, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
        await_that(receiver.down, poll_both());
        part();
    }
    assert_int_equal(receiver.wrong, 0);
    close_both();
}

/* ---- a network that fails between --------------------------------------------------------------
 */

/* No reset gets through. The sender's own kernel gives the peer up after tcp.user_timeout; the
 * sources are held for tcp.close_timeout more, in which the receiver's keepalive ends its
 * connection too. */
static void test_sources_outlast_a_network_that_fails(void **state)
{
    uint64_t began;

    (void)state;
    if (unshare(CLONE_NEWNET) < 0) {
        print_message("[  SKIPPED ] no network namespaces here\n");
        skip();
    }
    set_loopback_up(true);
    open_both((const char *const[]){"tcp.send_mode=splice", "tcp.zero_copy_send_limit=4KiB",
                                    "tcp.user_timeout=400ms", "tcp.close_timeout=4s",
                                    "tcp.keepalive_idle=1s", "tcp.keepalive_interval=1s",
                                    "tcp.keepalive_count=1", NULL});
    join();
    write_bytes = 8192; /* as small a queue as a new connection has holds several */
    post_all(3);
    write_bytes = SLOT_BYTES;
    for (unsigned i = 0; i < 50; i++)
        poll_side(&sender);
    set_loopback_up(false);
    began = now_ns();
    await_that(sender.down, poll_side(&sender));
    assert_true(sender.status < 0);
    assert_in_range(now_ns() - began, 4 * NS_PER_S, 20 * NS_PER_S);
    assert_int_equal(sender.done, SLOTS);
    memset(sender.memory, REWRITTEN, (size_t)SLOTS * SLOT_BYTES);
    await_that(receiver.down, poll_side(&receiver));
    assert_int_equal(receiver.wrong, 0);
    part();
    close_both();
}

/* ---- peers that lie -----------------------------------------------------------------------------
 */

static void lie(uint64_t count, const char *words)
{
    struct tcp_frame placed = {.type = TCP_FRAME_PLACED, .offset = count};
    struct embar_link *link;
    char reason[256];
    int fd;

    open_listener("127.0.0.1:0", settings);
    fd = raw_join(&link);
    raw_frame(fd, &placed);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -EPROTO);
    assert_int_equal(raw_read_reason(fd, reason).immediate, TCP_BYE_REFUSED);
    assert_non_null(strstr(reason, words));
    close(fd);
    close_link(link);
    close_transport();
}

static void test_peer_that_has_read_what_was_never_sent_loses_its_link(void **state)
{
    (void)state;
    lie(1, "has read 1 spliced writes");
    lie(0, "has read 0 spliced writes");
    lie(UINT64_MAX, "has read 18446744073709551615 spliced writes");
}

static void test_write_to_a_peer_that_is_gone_raises_no_signal(void **state)
{
    struct embar_buffer *buffer;
    struct embar_link *link;
    struct embar_write write = {.len_bytes = 1 << 20};
    struct linger linger = {.l_onoff = 1};
    int fd;

    (void)state; /* SIGPIPE has its default action, which would kill the test */
    open_listener("127.0.0.1:0", settings);
    fd = raw_join(&link);
    assert_int_equal(embar_buffer_alloc(us.transport, 1 << 20, NULL, &buffer, NULL), 0);
    write.buffer = buffer;
    write.key = (struct embar_key){.id = 1, .size = 1 << 20};
    assert_int_equal(embar_write(link, &write), 0);
    turn(0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(fd);
    for (unsigned i = 0; i < 8 && embar_write(link, &write) == 0; i++)
        turn(0);
    assert_true(await(EMBAR_EVENT_LINK_DOWN)->status < 0);
    assert_true(us.count[EMBAR_EVENT_WRITE_DONE] >= 1);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_is_not_free_while_the_receiver_does_not_read),
        cmocka_unit_test(test_receive_queue_refers_to_the_pages_of_the_sender),
        cmocka_unit_test(test_no_end_lets_a_stalled_receiver_report_rewritten_bytes),
        cmocka_unit_test(test_end_in_order_delivers_and_frees_everything),
        cmocka_unit_test(test_aborts_amid_reading_never_let_rewritten_bytes_arrive),
        cmocka_unit_test(test_peer_that_has_read_what_was_never_sent_loses_its_link),
        cmocka_unit_test(test_write_to_a_peer_that_is_gone_raises_no_signal),
        cmocka_unit_test(test_sources_outlast_a_network_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
