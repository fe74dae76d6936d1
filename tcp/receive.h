/*
 * The receiving half of a lane: a state machine that turns the byte stream into frames, checks each
 * header before a byte of its payload lands, and receives the payload of a write straight into the
 * exposed buffer. Small frames are parsed from a read-ahead buffer. Knows nothing of links; runs on
 * the transport's thread or the lane's, one at a time.
 */
#ifndef TCP_RECEIVE_H
#define TCP_RECEIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"
#include "sys.h"

#define TCP_AHEAD_BYTES 16384u

/* Where a receiver reports; each call may change the receiver's `allowed`, `window` and `discard`.
 */
struct tcp_receive_sink {
    /* A write is in place; with `spliced`, its sender waits to be told. */
    void (*arrival)(void *user, uint32_t immediate, uint32_t len_bytes, bool spliced);
    /* A control message; borrowed for the call. */
    void (*message)(void *user, const uint8_t *data, uint32_t len_bytes);
    /* REQUEST, ACCEPT, REJECT, PLACED or BYE with its payload. false: receive no more. */
    bool (*control)(void *user, const struct tcp_frame *frame, const uint8_t *payload);
    void *user;
};

struct tcp_receiver {
    const struct tcp_sys *sys; /* borrowed */
    int fd;                    /* borrowed */
    unsigned allowed;          /* TCP_FRAME_BITs that the link's state allows */
    struct tcp_window window;  /* what the peer may write into */
    bool discard;              /* throw away all that comes */
    uint32_t pause_bytes;      /* stop before so much of a write, or more; 0: never */
    uint32_t silence_ms;       /* of a sender that may have given the connection up; 0: never */
    bool revoked;              /* the window was closed under a write that is arriving */
    bool more;                 /* the socket or the read-ahead may have more: run again */
    bool after_write;          /* the last frame was a large write: expect another */
    bool found_empty;          /* the socket, by the last call */
    bool after_small;          /* the last frame was a small write: expect another */
    uint32_t peeked;           /* bytes that were read and still lie in the socket */
    struct tcp_frame write;    /* the write that is arriving, while `left` > 0 */
    uint8_t *place;            /* borrowed: where its next byte goes */
    uint32_t left;
    uint8_t *ahead; /* owned; TCP_AHEAD_BYTES, and room for what was peeked, read again */
    uint32_t ahead_first, ahead_end;
    uint64_t receive_calls;
    uint64_t received_bytes;
};

/* -ENOMEM. */
int tcp_receiver_init(struct tcp_receiver *receiver, const struct tcp_sys *sys, int fd);
void tcp_receiver_destroy(struct tcp_receiver *receiver);

/* Nothing lands in the window any more from now on; a write that is arriving ends the link. */
void tcp_receiver_close_window(struct tcp_receiver *receiver);

/*
 * Receives until the socket is empty, about `max_bytes` came, `budget` reports were made (each
 * lowers it by one), or `pause_bytes` of a write are to come; `more` says whether that was all, and
 * stays true while bytes that were handled still lie in the socket.
 * Returns 0; -EPIPE when the peer has closed the connection; a negative errno of recvmsg(2), the
 * diag untouched, also when the connection was over by the time that a spliced write was read,
 * which is then not reported: its sender may have rewritten the pages; -EPROTO, -EPROTONOSUPPORT or
 * -EACCES with the sentence when the peer broke a rule.
 */
int tcp_receiver_run(struct tcp_receiver *receiver, uint64_t max_bytes, int *budget,
                     const struct tcp_receive_sink *sink, struct embar_diag *diag);

#endif
