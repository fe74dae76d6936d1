/*
 * Handing frames to the kernel and taking its zero-copy completions. Small frames are gathered into
 * one call; a large payload goes with its header, in a call of its own when it is sent from the
 * pages. MSG_ZEROCOPY and its error queue live here only. Runs on the transport's thread.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h> /* linux/errqueue.h wants struct timespec */

#include <linux/errqueue.h>

#include "send.h"

#define GATHER_IOVECS 64

/* What one system call is to take: pieces of the frames from `current` on. */
struct gather {
    struct iovec iov[GATHER_IOVECS];
    size_t count;
    uint64_t bytes;
};

static uint64_t rest_of(const struct tcp_op *op)
{
    return (uint64_t)TCP_FRAME_BYTES + op->payload_bytes - op->handed_bytes;
}

static void choose(struct tcp_sender *sender, struct tcp_op *op, uint64_t now_ns)
{
    if (op->chosen)
        return;
    op->chosen = true;
    op->zerocopy = op->is_write && tcp_send_mode_choose(&sender->mode, op->payload_bytes, now_ns);
}

/* Whether the next piece of the op goes out from the pages. A rest below the limit does not. */
static bool from_pages(struct tcp_sender *sender, struct tcp_op *op, uint64_t now_ns)
{
    choose(sender, op, now_ns);
    return op->zerocopy && rest_of(op) >= sender->mode.limit_bytes &&
           !tcp_zerocopy_full(&sender->zerocopy);
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

/* Fills in the frames of one call. Returns whether it is a zero-copy one. */
static bool gather(struct tcp_sender *sender, struct gather *g, uint64_t max_bytes, uint64_t now_ns)
{
    uint32_t n = sender->current;

    g->count = 0;
    g->bytes = 0;
    if (from_pages(sender, &sender->ops[n % TCP_OPS], now_ns)) {
        add_frame(g, &sender->ops[n % TCP_OPS], max_bytes);
        return true;
    }
    do {
        add_frame(g, &sender->ops[n % TCP_OPS], max_bytes - g->bytes);
        n++;
    } while (n != sender->end && g->count + 2 <= GATHER_IOVECS && g->bytes < max_bytes &&
             !from_pages(sender, &sender->ops[n % TCP_OPS], now_ns));
    return false;
}

static void account(struct tcp_sender *sender, uint64_t bytes, bool zerocopy)
{
    uint32_t call = zerocopy ? tcp_zerocopy_sent(&sender->zerocopy) : 0;

    sender->handed_bytes += bytes;
    while (bytes > 0) {
        struct tcp_op *op = &sender->ops[sender->current % TCP_OPS];
        uint64_t taken = rest_of(op) < bytes ? rest_of(op) : bytes;

        op->handed_bytes += (uint32_t)taken;
        bytes -= taken;
        if (zerocopy) {
            op->pinned = true;
            op->last_call = call;
        }
        if (rest_of(op) == 0)
            sender->current++;
    }
}

static ssize_t call_sendmsg(struct tcp_sender *sender, struct gather *g, bool zerocopy)
{
    struct msghdr msg = {.msg_iov = g->iov, .msg_iovlen = g->count};

    sender->send_calls++;
    return sender->sys->sendmsg(sender->sys->user, sender->fd, &msg, zerocopy ? MSG_ZEROCOPY : 0);
}

/* One system call's worth. 0, or the negative errno that ended the connection. */
static int hand_over(struct tcp_sender *sender, uint64_t max_bytes, uint64_t now_ns)
{
    struct gather g;
    bool zerocopy = gather(sender, &g, max_bytes, now_ns);
    ssize_t n = call_sendmsg(sender, &g, zerocopy);

    if (n == -ENOBUFS && zerocopy) {
        /* The kernel may pin no more pages. Nothing will say when it may again, not even EPOLLERR
         * if nothing is outstanding: this piece is copied. */
        tcp_send_mode_refused(&sender->mode, now_ns);
        zerocopy = false;
        n = call_sendmsg(sender, &g, false);
    }
    if (n < 0 && n != -EAGAIN)
        return (int)n;
    if (n > 0)
        account(sender, (uint64_t)n, zerocopy);
    /* A short send means a full socket: asking again would only be told so. */
    sender->blocked = n < 0 || (uint64_t)n < g.bytes;
    return 0;
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
