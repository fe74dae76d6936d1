/*
 * The sending half of a lane: a ring of frames that wait, are being handed to the kernel, or are
 * handed over and still read by it or by the peer. Keeps the order; says when a write's source may
 * be reused: when all its bytes are handed over and all its zero-copy calls are over, or, where it
 * was spliced, when the peer says that it has read them. Knows nothing of links. Runs on the
 * transport's thread, but that tcp_sender_run may run on the lane's own; frames may be queued all
 * the while, so that the ring's `end` is what the two threads share.
 */
#ifndef TCP_SEND_H
#define TCP_SEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "send_mode.h"
#include "splice.h"
#include "sys.h"
#include "zerocopy.h"

#define TCP_MAX_WRITES 256u
#define TCP_MAX_SENDS  240u
/* Writes, sends, and a reserve for the frames that begin and end a link. A power of two. */
#define TCP_OPS 512u
/* Bytes of control messages and reasons that wait. */
#define TCP_SEND_BYTES 65536u

/* What keeps a source that is handed over from being reused. */
enum tcp_hold {
    TCP_HOLD_NONE = 0,
    TCP_HOLD_ZEROCOPY, /* until the call `mark` and those before it are over */
    TCP_HOLD_SPLICED,  /* until the peer has read as many spliced writes as `mark` says */
};

/* One frame. Its memory does not move until it is over: the kernel may read the header from it. */
struct tcp_op {
    uint8_t header[TCP_FRAME_BYTES];
    const uint8_t *payload; /* borrowed: a buffer, or the sender's `bytes` */
    uint32_t payload_bytes;
    uint32_t handed_bytes; /* of header and payload together */
    uint64_t token;        /* WRITE */
    uint32_t mark;         /* modulo 2^32; see enum tcp_hold */
    bool is_write;
    uint8_t way;  /* enum tcp_send_way; once decided it holds for the whole op */
    uint8_t hold; /* enum tcp_hold */
};

struct tcp_sender {
    const struct tcp_sys *sys;       /* borrowed */
    int fd;                          /* borrowed */
    bool blocked;                    /* the socket is full: wait until it is writable */
    struct tcp_op *ops;              /* owned; op n is ops[n % TCP_OPS] */
    uint32_t first;                  /* the oldest op that is not over */
    uint32_t current;                /* the oldest op that is not handed over */
    _Atomic uint32_t end;            /* where the next op goes; see tcp_sender_end */
    uint32_t sends;                  /* control messages in the ring */
    uint8_t *bytes;                  /* owned; ring of TCP_SEND_BYTES */
    uint32_t bytes_first, bytes_end; /* running positions in it */
    struct tcp_zerocopy zerocopy;
    struct tcp_splice splice;
    uint64_t splices_begun, splices; /* spliced writes: begun, and handed over as a whole */
    uint64_t placed;                 /* of these, read by the peer, as far as it has said */
    uint64_t read, read_told;        /* spliced writes of the peer: read here, and told so */
    uint8_t told[TCP_FRAME_BYTES];   /* the PLACED frame under way, of which `told_left` ... */
    uint32_t told_left;              /* ... bytes are still to be handed over */
    struct tcp_send_mode mode;
    uint64_t send_calls;
    uint64_t handed_bytes; /* to the kernel, ever */
};

/* What became of a write: 0 or a negative errno. */
typedef void tcp_write_over_fn(void *user, uint64_t token, size_t len_bytes, int status);

/* -ENOMEM. */
int tcp_sender_init(struct tcp_sender *sender, const struct tcp_sys *sys, int fd,
                    enum tcp_send_setting setting, uint64_t limit_bytes);
void tcp_sender_destroy(struct tcp_sender *sender);

/* Queue a frame. `payload` of a write is borrowed until the write is over; the others are copied.
 * -EAGAIN: no room. A frame that begins or ends a link has room in reserve, for one of each type.
 */
int tcp_sender_write(struct tcp_sender *sender, const struct tcp_frame *frame, const void *payload,
                     uint64_t token);
int tcp_sender_send(struct tcp_sender *sender, const void *data, uint32_t len_bytes);
int tcp_sender_control(struct tcp_sender *sender, const struct tcp_frame *frame,
                       const void *payload);

/* The end of the ring, all frames before it visible. */
static inline uint32_t tcp_sender_end(const struct tcp_sender *sender)
{
    return atomic_load_explicit(&sender->end, memory_order_acquire);
}

/* Frames wait that are not handed over. */
bool tcp_sender_pending(const struct tcp_sender *sender);

/* So many bytes of payload wait, or more. */
bool tcp_sender_has_bytes(const struct tcp_sender *sender, uint64_t bytes);

/* The next frame of the ring has begun: nothing may be put before its rest. */
bool tcp_sender_amid_frame(const struct tcp_sender *sender);

/* Hands over until the socket is full, nothing waits, or about `max_bytes` are handed over. Returns
 * the bytes, or the negative errno that ended the connection. */
int64_t tcp_sender_run(struct tcp_sender *sender, uint64_t max_bytes, uint64_t now_ns);

/* Takes all zero-copy completions from the error queue. Returns how many calls, or a negative
 * errno: that of the connection, or -EBADMSG for a completion that cannot be. To be called on
 * EPOLLERR. */
int tcp_sender_take_completions(struct tcp_sender *sender, uint64_t now_ns);

/* A spliced write of the peer has been read completely: it is told with what is sent next. */
void tcp_sender_has_read(struct tcp_sender *sender);

/* The peer says that it has read so many spliced writes in all. -EPROTO: it cannot have. */
int tcp_sender_placed(struct tcp_sender *sender, uint64_t count);

/* The peer will report nothing of what it has not read yet. */
void tcp_sender_peer_is_done(struct tcp_sender *sender);

/* Spliced writes that have begun and that the peer may still be reading. */
uint64_t tcp_sender_unplaced(const struct tcp_sender *sender);

/* Nothing more will be sent: lets go of the pages in the pipe. */
void tcp_sender_close_pipe(struct tcp_sender *sender);

/* Reports the writes that are over, in order. Returns how many. */
int tcp_sender_reap(struct tcp_sender *sender, tcp_write_over_fn *over, void *user);

/* Drops what has not begun, or with `all` everything that is left, and reports its writes with
 * `status`. With `all` no zero-copy call may be outstanding, and the peer be told to drop what it
 * has not read. */
void tcp_sender_cancel(struct tcp_sender *sender, bool all, int status, tcp_write_over_fn *over,
                       void *user);

#endif
