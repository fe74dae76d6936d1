/*
 * The control messages of a stream: what publisher and subscriber say to each other beside batches.
 * Bit tables and the order of messages in docs/wire.md. Packing and checking only; pure.
 */
#ifndef STREAM_CONTROL_H
#define STREAM_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include <embar/diag.h>
#include <embar/transport.h>

#include "common/option.h"

#define CONTROL_VERSION 1
#define CONTROL_BYTES   1024 /* no control message is longer */
#define CONTROL_SLOTS   4096 /* most slots of a receive buffer that are granted */
#define CONTROL_CREDITS 256  /* most slots that one CREDIT gives back */
#define CONTROL_REASON  256
#define CONTROL_MOST    INT64_MAX /* no sequence or message number is larger: sums do not wrap */

enum control_type {
    CONTROL_HELLO = 1, /* connector: who I am */
    CONTROL_WELCOME,   /* acceptor: the same about itself */
    CONTROL_REJECT,    /* either, any time: this link ends, and why */
    CONTROL_GRANT,     /* subscriber: the buffer to write into, and where to go on */
    CONTROL_START,     /* publisher: the first batch that will come */
    CONTROL_CREDIT,    /* subscriber: placed and consumed so far, slots that are free again */
    CONTROL_GAP,       /* publisher: batches that policy dropped */
    CONTROL_FINISH,    /* publisher: nothing more comes; totals */
    CONTROL_FINISHED,  /* subscriber: all of it is consumed; totals */
    CONTROL_LEAVE,     /* either: I end before the stream does */
};

enum control_role { ROLE_PUBLISHER = 1, ROLE_SUBSCRIBER = 2 };

enum control_reject {
    REJECT_NONE = 0,
    REJECT_VERSION = 1,
    REJECT_ROLE,
    REJECT_STREAM,
    REJECT_GEOMETRY,
    REJECT_LIMIT,     /* subscriber.max_links */
    REJECT_RESOURCES, /* no buffer could be had */
    REJECT_PROTOCOL,  /* the peer broke the rules */
    REJECT_CHECKSUM,  /* a batch arrived damaged: reconnect and send it again */
    REJECT_SLOW,      /* evicted by slow_subscriber */
    REJECT_BUSY,      /* too many handshakes at once: try again */
};

struct control_hello { /* HELLO and WELCOME */
    uint8_t version;
    uint8_t role;
    uint8_t ack;         /* publisher: enum embar_level it waits for */
    uint8_t checksum;    /* publisher: 1 when every batch carries one */
    uint64_t instance;   /* publisher: session id; subscriber: its id, kept across reconnects */
    uint64_t slot_bytes; /* publisher: largest batch; subscriber: size of a slot */
    uint32_t in_flight;  /* publisher: most batches not yet consumed */
    char stream[OPTION_STRING_BYTES];
};

struct control_grant {
    struct embar_key key;
    uint64_t slot_bytes;
    uint32_t slots;
    uint64_t
        next_sequence;    /* the batch that the subscriber waits for; ANY_SEQUENCE when it is new */
    const uint8_t *taken; /* bitmap, (slots + 7) / 8 bytes: slots that are not free; borrowed */
};

#define ANY_SEQUENCE  UINT64_MAX
#define UNKNOWN_BYTES UINT64_MAX /* FINISH to a subscriber that had been given up in between */

struct control_start {
    uint64_t first_sequence;
    uint64_t first_message;
};

struct control_credit {
    uint64_t placed_next;   /* all batches before it are placed */
    uint64_t consumed_next; /* all batches before it are consumed */
    uint16_t count;
    uint16_t slots[CONTROL_CREDITS];
};

struct control_gap {
    uint64_t from_sequence, to_sequence; /* [from, to) never comes */
    uint64_t to_message;                 /* number of the first message of batch `to` */
};

struct control_totals { /* FINISH and FINISHED; since START */
    uint64_t end_sequence, end_message, bytes;
};

struct control_message {
    enum control_type type;
    union {
        struct control_hello hello;
        struct {
            enum control_reject code;
            char reason[CONTROL_REASON];
        } reject;
        struct control_grant grant;
        struct control_start start;
        struct control_credit credit;
        struct control_gap gap;
        struct control_totals totals;
    };
};

/* Packs into `out`; returns the length (never more than CONTROL_BYTES). */
size_t control_pack(const struct control_message *message, uint8_t out[CONTROL_BYTES]);

/* Reads a message that a peer sent. -EPROTO with a sentence: unknown type, wrong length, a field
 * out of its range. `message->grant.taken` points into `data`. */
int control_unpack(const void *data, size_t len_bytes, struct control_message *message,
                   struct embar_diag *diag);

/* "HELLO", ...; "?" for an unknown type. */
const char *control_name(enum control_type type);

#endif
