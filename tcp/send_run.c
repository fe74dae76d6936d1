/*
 * Handing frames to the kernel and taking its zero-copy completions. Small frames are gathered into
 * one call, and with them what the peer is to be told of its own writes; a large payload goes with
 * its header, in a call of its own when it is sent from the pages, or follows its header through
 * the pipe. MSG_ZEROCOPY and its error queue live here only. Handing over runs on the transport's
 * thread or the lane's, the rest on the transport's.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h> /* linux/errqueue.h wants struct timespec */

#include <linux/errqueue.h>

#include "send.h"

#define GATHER_IOVECS 64

/* What one system call is to take: the rest of a PLACED frame, and pieces of the frames from
 * `current` on. */
struct gather {
    struct iovec iov[GATHER_IOVECS];
    size_t count;
    uint64_t bytes;
    int flags; /* of sendmsg(2) */
};

static uint64_t rest_of(const struct tcp_op *op)
{
    return (uint64_t)TCP_FRAME_BYTES + op->payload_bytes - op->handed_bytes;
}

static struct tcp_op *current_op(struct tcp_sender *sender)
{
    return sender->current != tcp_sender_end(sender) ? &sender->ops[sender->current % TCP_OPS]
                                                     : NULL;
}

static void choose(struct tcp_sender *sender, struct tcp_op *op, uint64_t now_ns)
{
    enum tcp_send_way way = TCP_WAY_COPY;
    int rc;

    if (op->way != TCP_WAY_UNDECIDED)
        return;
    if (op->is_write)
        way = tcp_send_mode_choose(&sender->mode, op->payload_bytes, now_ns);
    if (way == TCP_WAY_SPLICE) {
        rc = tcp_splice_open(&sender->splice, sender->sys);
        if (rc < 0) {
            tcp_send_mode_splice_failed(&sender->mode, -rc, now_ns);
            way = TCP_WAY_COPY;
        }
    }
    op->way = (uint8_t)way;
    if (way == TCP_WAY_SPLICE) {
        tcp_frame_set_flags(op->header, TCP_FLAG_SPLICED);
        op->hold = TCP_HOLD_SPLICED;
        op->mark = (uint32_t)++sender->splices_begun;
    }
}

/* The way of the next piece of the op. In zerocopy a rest below the limit is copied. */
static enum tcp_send_way way_of(struct tcp_sender *sender, struct tcp_op *op, uint64_t now_ns)
{
    choose(sender, op, now_ns);
    if (op->way == TCP_WAY_ZEROCOPY &&
        (rest_of(op) < sender->mode.limit_bytes || tcp_zerocopy_full(&sender->zerocopy)))
        return TCP_WAY_COPY;
    return (enum tcp_send_way)op->way;
}

static void add_piece(struct gather *g, void *base, uint64_t len)
{
    if (len == 0)
        return;
    g->iov[g->count++] = (struct iovec){.iov_base = base, .iov_len = len};
    g->bytes += len;
}

/* Adds the rest of the frame, at most `max_bytes` of it. */
static void add_frame(struct gather *g, struct tcp_op *op, uint64_t max_bytes)
{
    uint32_t header = op->handed_bytes < TCP_FRAME_BYTES ? TCP_FRAME_BYTES - op->handed_bytes : 0;
    uint64_t payload = rest_of(op) - header;
    uint64_t at = op->payload_bytes - payload;

    if (payload > max_bytes)
        payload = max_bytes;
    add_piece(g, op->header + TCP_FRAME_BYTES - header, header);
    /* sendmsg only reads it; struct iovec has no const. */
    add_piece(g, (void *)(uintptr_t)(op->payload + at), payload);
}

static bool is_told_due(const struct tcp_sender *sender)
{
    return sender->told_left == 0 && sender->read_told != sender->read;
}

/* Between two frames, what the peer is to be told comes first: it waits for it. */
static void add_told(struct tcp_sender *sender, struct gather *g)
{
    if (is_told_due(sender) && !tcp_sender_amid_frame(sender)) {
        const struct tcp_frame frame = {.type = TCP_FRAME_PLACED, .offset = sender->read};

        tcp_frame_pack(&frame, sender->told);
        sender->told_left = TCP_FRAME_BYTES;
        sender->read_told = sender->read;
    }
    add_piece(g, sender->told + TCP_FRAME_BYTES - sender->told_left, sender->told_left);
}

