/*
 * Any bytes as what a peer sends on a TCP lane. However the stream is cut, it must give the same
 * reports, the same verdict and the same memory; and nothing may land outside of the exposed
 * window. The first byte of the input says which frames the link's state allows, the rest is the
 * stream.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tcp/receive.h"

#define WINDOW_BYTES 8192u
#define GUARD_BYTES  512u
#define KEY          42u

struct result {
    uint8_t memory[GUARD_BYTES + WINDOW_BYTES + GUARD_BYTES];
    uint64_t digest; /* of all reports, in order */
    unsigned reports;
    int verdict;
    bool ended; /* by a BYE */
};

static struct {
    const uint8_t *bytes;
    size_t len, pos, piece;
    bool nothing_yet; /* by turns, while the stream comes in pieces */
} stream;

static void check(bool condition)
{
    if (!condition)
        abort();
}

static ssize_t give(void *user, int fd, struct msghdr *msg, int flags)
{
    size_t left = stream.len - stream.pos, taken = 0;

    (void)user;
    (void)fd;
    stream.nothing_yet = stream.piece != SIZE_MAX && !stream.nothing_yet;
    if (stream.nothing_yet)
        return -EAGAIN;
    if (left == 0)
        return 0;
    if (left > stream.piece)
        left = stream.piece;
    for (size_t i = 0; i < msg->msg_iovlen && left > 0; i++) {
        size_t len = msg->msg_iov[i].iov_len < left ? msg->msg_iov[i].iov_len : left;

        memcpy(msg->msg_iov[i].iov_base, stream.bytes + stream.pos, len);
        stream.pos += len;
        taken += len;
        left -= len;
    }
    if (flags & MSG_PEEK)
        stream.pos -= taken;
    return (ssize_t)taken;
}

static bool never_over(void *user, int fd, uint32_t silence_ms)
{
    (void)user;
    (void)fd;
    (void)silence_ms;
    return false;
}

static void mix(struct result *result, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++)
        result->digest = (result->digest ^ bytes[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    result->reports++;
}

static void on_arrival(void *user, uint32_t immediate, uint32_t len_bytes, bool spliced)
{
    uint32_t both[3] = {immediate, len_bytes, spliced};

    check(len_bytes > 0 && len_bytes <= WINDOW_BYTES);
    mix(user, both, sizeof(both));
}

static void on_message(void *user, const uint8_t *data, uint32_t len_bytes)
{
    check(len_bytes > 0 && len_bytes <= TCP_MAX_SEND_BYTES);
    mix(user, data, len_bytes);
}

static bool on_control(void *user, const struct tcp_frame *frame, const uint8_t *payload)
{
    struct result *result = user;

    check(!result->ended);
    check(frame->len_bytes <= TCP_MAX_REASON_BYTES);
    mix(result, payload, frame->len_bytes);
    result->ended = frame->type == TCP_FRAME_BYE;
    return !result->ended;
}

static void receive_all(struct tcp_receiver *receiver, struct result *result)
{
    const struct tcp_receive_sink sink = {on_arrival, on_message, on_control, result};
    struct embar_diag why = {0};

    do {
        int budget = 5;
        unsigned before = result->reports;

        result->verdict = tcp_receiver_run(receiver, 3000, &budget, &sink, &why);
        check(result->reports - before <= 5);
    } while (result->verdict == 0 && !result->ended);
    /* A peer that broke a rule gets a sentence, one that just closed does not. */
    check((result->verdict == 0 || result->verdict == -EPIPE) == (why.error == 0));
}

static void run(const uint8_t *data, size_t size, unsigned allowed, size_t piece,
                struct result *result)
{
    const struct tcp_sys sys = {.recvmsg = give, .is_over = never_over};
    struct tcp_receiver receiver;

    memset(result, 0, sizeof(*result));
    check(tcp_receiver_init(&receiver, &sys, 0) == 0);
    receiver.allowed = allowed;
    receiver.window = (struct tcp_window){result->memory + GUARD_BYTES, WINDOW_BYTES, KEY};
    stream.bytes = data;
    stream.len = size;
    stream.pos = 0;
    stream.piece = piece;
    stream.nothing_yet = false;
    receive_all(&receiver, result);
    tcp_receiver_destroy(&receiver);
    for (size_t i = 0; i < GUARD_BYTES; i++)
        check(result->memory[i] == 0 && result->memory[GUARD_BYTES + WINDOW_BYTES + i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 31, 33, 1000};
    static struct result whole, cut;

    if (size == 0)
        return 0;
    run(data + 1, size - 1, data[0], pieces[0], &whole);
    for (unsigned i = 1; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        run(data + 1, size - 1, data[0], pieces[i], &cut);
        check(memcmp(&whole, &cut, sizeof(whole)) == 0);
    }
    return 0;
}
