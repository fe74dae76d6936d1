/*
 * The ring of frames of a lane: queueing, reaping, cancelling. Handing over is in send_run.c. Owns
 * the ring and the bytes of control messages; runs on the transport's thread, also while the lane's
 * hands over what is queued already; no allocation after init.
 */
#include "send.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPS_RESERVE   (TCP_OPS - TCP_MAX_WRITES - TCP_MAX_SENDS)
#define BYTES_RESERVE 1024u

_Static_assert((TCP_OPS & (TCP_OPS - 1)) == 0, "positions run on modulo 2^32");
_Static_assert(OPS_RESERVE >= 4, "ACCEPT, REJECT, REQUEST and BYE must find room");
_Static_assert(sizeof(struct tcp_op) == 64, "one cache line for a frame");

int tcp_sender_init(struct tcp_sender *sender, const struct tcp_sys *sys, int fd,
                    enum tcp_send_setting setting, uint64_t limit_bytes)
{
    *sender = (struct tcp_sender){.sys = sys, .fd = fd};
    tcp_splice_init(&sender->splice);
    sender->ops = aligned_alloc(64, TCP_OPS * sizeof(*sender->ops));
    sender->bytes = malloc(TCP_SEND_BYTES);
    if (sender->ops == NULL || sender->bytes == NULL) {
        tcp_sender_destroy(sender);
        return -ENOMEM;
    }
    tcp_zerocopy_init(&sender->zerocopy, 0);
    tcp_send_mode_init(&sender->mode, setting, limit_bytes);
    return 0;
}

void tcp_sender_destroy(struct tcp_sender *sender)
{
    tcp_sender_close_pipe(sender);
    free(sender->ops);
    free(sender->bytes);
    sender->ops = NULL;
    sender->bytes = NULL;
}

/* Room for `len` bytes in one piece, `reserve` bytes staying free; NULL: none. */
static uint8_t *take_bytes(struct tcp_sender *sender, uint32_t len, uint32_t reserve)
{
    uint32_t at = sender->bytes_end % TCP_SEND_BYTES;
    uint32_t skip = at + len > TCP_SEND_BYTES ? TCP_SEND_BYTES - at : 0;
    uint32_t used = sender->bytes_end - sender->bytes_first;

    /* Never quite full: give_back tells wrapped from not wrapped by that. */
    if (used + skip + len + reserve >= TCP_SEND_BYTES)
        return NULL;
    sender->bytes_end += skip + len;
    return sender->bytes + (skip > 0 ? 0 : at);
}

/* The place of the next frame, with its header. */
static struct tcp_op *next_op(struct tcp_sender *sender, const struct tcp_frame *frame)
{
    uint32_t end = tcp_sender_end(sender);
    struct tcp_op *op = &sender->ops[end % TCP_OPS];

    *op = (struct tcp_op){.payload_bytes = frame->len_bytes};
    tcp_frame_pack(frame, op->header);
    return op;
}

/* The frame is complete: from here on the lane's thread may hand it over. */
static void add_op(struct tcp_sender *sender)
{
    atomic_store_explicit(&sender->end, tcp_sender_end(sender) + 1, memory_order_release);
}

int tcp_sender_write(struct tcp_sender *sender, const struct tcp_frame *frame, const void *payload,
                     uint64_t token)
{
    struct tcp_op *op;

    if (tcp_sender_end(sender) - sender->first >= TCP_OPS - OPS_RESERVE)
        return -EAGAIN;
    op = next_op(sender, frame);
    op->payload = payload;
    op->token = token;
    op->is_write = true;
    add_op(sender);
    return 0;
}

static int add_copy(struct tcp_sender *sender, const struct tcp_frame *frame, const void *payload,
                    uint32_t reserve)
{
    uint8_t *bytes = NULL;

    if (frame->len_bytes > 0) {
        bytes = take_bytes(sender, frame->len_bytes, reserve);
        if (bytes == NULL)
            return -EAGAIN;
        memcpy(bytes, payload, frame->len_bytes);
    }
    next_op(sender, frame)->payload = bytes;
    add_op(sender);
    sender->sends++;
    return 0;
}

int tcp_sender_send(struct tcp_sender *sender, const void *data, uint32_t len_bytes)
{
    struct tcp_frame frame = {.type = TCP_FRAME_SEND, .len_bytes = len_bytes};

    if (sender->sends >= TCP_MAX_SENDS ||
        tcp_sender_end(sender) - sender->first >= TCP_OPS - OPS_RESERVE)
        return -EAGAIN;
    return add_copy(sender, &frame, data, BYTES_RESERVE);
}

