/*
 * A sender whose kernel is scripted: short sends, full sockets, ENOBUFS, completions of any kind,
 * pipes that take little and hand on less.
 * What the tests of the sending half of a TCP lane share.
 */
#ifndef TCP_SCRIPTED_KERNEL_H
#define TCP_SCRIPTED_KERNEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/errqueue.h>

#include "tcp/send.h"

#define LIMIT      1000u
#define BIG        5000u
#define ANSWERS    64
#define WIRE_BYTES (4u << 20)

/* ---- the scripted kernel -------------------------------------------------------------------- */

struct completion {
    uint32_t lo, hi;
    bool copied, v6;
};

static struct {
    ssize_t answers[ANSWERS]; /* of the next sendmsg calls: at most so many bytes, or an error */
    unsigned answer_count, answer_next;
    ssize_t room;    /* what a call takes at most when no answer is left; 0: all */
    int flags[1024]; /* of each call */
    unsigned calls;
    struct completion queue[64];
    unsigned queued, taken;
    uint16_t control_flags; /* of recvmsg, for a truncated message */
    int error;              /* SO_ERROR */
    bool over;              /* the connection */
    int pipe_size;          /* what a pipe holds, or why there is none */
    unsigned pipes_open, pipes_opened;
    const uint8_t *in_pipe; /* refers to the pages, as the kernel does */
    size_t in_pipe_bytes;
    ssize_t fills[ANSWERS], drains[ANSWERS]; /* as answers, of vmsplice and splice */
    unsigned fill_count, fill_next, drain_count, drain_next;
    bool drain_more[1024]; /* of each splice */
    unsigned drain_calls;
    unsigned error_asked;
    uint8_t wire[WIRE_BYTES];
    size_t wire_bytes;
} kernel;

static inline ssize_t fake_sendmsg(void *user, int fd, const struct msghdr *msg, int flags)
{
    ssize_t room = kernel.room > 0 ? kernel.room : SSIZE_MAX, taken = 0;

    (void)user;
    assert_int_equal(fd, 3);
    kernel.flags[kernel.calls++ % 1024] = flags;
    if (kernel.answer_next < kernel.answer_count)
        room = kernel.answers[kernel.answer_next++];
    if (room < 0)
        return room;
    for (size_t i = 0; i < msg->msg_iovlen && taken < room; i++) {
        size_t len = msg->msg_iov[i].iov_len;

        assert_true(len > 0);
        if (len > (size_t)(room - taken))
            len = (size_t)(room - taken);
        assert_true(kernel.wire_bytes + len <= WIRE_BYTES);
        memcpy(kernel.wire + kernel.wire_bytes, msg->msg_iov[i].iov_base, len);
        kernel.wire_bytes += len;
        taken += (ssize_t)len;
    }
    return taken;
}

static inline ssize_t fake_recvmsg(void *user, int fd, struct msghdr *msg, int flags)
{
    const struct completion *c = &kernel.queue[kernel.taken];
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
    struct sock_extended_err error = {.ee_origin = SO_EE_ORIGIN_ZEROCOPY};

    (void)user;
    (void)fd;
    assert_true(flags & MSG_ERRQUEUE);
    if (kernel.taken == kernel.queued)
        return -EAGAIN;
    kernel.taken++;
    cmsg->cmsg_level = c->v6 ? SOL_IPV6 : SOL_IP;
    cmsg->cmsg_type = c->v6 ? IPV6_RECVERR : IP_RECVERR;
    cmsg->cmsg_len = CMSG_LEN(sizeof(error));
    error.ee_info = c->lo;
    error.ee_data = c->hi;
    error.ee_code = c->copied ? SO_EE_CODE_ZEROCOPY_COPIED : 0;
    memcpy(CMSG_DATA(cmsg), &error, sizeof(error));
    msg->msg_controllen = CMSG_SPACE(sizeof(error));
    msg->msg_flags = kernel.control_flags;
    return 0;
}

static inline int fake_so_error(void *user, int fd)
{
    int error = kernel.error;

    (void)user;
    (void)fd;
    kernel.error_asked++;
    kernel.error = 0;
    return error;
}

static inline ssize_t fake_vmsplice(void *user, int pipe_fd, const void *data, size_t len)
{
    ssize_t room = kernel.pipe_size;

    (void)user;
    assert_int_equal(pipe_fd, 11);
    assert_int_equal(kernel.in_pipe_bytes, 0);
    assert_true(len > 0);
    if (kernel.fill_next < kernel.fill_count)
        room = kernel.fills[kernel.fill_next++];
    if (room < 0)
        return room;
    kernel.in_pipe = data;
    kernel.in_pipe_bytes = len < (size_t)room ? len : (size_t)room;
    return (ssize_t)kernel.in_pipe_bytes;
}

static inline ssize_t fake_splice(void *user, int pipe_fd, int fd, size_t len, bool more)
{
    ssize_t room = kernel.room > 0 ? kernel.room : SSIZE_MAX;

    (void)user;
    assert_int_equal(pipe_fd, 10);
    assert_int_equal(fd, 3);
    assert_int_equal(len, kernel.in_pipe_bytes); /* the rest of the pipe, neither more nor less */
    kernel.drain_more[kernel.drain_calls++ % 1024] = more;
    if (kernel.drain_next < kernel.drain_count)
        room = kernel.drains[kernel.drain_next++];
    if (room < 0)
        return room;
    if (len > (size_t)room)
        len = (size_t)room;
    assert_true(kernel.wire_bytes + len <= WIRE_BYTES);
    memcpy(kernel.wire + kernel.wire_bytes, kernel.in_pipe, len);
    kernel.wire_bytes += len;
    kernel.in_pipe += len;
    kernel.in_pipe_bytes -= len;
    return (ssize_t)len;
}

