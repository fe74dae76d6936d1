/*
 * The receiving half of a lane against a kernel that hands out a stream in pieces of any size:
 * payloads land where they belong and nowhere else, and what breaks a rule stops before a byte of
 * it lands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tcp/receive.h"

#define MEMORY_BYTES (1u << 20)
#define GUARD_BYTES  4096u
#define STREAM_BYTES (4u << 20)
#define DATA_FRAMES                                                                                \
    (TCP_FRAME_BIT(TCP_FRAME_WRITE) | TCP_FRAME_BIT(TCP_FRAME_SEND) | TCP_FRAME_BIT(TCP_FRAME_BYE))

/* The stream, and how the kernel hands it out. */
static struct {
    uint8_t bytes[STREAM_BYTES];
    size_t len, pos;
    size_t piece_max; /* 0: all that is asked for; else 1 to so many, by chance */
    unsigned calls;
    bool gaps;          /* now and then, by chance, there is nothing yet */
    size_t asked_first; /* of the first iovec of the last call */
    bool closed;        /* after the stream: 0 instead of EAGAIN */
    int error;          /* after the stream: this instead */
    bool over;          /* the connection has been reset, whatever can still be read */
    unsigned over_asked;
} kernel;

static uint8_t guarded[GUARD_BYTES + MEMORY_BYTES + GUARD_BYTES];
static uint8_t *const memory = guarded + GUARD_BYTES;
static uint8_t model[MEMORY_BYTES];
static struct tcp_receiver receiver;

static struct {
    unsigned arrivals, messages, controls, spliced;
    uint32_t last_immediate, last_len;
    char last_message[TCP_MAX_SEND_BYTES + 1];
    enum tcp_frame_type last_type;
    bool stop;
} seen;

static ssize_t fake_recvmsg(void *user, int fd, struct msghdr *msg, int flags)
{
    size_t left = kernel.len - kernel.pos, taken = 0;

    (void)user;
    assert_int_equal(fd, 4);
    assert_true(msg->msg_iovlen > 0);
    kernel.calls++;
    kernel.asked_first = msg->msg_iov[0].iov_len;
    if (left == 0)
        return kernel.error != 0 ? -kernel.error : kernel.closed ? 0 : -EAGAIN;
    if (kernel.gaps && rand() % 3 == 0)
        return -EAGAIN;
    if (kernel.piece_max > 0) {
        size_t piece = 1 + (size_t)rand() % kernel.piece_max;

        left = piece < left ? piece : left;
    }
    for (size_t i = 0; i < msg->msg_iovlen && left > 0; i++) {
        size_t len = msg->msg_iov[i].iov_len < left ? msg->msg_iov[i].iov_len : left;

        memcpy(msg->msg_iov[i].iov_base, kernel.bytes + kernel.pos, len);
        kernel.pos += len;
        left -= len;
        taken += len;
    }
    if (flags & MSG_PEEK)
        kernel.pos -= taken;
    return (ssize_t)taken;
}

static bool fake_is_over(void *user, int fd, uint32_t silence_ms)
{
    (void)user;
    (void)silence_ms;
    assert_int_equal(fd, 4);
    kernel.over_asked++;
    return kernel.over;
}

static int fake_so_error(void *user, int fd)
{
    (void)user;
    (void)fd;
    return kernel.error;
}

static const struct tcp_sys fake = {
    .recvmsg = fake_recvmsg, .is_over = fake_is_over, .so_error = fake_so_error};

static void on_arrival(void *user, uint32_t immediate, uint32_t len_bytes, bool spliced)
{
    (void)user;
    seen.spliced += spliced;
    seen.arrivals++;
    seen.last_immediate = immediate;
    seen.last_len = len_bytes;
}

static void on_message(void *user, const uint8_t *data, uint32_t len_bytes)
{
    (void)user;
    seen.messages++;
    memcpy(seen.last_message, data, len_bytes);
    seen.last_message[len_bytes] = '\0';
}

static bool on_control(void *user, const struct tcp_frame *frame, const uint8_t *payload)
{
    (void)user;
    (void)payload;
    seen.controls++;
    seen.last_type = frame->type;
    return !seen.stop;
}

static const struct tcp_receive_sink sink = {on_arrival, on_message, on_control, NULL};

static int start(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    memset(&seen, 0, sizeof(seen));
    memset(guarded, 0xEE, sizeof(guarded));
    memset(model, 0xEE, sizeof(model));
    if (tcp_receiver_init(&receiver, &fake, 4) < 0)
        return -1;
    receiver.allowed = DATA_FRAMES;
    receiver.window = (struct tcp_window){memory, MEMORY_BYTES, 42};
    return 0;
}