/* Fills in the frames of one call. */
static void gather(struct tcp_sender *sender, struct gather *g, uint64_t max_bytes, uint64_t now_ns)
{
    g->count = 0;
    g->bytes = 0;
    g->flags = 0;
    add_told(sender, g);
    for (uint32_t n = sender->current; n != tcp_sender_end(sender); n++) {
        struct tcp_op *op = &sender->ops[n % TCP_OPS];
        enum tcp_send_way way;

        if (g->count + 2 > GATHER_IOVECS || (g->bytes >= max_bytes && g->count > 0))
            return;
        /* Not behind a frame that may be the last. */
        if (n != sender->current && is_told_due(sender))
            return;
        way = way_of(sender, op, now_ns);
        if (way == TCP_WAY_ZEROCOPY && g->count > 0)
            return;
        if (way == TCP_WAY_SPLICE) {
            /* Its header; the payload follows through the pipe. */
            add_frame(g, op, 0);
            g->flags = MSG_MORE;
            return;
        }
        add_frame(g, op, max_bytes - g->bytes);
        if (way == TCP_WAY_ZEROCOPY) {
            g->flags = MSG_ZEROCOPY;
            return;
        }
    }
}

static void account(struct tcp_sender *sender, uint64_t bytes, bool zerocopy)
{
    uint32_t call = zerocopy ? tcp_zerocopy_sent(&sender->zerocopy) : 0;
    uint64_t told = sender->told_left < bytes ? sender->told_left : bytes;

    sender->handed_bytes += bytes;
    sender->told_left -= (uint32_t)told;
    bytes -= told;
    while (bytes > 0) {
        struct tcp_op *op = &sender->ops[sender->current % TCP_OPS];
        uint64_t taken = rest_of(op) < bytes ? rest_of(op) : bytes;

        op->handed_bytes += (uint32_t)taken;
        bytes -= taken;
        if (zerocopy) {
            op->hold = TCP_HOLD_ZEROCOPY;
            op->mark = call;
        }
        if (rest_of(op) == 0) {
            sender->splices += op->hold == TCP_HOLD_SPLICED;
            sender->current++;
        }
    }
}

static ssize_t call_sendmsg(struct tcp_sender *sender, struct gather *g, int flags)
{
    struct msghdr msg = {.msg_iov = g->iov, .msg_iovlen = g->count};

    sender->send_calls++;
    return sender->sys->sendmsg(sender->sys->user, sender->fd, &msg, flags);
}

/* One sendmsg's worth. 0, or the negative errno that ended the connection. */
static int hand_over_gathered(struct tcp_sender *sender, uint64_t max_bytes, uint64_t now_ns)
{
    struct gather g;
    bool zerocopy;
    ssize_t n;

    gather(sender, &g, max_bytes, now_ns);
    zerocopy = g.flags == MSG_ZEROCOPY;
    n = call_sendmsg(sender, &g, g.flags);
    if (n == -ENOBUFS && zerocopy) {
        /* The kernel may pin no more pages. Nothing will say when it may again, not even EPOLLERR
         * if nothing is outstanding: this piece is copied. */
        tcp_send_mode_refused(&sender->mode, now_ns);
        zerocopy = false;
        n = call_sendmsg(sender, &g, 0);
    }
    if (n < 0 && n != -EAGAIN)
        return (int)n;
    if (n > 0)
        account(sender, (uint64_t)n, zerocopy);
    /* A short send means a full socket: asking again would only be told so. */
    sender->blocked = n < 0 || (uint64_t)n < g.bytes;
    return 0;
}

/* An error of splice(2) that says nothing about the connection. */
static bool is_of_splicing(ssize_t error)
{
    return error == -EINVAL || error == -ENOSYS || error == -EOPNOTSUPP || error == -EPERM ||
           error == -ENOMEM || error == -EFAULT || error == -EIO || error == -EBADF;
}

/* What lies in the pipe is still to be handed over: it is dropped there, and the rest of the
 * payload is copied. */
static void give_up_splicing(struct tcp_sender *sender, struct tcp_op *op, int error,
                             uint64_t now_ns)
{
    tcp_splice_close(&sender->splice, sender->sys);
    op->way = TCP_WAY_COPY;
    tcp_send_mode_splice_failed(&sender->mode, error, now_ns);
}