static inline int fake_pipe_open(void *user, int fds[2], uint32_t want_bytes)
{
    (void)user;
    if (kernel.pipe_size < 0)
        return kernel.pipe_size;
    assert_int_equal(want_bytes, TCP_PIPE_BYTES);
    fds[0] = 10;
    fds[1] = 11;
    kernel.pipes_open++;
    kernel.pipes_opened++;
    return kernel.pipe_size;
}

static inline void fake_pipe_close(void *user, const int fds[2])
{
    (void)user;
    assert_true(fds[0] == 10 && fds[1] == 11);
    kernel.pipes_open--;
    kernel.in_pipe_bytes = 0;
}

static inline bool fake_is_over(void *user, int fd, uint32_t silence_ms)
{
    (void)user;
    (void)silence_ms;
    assert_int_equal(fd, 3);
    return kernel.over;
}

static const struct tcp_sys fake = {
    .sendmsg = fake_sendmsg,
    .recvmsg = fake_recvmsg,
    .so_error = fake_so_error,
    .vmsplice = fake_vmsplice,
    .splice = fake_splice,
    .pipe_open = fake_pipe_open,
    .pipe_close = fake_pipe_close,
    .is_over = fake_is_over,
};

static inline void answer(ssize_t what)
{
    assert_true(kernel.answer_count < ANSWERS);
    kernel.answers[kernel.answer_count++] = what;
}

static inline void report(uint32_t lo, uint32_t hi, bool copied)
{
    kernel.queue[kernel.queued++] = (struct completion){lo, hi, copied, false};
}

/* ---- the sender under test ------------------------------------------------------------------ */

static struct tcp_sender sender;
static uint8_t source[1u << 20];
static uint8_t expected[WIRE_BYTES]; /* what the wire must carry */
static size_t expected_bytes;

static struct {
    uint64_t token[2048];
    int status[2048];
    unsigned count;
} over;

static inline void note_over(void *user, uint64_t token, size_t len_bytes, int status)
{
    (void)user;
    assert_true(len_bytes > 0);
    over.token[over.count] = token;
    over.status[over.count++] = status;
}

static inline int start(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    kernel.pipe_size = TCP_PIPE_BYTES;
    over.count = 0;
    expected_bytes = 0;
    for (size_t i = 0; i < sizeof(source); i++)
        source[i] = (uint8_t)(i * 131 >> 3);
    return tcp_sender_init(&sender, &fake, 3, TCP_SEND_ZEROCOPY, LIMIT);
}

static inline int stop(void **state)
{
    (void)state;
    tcp_sender_destroy(&sender);
    return kernel.pipes_open == 0 ? 0 : -1;
}

static inline int start_copying(void **state)
{
    (void)state;
    if (start(state) < 0)
        return -1;
    tcp_send_mode_init(&sender.mode, TCP_SEND_COPY, LIMIT);
    return 0;
}

static inline int start_splicing(void **state)
{
    if (start(state) < 0)
        return -1;
    tcp_send_mode_init(&sender.mode, TCP_SEND_SPLICE, LIMIT);
    return 0;
}

static inline void expect(const struct tcp_frame *frame, const void *payload)
{
    tcp_frame_pack(frame, expected + expected_bytes);
    memcpy(expected + expected_bytes + TCP_FRAME_BYTES, payload, frame->len_bytes);
    expected_bytes += TCP_FRAME_BYTES + frame->len_bytes;
}

static inline int post_write(uint64_t token, uint32_t len)
{
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .key = 9, .offset = token, .len_bytes = len};
    int rc = tcp_sender_write(&sender, &frame, source + token % 1000, token);

    if (sender.mode.way == TCP_WAY_SPLICE && len >= LIMIT)
        frame.flags = TCP_FLAG_SPLICED;
    if (rc == 0)
        expect(&frame, source + token % 1000);
    return rc;
}

static inline int post_send(const char *text)
{
    struct tcp_frame frame = {.type = TCP_FRAME_SEND, .len_bytes = (uint32_t)strlen(text)};
    int rc = tcp_sender_send(&sender, text, frame.len_bytes);

    if (rc == 0)
        expect(&frame, text);
    return rc;
}

static inline void run(void)
{
    assert_true(tcp_sender_run(&sender, UINT64_MAX, 0) >= 0);
    tcp_sender_reap(&sender, note_over, NULL);
}

static inline void run_as_writable(void)
{
    sender.blocked = false;
    run();
}

static inline int take_completions(void)
{
    int rc = tcp_sender_take_completions(&sender, 0);

    tcp_sender_reap(&sender, note_over, NULL);
    return rc;
}

static inline void assert_wire(void)
{
    assert_int_equal(kernel.wire_bytes, expected_bytes);
    assert_memory_equal(kernel.wire, expected, expected_bytes);
}

static inline bool was_zerocopy(unsigned call)
{
    return (kernel.flags[call] & MSG_ZEROCOPY) != 0;
}

#define TEST(name)          cmocka_unit_test_setup_teardown(name, start, stop)
#define SPLICING_TEST(name) cmocka_unit_test_setup_teardown(name, start_splicing, stop)
#define COPYING_TEST(name)  cmocka_unit_test_setup_teardown(name, start_copying, stop)

#endif
