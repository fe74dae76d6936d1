/*
 * What two rdma backends say to each other: the private data with which a lane is asked for and
 * answered, and the header of control messages. docs/wire-rdma.md has the tables. Packing and
 * unpacking check every field; nothing is trusted. Pure.
 */
#ifndef RDMA_PROTOCOL_H
#define RDMA_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#define RDMA_PROTOCOL_VERSION 1
#define RDMA_LANES_MAX        8
#define RDMA_MESSAGE_BYTES    2048u /* the longest control message of an application */
#define RDMA_REASON_BYTES     255   /* the longest reason of a refusal */

/* ---- private data ------------------------------------------------------------------------- */

/* Of the request (56 bytes at most) and of the answer. */
#define RDMA_HELLO_BYTES 32

/* The answer leads to a refusal whose reason is too long for a REJ: a REFUSED message follows. */
#define RDMA_HELLO_REFUSES 1u

struct rdma_hello {
    uint64_t link_id; /* random; joins the lanes of a link */
    uint8_t lane, lanes;
    uint8_t path_mtu; /* enum ibv_mtu; request: the most that is wanted, answer: what is used */
    uint8_t flags;    /* RDMA_HELLO_* */
    uint16_t receive_depth;
    uint16_t message_bytes; /* the longest control message that this side takes */
};

void rdma_hello_pack(const struct rdma_hello *hello, uint8_t data[RDMA_HELLO_BYTES]);

/* `len_bytes` may be more than was packed: InfiniBand pads with zeros. -EPROTO: not this protocol
 * or a field out of range; -EPROTONOSUPPORT: another version. */
int rdma_hello_unpack(const void *data, size_t len_bytes, struct rdma_hello *hello);

/* Of a REJ: 148 bytes at most, 8 of them the head. */
#define RDMA_REJECT_BYTES      148
#define RDMA_REJECT_TEXT_BYTES 140

/* Packs `text`, which is at most RDMA_REJECT_TEXT_BYTES long; returns how many bytes. */
size_t rdma_reject_pack(const char *text, uint8_t data[RDMA_REJECT_BYTES]);

/* Copies the text, NUL-terminated. -EPROTO. */
int rdma_reject_unpack(const void *data, size_t len_bytes, char *text, size_t text_bytes);

/* ---- control messages --------------------------------------------------------------------- */

#define RDMA_HEADER_BYTES 8

enum rdma_kind {
    RDMA_MESSAGE = 1, /* of the application */
    RDMA_CREDITS,     /* nothing but the header's credits */
    RDMA_GOODBYE,     /* an orderly end: the last message of this side; lane 0 */
    RDMA_KEYS,        /* the remote keys of an exposure, one for each lane; lane 0 */
    RDMA_ARRIVED,     /* a write before it is in place, where no immediate can say so */
    RDMA_REFUSED,     /* the reason why the link is refused; lane 0 */
};

struct rdma_header {
    enum rdma_kind kind;
    uint16_t credits;   /* receives given back */
    uint32_t len_bytes; /* of the payload */
};

void rdma_header_pack(const struct rdma_header *header, uint8_t data[RDMA_HEADER_BYTES]);

/* `message_bytes` is how many arrived, header included. -EPROTO: unknown kind, or the length is not
 * what arrived or not what the kind needs. */
int rdma_header_unpack(const void *data, size_t message_bytes, struct rdma_header *header);

/* Payload of RDMA_KEYS: the key's id, then one remote key per lane. */
#define RDMA_KEYS_BYTES (8 + 4 * RDMA_LANES_MAX)

struct rdma_keys {
    uint64_t id;
    uint32_t lanes;
    uint32_t rkeys[RDMA_LANES_MAX];
};

size_t rdma_keys_pack(const struct rdma_keys *keys, uint8_t data[RDMA_KEYS_BYTES]);
/* `keys->lanes` says how many the link has. -EPROTO. */
int rdma_keys_unpack(const void *data, size_t len_bytes, struct rdma_keys *keys);

/* Payload of RDMA_ARRIVED. */
#define RDMA_ARRIVED_BYTES 12

struct rdma_arrived {
    uint32_t immediate;
    uint64_t len_bytes;
};

void rdma_arrived_pack(const struct rdma_arrived *arrived, uint8_t data[RDMA_ARRIVED_BYTES]);
/* -EPROTO. */
int rdma_arrived_unpack(const void *data, size_t len_bytes, struct rdma_arrived *arrived);

#endif