static int stop(void **state)
{
    (void)state;
    tcp_receiver_destroy(&receiver);
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        if (guarded[i] != 0xEE || guarded[GUARD_BYTES + MEMORY_BYTES + i] != 0xEE)
            return -1;
    }
    return 0;
}

static void add_bytes(const void *bytes, size_t len)
{
    assert_true(kernel.len + len <= STREAM_BYTES);
    memcpy(kernel.bytes + kernel.len, bytes, len);
    kernel.len += len;
}

static void add_frame(const struct tcp_frame *frame, const void *payload)
{
    uint8_t header[TCP_FRAME_BYTES];

    tcp_frame_pack(frame, header);
    add_bytes(header, sizeof(header));
    add_bytes(payload, frame->len_bytes);
}

static void add_flagged(uint32_t offset, uint32_t len, uint32_t immediate, uint16_t flags)
{
    static uint8_t payload[MEMORY_BYTES];
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE,
                              .flags = flags,
                              .key = 42,
                              .offset = offset,
                              .immediate = immediate,
                              .len_bytes = len};

    for (uint32_t i = 0; i < len; i++)
        payload[i] = (uint8_t)(i * 7 + immediate);
    add_frame(&frame, payload);
    memcpy(model + offset, payload, len);
}

static void add_write(uint32_t offset, uint32_t len, uint32_t immediate)
{
    add_flagged(offset, len, immediate, 0);
}

static void add_send(const char *text)
{
    struct tcp_frame frame = {.type = TCP_FRAME_SEND, .len_bytes = (uint32_t)strlen(text)};

    add_frame(&frame, text);
}

static int run(void)
{
    struct embar_diag why = {0};
    int budget = 100000;

    return tcp_receiver_run(&receiver, UINT64_MAX, &budget, &sink, &why);
}

static void assert_memory(void)
{
    assert_memory_equal(memory, model, MEMORY_BYTES);
}

static void test_write_lands_in_its_place_and_arrives_once(void **state)
{
    (void)state;
    add_write(1000, 50000, 7);
    assert_int_equal(run(), 0);
    assert_int_equal(seen.arrivals, 1);
    assert_int_equal(seen.last_immediate, 7);
    assert_int_equal(seen.last_len, 50000);
    assert_memory();
}

static void test_arrival_is_not_reported_before_the_last_byte(void **state)
{
    (void)state;
    add_write(0, 50000, 1);
    kernel.len--;
    assert_int_equal(run(), 0);
    assert_int_equal(seen.arrivals, 0);
    kernel.len++;
    assert_int_equal(run(), 0);
    assert_int_equal(seen.arrivals, 1);
}

static void test_stream_cut_anywhere_gives_the_same(void **state)
{
    (void)state;
    srand(11);
    for (unsigned round = 0; round < 40; round++) {
        kernel.len = kernel.pos = 0;
        seen.arrivals = seen.messages = 0;
        kernel.piece_max = (size_t[]){1, 31, 33, 500, 5000, 20000, 0}[round % 7];
        kernel.gaps = round >= 20;
        for (unsigned i = 0; i < 8; i++) {
            uint32_t len = round % 2 ? 1 + (uint32_t)rand() % 100 : 1 + (uint32_t)rand() % 20000;

            add_write((uint32_t)rand() % (MEMORY_BYTES - len), len, i);
            add_send("a credit");
        }
        while (kernel.pos < kernel.len)
            assert_int_equal(run(), 0);
        assert_int_equal(run(), 0);
        assert_int_equal(seen.arrivals, 8);
        assert_int_equal(seen.messages, 8);
        assert_string_equal(seen.last_message, "a credit");
        assert_memory();
    }
}

static void test_many_small_frames_come_out_of_one_call(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        add_send("credit");
    assert_int_equal(run(), 0);
    assert_int_equal(seen.messages, 100);
    assert_int_equal(kernel.calls, 1);
}

static void test_large_writes_in_a_row_take_one_call_each_and_no_copy(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        add_write(i * 200000, 200000, i);
    assert_int_equal(run(), 0);
    assert_int_equal(seen.arrivals, 4);
    assert_memory();
    /* The first header, then each payload with the next header. */
    assert_in_range(kernel.calls, 4, 6);
    assert_int_equal(kernel.asked_first, 200000); /* the last one went straight to its place */
}

