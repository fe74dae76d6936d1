/*
 * Small messages that are read where they lie, against the kernel's own sockets: handled at once,
 * taken out of the socket by the next call, and acknowledged only then
 * (docs/decisions/026-acknowledged-later.md).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp/receive.h"

#define MEMORY_BYTES (1u << 16)
#define FEW_BYTES    64u
#define MANY_BYTES   5000u
#define WAIT_MS      30000

static struct {
    int sending, receiving;
    struct tcp_receiver receiver;
    uint8_t memory[MEMORY_BYTES], model[MEMORY_BYTES];
    unsigned arrivals, messages, byes;
    int unread_at_bye;
} it;

/* Bytes that lie in the receiver's socket. */
static int unread(void)
{
    int bytes = -1;

    assert_int_equal(ioctl(it.receiving, FIONREAD, &bytes), 0);
    return bytes;
}

static void on_arrival(void *user, uint32_t immediate, uint32_t len_bytes, bool spliced)
{
    (void)user;
    (void)immediate;
    (void)len_bytes;
    (void)spliced;
    it.arrivals++;
}

static void on_message(void *user, const uint8_t *data, uint32_t len_bytes)
{
    (void)user;
    (void)data;
    (void)len_bytes;
    it.messages++;
}

static bool on_control(void *user, const struct tcp_frame *frame, const uint8_t *payload)
{
    (void)user;
    (void)payload;
    it.byes += frame->type == TCP_FRAME_BYE;
    it.unread_at_bye = unread();
    return false;
}

static void run(void)
{
    const struct tcp_receive_sink sink = {on_arrival, on_message, on_control, NULL};
    struct embar_diag why = {0};
    int budget = 1000;

    assert_int_equal(tcp_receiver_run(&it.receiver, UINT64_MAX, &budget, &sink, &why), 0);
}

static int start(void **state)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

    (void)state;
    memset(&it, 0, sizeof(it));
    it.sending = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&addr, len) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) < 0 ||
        connect(it.sending, (struct sockaddr *)&addr, len) < 0 ||
        setsockopt(it.sending, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0)
        return -1;
    it.receiving = accept(listener, NULL, NULL);
    close(listener);
    if (it.receiving < 0 || tcp_receiver_init(&it.receiver, &tcp_sys_kernel, it.receiving) < 0)
        return -1;
    it.receiver.allowed = TCP_FRAME_BIT(TCP_FRAME_WRITE) | TCP_FRAME_BIT(TCP_FRAME_SEND) |
                          TCP_FRAME_BIT(TCP_FRAME_BYE);
    it.receiver.window = (struct tcp_window){it.memory, MEMORY_BYTES, 42};
    return 0;
}

static int stop(void **state)
{
    (void)state;
    tcp_receiver_destroy(&it.receiver);
    close(it.sending);
    close(it.receiving);
    return 0;
}

/* Sends a frame, and waits until it has arrived behind `before` bytes that are unread. */
static void put(const struct tcp_frame *frame, const uint8_t *payload, int before)
{
    static uint8_t wire[TCP_FRAME_BYTES + MEMORY_BYTES];
    int len = (int)(TCP_FRAME_BYTES + frame->len_bytes);

    tcp_frame_pack(frame, wire);
    if (frame->len_bytes > 0)
        memcpy(wire + TCP_FRAME_BYTES, payload, frame->len_bytes);
    assert_int_equal(send(it.sending, wire, (size_t)len, MSG_NOSIGNAL), len);
    for (int ms = 0; unread() < before + len; ms++) {
        assert_true(ms < WAIT_MS);
        poll(NULL, 0, 1);
    }
}

/* A write of bytes by chance to an offset by chance. */
static void put_write(uint32_t len_bytes, int before)
{
    static uint8_t payload[MEMORY_BYTES];
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE,
                              .key = 42,
                              .offset = (uint32_t)rand() % (MEMORY_BYTES - len_bytes),
                              .len_bytes = len_bytes};

    for (uint32_t i = 0; i < len_bytes; i++)
        payload[i] = (uint8_t)rand();
    memcpy(it.model + frame.offset, payload, len_bytes);
    put(&frame, payload, before);
}

static void assert_memory(void)
{
    assert_memory_equal(it.memory, it.model, MEMORY_BYTES);
}

/* One small message comes and goes, after which the next is expected to be small too. */
static void begin(void)
{
    put_write(FEW_BYTES, 0);
    run();
    run();
    assert_int_equal(it.arrivals, 1);
    assert_int_equal(unread(), 0);
}

