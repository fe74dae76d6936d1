/*
 * The frames of the TCP wire (docs/wire-tcp.md): a header of 32 bytes, packed and unpacked, and the
 * checks that every header of a peer passes before anything is done with it.
 */
#ifndef TCP_FRAME_H
#define TCP_FRAME_H

#include <stdint.h>

#include <embar/diag.h>

#define TCP_FRAME_BYTES      32u
#define TCP_FRAME_MAGIC      0x4245u /* "EB" on the wire */
#define TCP_FRAME_VERSION    1u
#define TCP_MAX_WRITE_BYTES  (1u << 30)
#define TCP_MAX_SEND_BYTES   4096u
#define TCP_MAX_REASON_BYTES 255u
#define TCP_MAX_LANES        16u

enum tcp_frame_type {
    TCP_FRAME_REQUEST = 1, /* the connector's first frame: asks for a link */
    TCP_FRAME_ACCEPT = 2,  /* the answer */
    TCP_FRAME_REJECT = 3,  /* the other answer, with a reason */
    TCP_FRAME_WRITE = 4,   /* a write into the exposed buffer */
    TCP_FRAME_SEND = 5,    /* a control message */
    TCP_FRAME_BYE = 6,     /* the last frame of a side; with a reason when something was wrong */
    TCP_FRAME_PLACED = 7,  /* how many spliced writes of the peer have been read */
};

/* Sets of types, for what a link may receive in its present state. */
#define TCP_FRAME_BIT(type) (1u << (type))

/* Flags of a WRITE. The receiver may be reading the sender's own pages, so it says PLACED when it
 * has read them, and drops the write when the connection has ended meanwhile. */
#define TCP_FLAG_SPLICED 0x0001u

/* What a BYE says in its immediate. */
enum tcp_bye {
    TCP_BYE_ORDERLY = 0,
    TCP_BYE_REFUSED = 1, /* the peer broke a rule; the reason says which */
};

struct tcp_frame {
    enum tcp_frame_type type;
    uint16_t flags;     /* WRITE: TCP_FLAG_SPLICED or 0 */
    uint64_t key;       /* WRITE: of the exposed buffer; REQUEST: random id of the link */
    uint64_t offset;    /* WRITE: into the buffer; REQUEST: lane index, lane count << 32;
                         * PLACED: count since the link came up;
                         * ACCEPT: lanes that are to join, 0: the link is up */
    uint32_t immediate; /* WRITE; BYE: enum tcp_bye */
    uint32_t len_bytes; /* of the payload that follows */
};

/* The part of memory that a peer may write into. */
struct tcp_window {
    uint8_t *addr; /* borrowed; NULL: nothing is exposed */
    uint64_t size_bytes;
    uint64_t key;
};

void tcp_frame_pack(const struct tcp_frame *frame, uint8_t bytes[TCP_FRAME_BYTES]);

/* Sets the flags of a packed header. */
void tcp_frame_set_flags(uint8_t bytes[TCP_FRAME_BYTES], uint16_t flags);

/* -EPROTO: not a frame; -EPROTONOSUPPORT: a frame of another version. The diag gets the sentence.
 */
int tcp_frame_unpack(const uint8_t bytes[TCP_FRAME_BYTES], struct tcp_frame *frame,
                     struct embar_diag *diag);

/*
 * Whether the frame may come now (`allowed` is a set of TCP_FRAME_BITs), says nothing senseless,
 * and, for a write, stays within the window. -EPROTO or, for a write out of its rights, -EACCES.
 */
int tcp_frame_check(const struct tcp_frame *frame, unsigned allowed,
                    const struct tcp_window *window, struct embar_diag *diag);

const char *tcp_frame_name(enum tcp_frame_type type);

#endif