static void test_message_of_the_largest_size_is_taken(void **state)
{
    char text[TCP_MAX_SEND_BYTES + 1];

    (void)state;
    memset(text, 'x', TCP_MAX_SEND_BYTES);
    text[TCP_MAX_SEND_BYTES] = '\0';
    for (unsigned i = 0; i < 20; i++)
        add_send(text);
    kernel.piece_max = 3000;
    while (kernel.pos < kernel.len)
        assert_int_equal(run(), 0);
    assert_int_equal(run(), 0);
    assert_int_equal(seen.messages, 20);
    assert_string_equal(seen.last_message, text);
}

static void refuse(const struct tcp_frame *frame, int status)
{
    static const uint8_t payload[8192] = {1};
    struct embar_diag why = {0};
    int budget = 100;

    add_frame(frame, payload);
    assert_int_equal(tcp_receiver_run(&receiver, UINT64_MAX, &budget, &sink, &why), status);
    assert_true(why.text[0] != '\0');
    assert_int_equal(seen.arrivals + seen.messages, 0);
    assert_memory(); /* not a byte has landed */
}

static void test_write_with_a_wrong_key_lands_nowhere(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .key = 43, .len_bytes = 8192};

    (void)state;
    refuse(&frame, -EACCES);
}

static void test_write_beyond_the_window_lands_nowhere(void **state)
{
    struct tcp_frame frame = {
        .type = TCP_FRAME_WRITE, .key = 42, .offset = MEMORY_BYTES - 8191, .len_bytes = 8192};

    (void)state;
    refuse(&frame, -EACCES);
}

static void test_frame_that_the_state_forbids_is_refused(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_ACCEPT};

    (void)state;
    refuse(&frame, -EPROTO);
}