int tcp_sender_control(struct tcp_sender *sender, const struct tcp_frame *frame,
                       const void *payload)
{
    if (tcp_sender_end(sender) - sender->first >= TCP_OPS)
        return -EAGAIN;
    return add_copy(sender, frame, payload, 0);
}

bool tcp_sender_pending(const struct tcp_sender *sender)
{
    return sender->current != tcp_sender_end(sender) || sender->told_left > 0 ||
           sender->read_told != sender->read;
}

bool tcp_sender_has_bytes(const struct tcp_sender *sender, uint64_t bytes)
{
    uint64_t waiting = 0;

    for (uint32_t n = sender->current; n != tcp_sender_end(sender) && waiting < bytes; n++) {
        const struct tcp_op *op = &sender->ops[n % TCP_OPS];
        uint32_t handed =
            op->handed_bytes > TCP_FRAME_BYTES ? op->handed_bytes - TCP_FRAME_BYTES : 0;

        waiting += op->payload_bytes - handed;
    }
    return waiting >= bytes;
}

bool tcp_sender_amid_frame(const struct tcp_sender *sender)
{
    return sender->current != tcp_sender_end(sender) &&
           sender->ops[sender->current % TCP_OPS].handed_bytes > 0;
}

void tcp_sender_has_read(struct tcp_sender *sender)
{
    sender->read++;
}

int tcp_sender_placed(struct tcp_sender *sender, uint64_t count)
{
    if (count <= sender->placed || count > sender->splices)
        return -EPROTO;
    sender->placed = count;
    return 0;
}

void tcp_sender_peer_is_done(struct tcp_sender *sender)
{
    sender->placed = sender->splices;
}

uint64_t tcp_sender_unplaced(const struct tcp_sender *sender)
{
    return sender->splices_begun - sender->placed;
}

void tcp_sender_close_pipe(struct tcp_sender *sender)
{
    tcp_splice_close(&sender->splice, sender->sys);
}

static void report(const struct tcp_op *op, int status, tcp_write_over_fn *over, void *user)
{
    if (op->is_write)
        over(user, op->token, op->payload_bytes, status);
}

/* Gives the bytes of a control message back. They lie in the ring in the order of the ops, so that
 * its end is the ring's new beginning, whatever was skipped to wrap or cancelled before it. */
static void give_back(struct tcp_sender *sender, const struct tcp_op *op)
{
    uint32_t at, end;

    if (op->is_write)
        return;
    sender->sends--;
    if (op->payload_bytes == 0)
        return;
    at = sender->bytes_first % TCP_SEND_BYTES;
    end = (uint32_t)(op->payload - sender->bytes) + op->payload_bytes;
    sender->bytes_first += end > at ? end - at : TCP_SEND_BYTES - at + end;
}

static bool is_held(const struct tcp_sender *sender, const struct tcp_op *op)
{
    switch (op->hold) {
    case TCP_HOLD_ZEROCOPY:
        return !tcp_zerocopy_over(&sender->zerocopy, op->mark);
    case TCP_HOLD_SPLICED:
        return (int32_t)((uint32_t)sender->placed - op->mark) < 0;
    default:
        return false;
    }
}

int tcp_sender_reap(struct tcp_sender *sender, tcp_write_over_fn *over, void *user)
{
    int count = 0;

    while (sender->first != sender->current) {
        struct tcp_op *op = &sender->ops[sender->first % TCP_OPS];

        if (is_held(sender, op))
            break;
        report(op, 0, over, user);
        give_back(sender, op);
        sender->first++;
        count++;
    }
    return count;
}

void tcp_sender_cancel(struct tcp_sender *sender, bool all, int status, tcp_write_over_fn *over,
                       void *user)
{
    uint32_t from = all ? sender->first : sender->current + tcp_sender_amid_frame(sender);
    uint32_t end = tcp_sender_end(sender);

    for (uint32_t n = from; n != end; n++) {
        const struct tcp_op *op = &sender->ops[n % TCP_OPS];

        report(op, status, over, user);
        sender->sends -= op->is_write ? 0 : 1;
    }
    /* The bytes of cancelled control messages come back with the next one that is over. */
    atomic_store_explicit(&sender->end, from, memory_order_release);
    if (all)
        sender->current = from;
}
