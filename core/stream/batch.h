/*
 * The batch format: a 64-byte header and, behind it, the messages, each a 32-bit length and its
 * bytes. Bit tables in docs/wire.md. Packing and checking only; pure.
 */
#ifndef STREAM_BATCH_H
#define STREAM_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <embar/embar.h>

#define BATCH_HEADER_BYTES   64
#define MESSAGE_HEADER_BYTES 4

struct batch_header {
    uint64_t session;       /* the publisher's */
    uint64_t sequence;      /* of the batch, from 0 */
    uint64_t first_message; /* number of its first message, from 0 */
    uint64_t published_ns;  /* CLOCK_REALTIME of the publisher */
    uint32_t messages;
    uint32_t payload_bytes;
    bool checked; /* the checksum is there */
    /* What the publisher waits for: to be reported at once. EMBAR_SENT: nothing. */
    enum embar_level awaited;
};

/* Packs the header of a payload into BATCH_HEADER_BYTES, which need not lie in front of it.
 * Checksum included when `header->checked`: CRC32C over the header's first 60 bytes and the
 * payload. */
void batch_pack(void *packed, const void *payload, const struct batch_header *header);

/* The same in front of the payload that lies in the slot already. */
void batch_seal(void *slot, const struct batch_header *header);

/*
 * Reads and checks the header of a batch of `len_bytes` in a slot. The header is copied out first,
 * so that a peer that goes on writing cannot change what was checked. -EPROTO with a sentence: too
 * short, not a batch, another version, lengths that contradict each other.
 */
int batch_open(const void *slot, size_t len_bytes, struct batch_header *header,
               struct embar_diag *diag);

/* Whether the checksum fits; true when the batch carries none. */
bool batch_intact(const void *slot, const struct batch_header *header);

#endif