static void test_bytes_that_are_no_frame_are_refused(void **state)
{
    struct embar_diag why = {0};
    int budget = 100;

    (void)state;
    add_bytes("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35);
    assert_int_equal(tcp_receiver_run(&receiver, UINT64_MAX, &budget, &sink, &why), -EPROTO);
    assert_int_equal(why.error, EPROTO);
}

static void test_closed_window_stops_a_write_that_is_arriving(void **state)
{
    struct embar_diag why = {0};
    uint8_t before[MEMORY_BYTES];
    int budget = 100;

    (void)state;
    add_write(0, 60000, 1);
    kernel.len -= 20000;
    assert_int_equal(run(), 0);
    memcpy(before, memory, MEMORY_BYTES);
    tcp_receiver_close_window(&receiver);
    kernel.len += 20000;
    assert_int_equal(tcp_receiver_run(&receiver, UINT64_MAX, &budget, &sink, &why), -EACCES);
    assert_memory_equal(memory, before, MEMORY_BYTES);
    assert_int_equal(seen.arrivals, 0);
}

static void test_closed_window_between_writes_refuses_the_next(void **state)
{
    (void)state;
    add_write(0, 60000, 1);
    assert_int_equal(run(), 0);
    tcp_receiver_close_window(&receiver);
    add_write(0, 60000, 2);
    assert_int_equal(run(), -EACCES);
    assert_int_equal(seen.arrivals, 1);
}

static void test_end_of_the_stream_comes_after_all_that_was_sent(void **state)
{
    (void)state;
    add_send("last words");
    kernel.closed = true;
    run();
    assert_int_equal(seen.messages, 1);
    assert_int_equal(run(), -EPIPE);
}

static void test_error_of_the_connection_is_passed_on(void **state)
{
    (void)state;
    kernel.error = ETIMEDOUT;
    assert_int_equal(run(), -ETIMEDOUT);
}

static void test_budget_stops_between_frames_and_more_says_so(void **state)
{
    struct embar_diag why = {0};
    int budget = 3;

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        add_send("credit");
    assert_int_equal(tcp_receiver_run(&receiver, UINT64_MAX, &budget, &sink, &why), 0);
    assert_int_equal(seen.messages, 3);
    assert_true(receiver.more); /* although the socket is empty: epoll will not tell */
    assert_int_equal(run(), 0);
    assert_int_equal(seen.messages, 10);
    assert_false(receiver.more);
}

static void test_turn_stops_after_its_bytes_and_more_says_so(void **state)
{
    struct embar_diag why = {0};
    int budget = 100;

    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        add_write(0, 100000, i);
    assert_int_equal(tcp_receiver_run(&receiver, 150000, &budget, &sink, &why), 0);
    assert_in_range(seen.arrivals, 1, 2);
    assert_true(receiver.more);
    assert_int_equal(run(), 0);
    assert_int_equal(seen.arrivals, 4);
}

static void test_nothing_is_handled_after_the_frame_that_ends_the_link(void **state)
{
    struct tcp_frame bye = {.type = TCP_FRAME_BYE};

    (void)state;
    seen.stop = true;
    add_frame(&bye, "");
    add_send("too late");
    assert_int_equal(run(), 0);
    assert_int_equal(seen.controls, 1);
    assert_int_equal(seen.last_type, TCP_FRAME_BYE);
    assert_int_equal(seen.messages, 0);
}

static void test_discarding_reads_all_and_reports_nothing(void **state)
{
    (void)state;
    add_write(0, 60000, 1);
    kernel.len -= 30000;
    assert_int_equal(run(), 0);
    kernel.len += 30000;
    add_send("unheard");
    add_bytes("and this is no frame at all, but nobody looks at it", 50);
    receiver.discard = true;
    tcp_receiver_close_window(&receiver);
    while (kernel.pos < kernel.len)
        assert_int_equal(run(), 0);
    kernel.closed = true;
    assert_int_equal(run(), -EPIPE);
    assert_int_equal(seen.arrivals + seen.messages, 0);
}

static void test_spliced_write_is_reported_as_such_while_the_connection_lives(void **state)
{
    (void)state;
    add_flagged(0, 100, 1, TCP_FLAG_SPLICED); /* comes as a whole with its header */
    add_flagged(200, 60000, 2, TCP_FLAG_SPLICED);
    add_write(70000, 60000, 3);
    assert_int_equal(run(), 0);
    assert_int_equal(seen.arrivals, 3);
    assert_int_equal(seen.spliced, 2);
    assert_int_equal(kernel.over_asked, 2);
    assert_memory();
}

static void test_spliced_write_read_after_a_reset_is_not_reported(void **state)
{
    (void)state;
    for (uint32_t len = 100; len <= 100000; len *= 10) {
        kernel.len = kernel.pos = 0;
        kernel.over = false;
        seen.arrivals = 0;
        receiver.ahead_first = receiver.ahead_end = receiver.left = 0;
        add_write(0, 1000, 1); /* was copied: nobody can rewrite it */
        add_flagged(0, len, 1, TCP_FLAG_SPLICED);
        kernel.len -= len / 2;
        assert_int_equal(run(), 0);
        kernel.len += len / 2;
        kernel.over = true;
        kernel.error = ECONNRESET;
        assert_int_equal(run(), -ECONNRESET);
        assert_int_equal(seen.arrivals, 1);
    }
}

static void test_error_that_ended_the_connection_is_passed_on_for_a_spliced_write(void **state)
{
    (void)state;
    add_flagged(0, 60000, 1, TCP_FLAG_SPLICED);
    kernel.over = true;
    kernel.error = ETIMEDOUT;
    assert_int_equal(run(), -ETIMEDOUT);
    assert_int_equal(seen.arrivals, 0);
}

static void test_placed_frame_is_handed_to_the_link(void **state)
{
    const struct tcp_frame placed = {.type = TCP_FRAME_PLACED, .offset = 3};

    (void)state;
    receiver.allowed |= TCP_FRAME_BIT(TCP_FRAME_PLACED);
    add_frame(&placed, "");
    add_send("behind it");
    assert_int_equal(run(), 0);
    assert_int_equal(seen.controls, 1);
    assert_int_equal(seen.last_type, TCP_FRAME_PLACED);
    assert_int_equal(seen.messages, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_write_lands_in_its_place_and_arrives_once),
        TEST(test_arrival_is_not_reported_before_the_last_byte),
        TEST(test_stream_cut_anywhere_gives_the_same),
        TEST(test_many_small_frames_come_out_of_one_call),
        TEST(test_large_writes_in_a_row_take_one_call_each_and_no_copy),
        TEST(test_message_of_the_largest_size_is_taken),
        TEST(test_write_with_a_wrong_key_lands_nowhere),
        TEST(test_write_beyond_the_window_lands_nowhere),
        TEST(test_frame_that_the_state_forbids_is_refused),
        TEST(test_bytes_that_are_no_frame_are_refused),
        TEST(test_closed_window_stops_a_write_that_is_arriving),
        TEST(test_closed_window_between_writes_refuses_the_next),
        TEST(test_end_of_the_stream_comes_after_all_that_was_sent),
        TEST(test_error_of_the_connection_is_passed_on),
        TEST(test_budget_stops_between_frames_and_more_says_so),
        TEST(test_turn_stops_after_its_bytes_and_more_says_so),
        TEST(test_nothing_is_handled_after_the_frame_that_ends_the_link),
        TEST(test_discarding_reads_all_and_reports_nothing),
        TEST(test_spliced_write_is_reported_as_such_while_the_connection_lives),
        TEST(test_spliced_write_read_after_a_reset_is_not_reported),
        TEST(test_error_that_ended_the_connection_is_passed_on_for_a_spliced_write),
        TEST(test_placed_frame_is_handed_to_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
