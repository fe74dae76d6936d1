/*
 * The receiving state machine of a lane. Owns the read-ahead buffer; every byte that is not payload
 * of a write passes through it, and of a write only what came with an earlier frame in one call.
 *
 * A read that empties a socket sends an acknowledgement before it returns. Who answers what it read
 * would wait for that, so a small write that comes into a socket that was empty is read with
 * MSG_PEEK and taken out by the next call, which looks for more at the same time
 * (docs/decisions/026-acknowledged-later.md).
 */
#include "receive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"

/* After a write at least this long another one is expected, and only its header is read ahead. */
#define LARGE_WRITE_BYTES 16384u
/* Payload asked for in one call, so that one link cannot keep the others waiting. */
#define DIRECT_MAX_BYTES (8u << 20)

/* Read with MSG_PEEK in one call. The kernel acknowledges what is larger as it arrives, on the
 * sender's core: two such are more than 536 bytes, its smallest guess of a segment. */
#define PEEK_MAX_BYTES 256u

_Static_assert(TCP_AHEAD_BYTES >= TCP_FRAME_BYTES + TCP_MAX_SEND_BYTES, "a SEND fits as a whole");

int tcp_receiver_init(struct tcp_receiver *receiver, const struct tcp_sys *sys, int fd)
{
    *receiver = (struct tcp_receiver){.sys = sys, .fd = fd};
    receiver->ahead = malloc(TCP_AHEAD_BYTES + PEEK_MAX_BYTES);
    return receiver->ahead != NULL ? 0 : -ENOMEM;
}

void tcp_receiver_destroy(struct tcp_receiver *receiver)
{
    free(receiver->ahead);
    receiver->ahead = NULL;
}

void tcp_receiver_close_window(struct tcp_receiver *receiver)
{
    receiver->window = (struct tcp_window){0};
    receiver->revoked = receiver->left > 0;
    receiver->place = NULL;
}

static uint32_t ahead_bytes(const struct tcp_receiver *receiver)
{
    return receiver->ahead_end - receiver->ahead_first;
}

/* Whether what comes now may stay in the socket until the next call. Where no small writes come, as
 * at a publisher, it may not: a process that dies with unread bytes resets its connection, and what
 * it had sent is lost with it. */
static bool may_peek(const struct tcp_receiver *receiver)
{
    return receiver->found_empty && receiver->after_small && receiver->peeked == 0 &&
           receiver->left == 0 && !receiver->discard;
}

/* Where the bytes of a call go: those that were peeked before, again and to nobody; then `direct`
 * to their place; then `room` into the read-ahead. Returns how many it asks for. */
static uint32_t ask(struct tcp_receiver *receiver, uint32_t direct, uint32_t room,
                    struct msghdr *msg)
{
    struct iovec *iov = msg->msg_iov;

    if (receiver->peeked > 0)
        iov[msg->msg_iovlen++] = (struct iovec){.iov_base = receiver->ahead + TCP_AHEAD_BYTES,
                                                .iov_len = receiver->peeked};
    if (direct > 0)
        iov[msg->msg_iovlen++] = (struct iovec){.iov_base = receiver->place, .iov_len = direct};
    if (room > 0)
        iov[msg->msg_iovlen++] =
            (struct iovec){.iov_base = receiver->ahead + receiver->ahead_end, .iov_len = room};
    return receiver->peeked + direct + room;
}

/* Of `n` bytes that were read, how many are new. */
static uint32_t count_fresh(struct tcp_receiver *receiver, uint32_t n, bool peek)
{
    uint32_t old = n < receiver->peeked ? n : receiver->peeked, fresh = n - old;

    receiver->peeked = peek ? fresh : receiver->peeked - old;
    receiver->found_empty = fresh == 0 && !receiver->more;
    return fresh;
}