static void test_small_message_is_handled_at_once_and_taken_out_by_the_next_call(void **state)
{
    (void)state;
    begin();
    put_write(FEW_BYTES, 0);
    run();
    assert_int_equal(it.arrivals, 2);
    assert_memory();
    assert_int_equal(unread(), TCP_FRAME_BYTES + FEW_BYTES);
    assert_true(it.receiver.more); /* or the caller might sleep, and nobody would take it out */
    run();
    assert_int_equal(it.arrivals, 2);
    assert_int_equal(unread(), 0);
    assert_false(it.receiver.more);
}

static void test_call_that_takes_out_a_message_handles_what_lies_behind_it(void **state)
{
    (void)state;
    begin();
    put_write(FEW_BYTES, 0);
    run();
    put_write(FEW_BYTES, unread());
    put_write(MANY_BYTES, unread());
    run();
    assert_int_equal(it.arrivals, 4);
    assert_memory();
    assert_int_equal(unread(), 0);
}

static void test_large_message_where_a_small_one_was_expected_is_read_as_a_whole(void **state)
{
    (void)state;
    begin();
    put_write(MANY_BYTES, 0);
    run();
    assert_int_equal(it.arrivals, 2);
    assert_memory();
    assert_int_equal(unread(), 0);
    run();
    put_write(FEW_BYTES, 0); /* now a large one was expected */
    run();
    assert_int_equal(unread(), 0);
    assert_memory();
}

/* A publisher gets messages and no writes. Should it die, what it has sent is still to arrive. */
static void test_what_is_no_write_is_never_left_in_the_socket(void **state)
{
    const struct tcp_frame message = {.type = TCP_FRAME_SEND, .len_bytes = 20};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        put(&message, it.model, 0);
        run();
        assert_int_equal(it.messages, i + 1);
        assert_int_equal(unread(), 0);
        assert_false(it.receiver.more);
        run();
    }
}

/* Who closes a socket with unread bytes resets the connection. */
static void test_frame_that_may_close_the_socket_is_taken_out_first(void **state)
{
    struct tcp_frame bye = {.type = TCP_FRAME_BYE};

    (void)state;
    begin();
    put(&bye, NULL, 0);
    run();
    assert_int_equal(it.byes, 1);
    assert_int_equal(it.unread_at_bye, 0);
}

static void test_discarding_takes_out_what_was_handled(void **state)
{
    (void)state;
    begin();
    put_write(FEW_BYTES, 0);
    run();
    it.receiver.discard = true;
    put_write(FEW_BYTES, unread());
    run();
    run();
    assert_int_equal(it.arrivals, 2);
    assert_int_equal(unread(), 0);
}

static void test_messages_of_all_sizes_with_calls_between_them_arrive_once(void **state)
{
    struct tcp_frame message = {.type = TCP_FRAME_SEND, .len_bytes = 20};
    unsigned writes = 0, messages = 0;

    (void)state;
    srand(7);
    for (unsigned i = 0; i < 3000; i++) {
        switch (rand() % 4) {
        case 0:
            put(&message, it.model, unread());
            messages++;
            break;
        case 1:
            put_write(1 + (uint32_t)rand() % (rand() % 2 ? 200 : 20000), unread());
            writes++;
            break;
        default:
            run();
        }
        if (unread() > 100000)
            run();
    }
    run();
    run();
    assert_int_equal(it.arrivals, writes);
    assert_int_equal(it.messages, messages);
    assert_int_equal(unread(), 0);
    assert_memory();
}

static uint32_t segments_sent(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_segs_out;
}

/* What the receiver sends is nothing but acknowledgements. A few may come from the kernel's timer,
 * when the test itself is held up. */
static void test_small_message_is_acknowledged_after_the_call_that_handles_it(void **state)
{
    uint32_t during = 0, after = 0;

    (void)state;
    begin();
    for (unsigned i = 0; i < 200; i++) {
        uint32_t before, handled;

        put_write(FEW_BYTES, 0);
        before = segments_sent(it.receiving);
        run();
        assert_int_equal(it.arrivals, i + 2);
        handled = segments_sent(it.receiving);
        run();
        during += handled - before;
        after += segments_sent(it.receiving) - handled;
    }
    assert_in_range(during, 0, 10);
    assert_in_range(after, 50, 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_small_message_is_handled_at_once_and_taken_out_by_the_next_call),
        TEST(test_call_that_takes_out_a_message_handles_what_lies_behind_it),
        TEST(test_large_message_where_a_small_one_was_expected_is_read_as_a_whole),
        TEST(test_what_is_no_write_is_never_left_in_the_socket),
        TEST(test_frame_that_may_close_the_socket_is_taken_out_first),
        TEST(test_discarding_takes_out_what_was_handled),
        TEST(test_messages_of_all_sizes_with_calls_between_them_arrive_once),
        TEST(test_small_message_is_acknowledged_after_the_call_that_handles_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