/* A piece of a payload, through the pipe. 0, or the negative errno that ended the connection. */
static int hand_over_spliced(struct tcp_sender *sender, struct tcp_op *op, uint64_t now_ns)
{
    struct tcp_splice *splice = &sender->splice;
    uint64_t rest = rest_of(op);
    ssize_t n = 0;
    bool more;

    if (splice->waiting_bytes == 0) {
        sender->send_calls++;
        n = tcp_splice_fill(splice, sender->sys, op->payload + op->payload_bytes - rest, rest);
    }
    if (n >= 0) {
        more = rest > splice->waiting_bytes || sender->current + 1 != tcp_sender_end(sender);
        sender->send_calls++;
        n = tcp_splice_drain(splice, sender->sys, sender->fd, more);
    }
    if (n < 0 && n != -EAGAIN && !is_of_splicing(n))
        return (int)n;
    if (n < 0 && n != -EAGAIN)
        give_up_splicing(sender, op, (int)-n, now_ns);
    else if (n > 0)
        account(sender, (uint64_t)n, false);
    sender->blocked = n == -EAGAIN || (n > 0 && splice->waiting_bytes > 0);
    return 0;
}

/* One piece. 0, or the negative errno that ended the connection. */
static int hand_over(struct tcp_sender *sender, uint64_t max_bytes, uint64_t now_ns)
{
    struct tcp_op *op = current_op(sender);

    if (op != NULL && op->way == TCP_WAY_SPLICE && op->handed_bytes >= TCP_FRAME_BYTES)
        return hand_over_spliced(sender, op, now_ns);
    return hand_over_gathered(sender, max_bytes, now_ns);
}

int64_t tcp_sender_run(struct tcp_sender *sender, uint64_t max_bytes, uint64_t now_ns)
{
    uint64_t before = sender->handed_bytes;
    int rc = 0;

    while (rc == 0 && tcp_sender_pending(sender) && !sender->blocked &&
           sender->handed_bytes - before < max_bytes)
        rc = hand_over(sender, max_bytes - (sender->handed_bytes - before), now_ns);
    return rc < 0 ? rc : (int64_t)(sender->handed_bytes - before);
}

static bool is_recverr(const struct cmsghdr *cmsg)
{
    return (cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == IP_RECVERR) ||
           (cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == IPV6_RECVERR);
}

/* Takes the completions of one message of the error queue. Returns how many, or -EBADMSG. */
static int take_message(struct tcp_sender *sender, struct msghdr *msg, uint64_t now_ns)
{
    int taken = 0;

    if (msg->msg_flags & MSG_CTRUNC)
        return -EBADMSG;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg != NULL; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        struct sock_extended_err error;
        bool copied;
        int count;

        if (!is_recverr(cmsg) || cmsg->cmsg_len < CMSG_LEN(sizeof(error)))
            continue;
        memcpy(&error, CMSG_DATA(cmsg), sizeof(error));
        if (error.ee_origin != SO_EE_ORIGIN_ZEROCOPY)
            continue;
        copied = (error.ee_code & SO_EE_CODE_ZEROCOPY_COPIED) != 0;
        count = tcp_zerocopy_complete(&sender->zerocopy, error.ee_info, error.ee_data, copied);
        if (count < 0)
            return -EBADMSG;
        tcp_send_mode_completed(&sender->mode, (uint32_t)count, copied, now_ns);
        taken += count;
    }
    return taken;
}

int tcp_sender_take_completions(struct tcp_sender *sender, uint64_t now_ns)
{
    union {
        char bytes[256];
        struct cmsghdr align;
    } control;
    int taken = 0;

    for (;;) {
        struct msghdr msg = {.msg_control = control.bytes, .msg_controllen = sizeof(control)};
        ssize_t n =
            sender->sys->recvmsg(sender->sys->user, sender->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT);
        int count;

        if (n == -EAGAIN)
            break;
        if (n < 0)
            return (int)n;
        count = take_message(sender, &msg, now_ns);
        if (count < 0)
            return count;
        taken += count;
    }
    /* EPOLLERR without a completion may be a true error, or nothing at all. */
    return taken > 0 ? taken : -sender->sys->so_error(sender->sys->user, sender->fd);
}