/* Receives into `place` (`left` may be 0) and then into `room` bytes of the read-ahead. */
static int receive(struct tcp_receiver *receiver, uint32_t room)
{
    struct iovec iov[3];
    struct msghdr msg = {.msg_iov = iov};
    uint32_t direct = receiver->left < DIRECT_MAX_BYTES ? receiver->left : DIRECT_MAX_BYTES;
    bool peek = may_peek(receiver);
    uint32_t asked, fresh, placed;
    ssize_t n;

    if (direct < receiver->left)
        room = 0;
    else if (peek && room > PEEK_MAX_BYTES)
        room = PEEK_MAX_BYTES;
    asked = ask(receiver, direct, room, &msg);
    receiver->receive_calls++;
    n = receiver->sys->recvmsg(receiver->sys->user, receiver->fd, &msg,
                               MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
    if (n <= 0) {
        receiver->more = false;
        receiver->found_empty = true;
        if (n != -EAGAIN)
            receiver->peeked = 0; /* nothing can be taken out any more */
        return n == -EAGAIN ? 0 : n == 0 ? -EPIPE : (int)n;
    }
    /* A short receive means an empty socket; the next one waits for epoll or the next round. */
    receiver->more = (uint32_t)n == asked;
    fresh = count_fresh(receiver, (uint32_t)n, peek);
    placed = fresh < direct ? fresh : direct;
    if (placed > 0)
        receiver->place += placed;
    receiver->left -= placed;
    receiver->ahead_end += fresh - placed;
    receiver->received_bytes += fresh;
    return 0;
}

/* Makes room behind what is read ahead and says how much to read. */
static uint32_t room_ahead(struct tcp_receiver *receiver)
{
    uint32_t have = ahead_bytes(receiver);

    if (have == 0) {
        receiver->ahead_first = 0;
        receiver->ahead_end = 0;
    } else if (receiver->ahead_first > 0) {
        memmove(receiver->ahead, receiver->ahead + receiver->ahead_first, have);
        receiver->ahead_first = 0;
        receiver->ahead_end = have;
    }
    if (receiver->after_write && have < TCP_FRAME_BYTES)
        return TCP_FRAME_BYTES - have;
    return TCP_AHEAD_BYTES - have;
}

/*
 * All bytes of a write are in place. Those of a spliced one may have been read out of its sender's
 * pages only now. The sender keeps these as they are until it is told, or until it has reset the
 * connection, or for longer than a silence lasts that it takes for a failure; so what is read
 * before that is what was sent, and what is read after it is dropped here
 * (docs/decisions/014-when-a-spliced-source-is-free.md).
 */
static int arrived(struct tcp_receiver *receiver, int *budget, const struct tcp_receive_sink *sink)
{
    const struct tcp_sys *sys = receiver->sys;
    bool spliced = (receiver->write.flags & TCP_FLAG_SPLICED) != 0;

    receiver->after_write = receiver->write.len_bytes >= LARGE_WRITE_BYTES;
    receiver->after_small = receiver->write.len_bytes < PEEK_MAX_BYTES;
    if (spliced && sys->is_over(sys->user, receiver->fd, receiver->silence_ms)) {
        int error = sys->so_error(sys->user, receiver->fd);

        return error != 0 ? -error : -ECONNRESET;
    }
    --*budget;
    sink->arrival(sink->user, receiver->write.immediate, receiver->write.len_bytes, spliced);
    return 0;
}

/* Begins a checked write; what was read ahead of it moves to its place. */
static void begin_write(struct tcp_receiver *receiver, const struct tcp_frame *frame)
{
    uint32_t have = ahead_bytes(receiver);

    if (have > frame->len_bytes)
        have = frame->len_bytes;
    receiver->write = *frame;
    receiver->place = receiver->window.addr + frame->offset;
    memcpy(receiver->place, receiver->ahead + receiver->ahead_first, have);
    receiver->place += have;
    receiver->left = frame->len_bytes - have;
    receiver->ahead_first += have;
}

/* Such a frame may close the socket, and to close it with unread bytes would reset the connection.
 */
static bool ends_link(const struct tcp_frame *frame)
{
    return frame->type == TCP_FRAME_BYE || frame->type == TCP_FRAME_REJECT;
}

static int take_peeked(struct tcp_receiver *receiver)
{
    return receiver->peeked > 0 ? receive(receiver, 0) : 0;
}

/* Handles one frame of the read-ahead. 1: done; 0: it is not complete; negative: a rule is broken;
 * `go_on` false: receive no more. */
static int take_frame(struct tcp_receiver *receiver, int *budget,
                      const struct tcp_receive_sink *sink, bool *go_on, struct embar_diag *diag)
{
    const uint8_t *bytes = receiver->ahead + receiver->ahead_first;
    struct tcp_frame frame;
    int rc;

    if (ahead_bytes(receiver) < TCP_FRAME_BYTES)
        return 0;
    rc = tcp_frame_unpack(bytes, &frame, diag);
    if (rc == 0)
        rc = tcp_frame_check(&frame, receiver->allowed, &receiver->window, diag);
    if (rc < 0)
        return rc;
    if (frame.type == TCP_FRAME_WRITE) {
        receiver->ahead_first += TCP_FRAME_BYTES;
        begin_write(receiver, &frame);
        if (receiver->left == 0)
            rc = arrived(receiver, budget, sink);
        return rc < 0 ? rc : 1;
    }
    if (ahead_bytes(receiver) < TCP_FRAME_BYTES + frame.len_bytes)
        return 0;
    rc = ends_link(&frame) ? take_peeked(receiver) : 0;
    if (rc < 0)
        return rc;
    receiver->ahead_first += TCP_FRAME_BYTES + frame.len_bytes;
    receiver->after_write = receiver->after_small = false;
    --*budget;
    if (frame.type == TCP_FRAME_SEND)
        sink->message(sink->user, bytes + TCP_FRAME_BYTES, frame.len_bytes);
    else
        *go_on = sink->control(sink->user, &frame, bytes + TCP_FRAME_BYTES);
    return 1;
}

static int discard(struct tcp_receiver *receiver)
{
    receiver->left = 0;
    receiver->ahead_first = 0;
    receiver->ahead_end = 0;
    return receive(receiver, TCP_AHEAD_BYTES);
}

/* The next bytes of a write that is arriving, and the beginning of what follows it. */
static int receive_write(struct tcp_receiver *receiver, int *budget,
                         const struct tcp_receive_sink *sink, struct embar_diag *diag)
{
    bool large = receiver->write.len_bytes >= LARGE_WRITE_BYTES;
    int rc;

    if (receiver->revoked)
        return diag_fail(diag, EACCES, "the exposed buffer was taken back while a write arrived");
    receiver->after_write = large;
    rc = receive(receiver, room_ahead(receiver));
    if (rc == 0 && receiver->left == 0)
        rc = arrived(receiver, budget, sink);
    return rc;
}

/* One call's worth of bytes, or one frame. 1: go on; 0: the socket is empty or the sink has had
 * enough; negative: the connection or the peer is done with. */
static int step(struct tcp_receiver *receiver, int *budget, const struct tcp_receive_sink *sink,
                struct embar_diag *diag)
{
    bool go_on = true;
    int rc;

    if (receiver->left == 0 && !receiver->discard) {
        rc = take_frame(receiver, budget, sink, &go_on, diag);
        if (rc != 0)
            return rc < 0 ? rc : go_on;
    }
    if (!receiver->more)
        return 0;
    if (receiver->pause_bytes > 0 && receiver->left >= receiver->pause_bytes)
        return 0;
    if (receiver->discard)
        rc = discard(receiver);
    else if (receiver->left > 0)
        rc = receive_write(receiver, budget, sink, diag);
    else
        rc = receive(receiver, room_ahead(receiver));
    return rc < 0 ? rc : 1;
}

int tcp_receiver_run(struct tcp_receiver *receiver, uint64_t max_bytes, int *budget,
                     const struct tcp_receive_sink *sink, struct embar_diag *diag)
{
    uint64_t before = receiver->received_bytes;
    int rc = 1;

    receiver->more = true;
    while (rc == 1 && *budget > 0 && receiver->received_bytes - before < max_bytes)
        rc = step(receiver, budget, sink, diag);
    /* Stopped by a limit: a whole frame may lie in the read-ahead, of which no epoll knows. */
    if ((rc == 1 && ahead_bytes(receiver) > 0) || receiver->peeked > 0)
        receiver->more = true;
    return rc < 0 ? rc : 0;
}
