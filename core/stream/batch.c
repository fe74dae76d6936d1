/*
 * Packing and checking of batches, and the iterator that walks their messages. Everything in a slot
 * comes from a peer: lengths are read once and checked before use. Pure; any thread.
 */
#include "stream/batch.h"

#include <errno.h>
#include <string.h>

#include "common/crc32c.h"
#include "common/diag.h"
#include "common/wire.h"

#define BATCH_MAGIC                 0x52414245u /* "EBAR" */
#define BATCH_VERSION               1
#define BATCH_FLAG_CHECKED          0x01
#define BATCH_FLAG_PLACED_AWAITED   0x02
#define BATCH_FLAG_CONSUMED_AWAITED 0x04
#define BATCH_CHECKSUM_AT           60

static uint32_t batch_checksum(const void *packed, const void *payload, size_t payload_bytes)
{
    uint32_t crc = crc32c(0, packed, BATCH_CHECKSUM_AT);
    return crc32c(crc, payload, payload_bytes);
}

static uint8_t pack_flags(const struct batch_header *header)
{
    uint8_t flags = header->checked ? BATCH_FLAG_CHECKED : 0;

    if (header->awaited == EMBAR_PLACED)
        flags |= BATCH_FLAG_PLACED_AWAITED;
    if (header->awaited == EMBAR_CONSUMED)
        flags |= BATCH_FLAG_CONSUMED_AWAITED;
    return flags;
}

void batch_pack(void *packed, const void *payload, const struct batch_header *header)
{
    struct wire_writer w = wire_writer(packed, BATCH_HEADER_BYTES);

    wire_put_u32(&w, BATCH_MAGIC);
    wire_put_u8(&w, BATCH_VERSION);
    wire_put_u8(&w, pack_flags(header));
    wire_put_u16(&w, BATCH_HEADER_BYTES);
    wire_put_u64(&w, header->session);
    wire_put_u64(&w, header->sequence);
    wire_put_u64(&w, header->first_message);
    wire_put_u64(&w, header->published_ns);
    wire_put_u32(&w, header->messages);
    wire_put_u32(&w, header->payload_bytes);
    wire_put_u64(&w, 0);
    wire_put_u32(&w, 0);
    wire_put_u32(&w, header->checked ? batch_checksum(packed, payload, header->payload_bytes) : 0);
}

void batch_seal(void *slot, const struct batch_header *header)
{
    batch_pack(slot, (const uint8_t *)slot + BATCH_HEADER_BYTES, header);
}

int batch_open(const void *slot, size_t len_bytes, struct batch_header *header,
               struct embar_diag *diag)
{
    uint8_t raw[BATCH_HEADER_BYTES];
    struct batch_header h;
    uint32_t magic;
    uint8_t version, flags;
    uint16_t header_bytes;

    if (len_bytes < BATCH_HEADER_BYTES)
        return diag_fail(diag, EPROTO, "a batch of %zu bytes is shorter than its header",
                         len_bytes);
    memcpy(raw, slot, sizeof raw);
    struct wire_reader r = wire_reader(raw, sizeof raw);
    magic = wire_get_u32(&r);
    version = wire_get_u8(&r);
    flags = wire_get_u8(&r);
    header_bytes = wire_get_u16(&r);
    h.session = wire_get_u64(&r);
    h.sequence = wire_get_u64(&r);
    h.first_message = wire_get_u64(&r);
    h.published_ns = wire_get_u64(&r);
    h.messages = wire_get_u32(&r);
    h.payload_bytes = wire_get_u32(&r);
    h.checked = (flags & BATCH_FLAG_CHECKED) != 0;
    h.awaited = flags & BATCH_FLAG_CONSUMED_AWAITED ? EMBAR_CONSUMED
                : flags & BATCH_FLAG_PLACED_AWAITED ? EMBAR_PLACED
                                                    : EMBAR_SENT;

    if (magic != BATCH_MAGIC)
        return diag_fail(diag, EPROTO, "what arrived is not a batch (magic %08x)", magic);
    if (version != BATCH_VERSION || header_bytes != BATCH_HEADER_BYTES)
        return diag_fail(diag, EPROTO, "batch format %u is not format %u", version, BATCH_VERSION);
    if (h.payload_bytes != len_bytes - BATCH_HEADER_BYTES)
        return diag_fail(diag, EPROTO, "a batch says it has %u payload bytes, %zu arrived",
                         h.payload_bytes, len_bytes - BATCH_HEADER_BYTES);
    if ((uint64_t)h.messages * MESSAGE_HEADER_BYTES > h.payload_bytes)
        return diag_fail(diag, EPROTO, "a batch says it has %u messages in %u bytes", h.messages,
                         h.payload_bytes);
    *header = h;
    return 0;
}

bool batch_intact(const void *slot, const struct batch_header *header)
{
    struct wire_reader r = wire_reader(slot, BATCH_HEADER_BYTES);

    if (!header->checked)
        return true;
    r.pos = BATCH_CHECKSUM_AT;
    return wire_get_u32(&r) ==
           batch_checksum(slot, (const uint8_t *)slot + BATCH_HEADER_BYTES, header->payload_bytes);
}

int embar_iter_next(struct embar_iter *iter, const void **data, size_t *len_bytes)
{
    size_t room = (size_t)(iter->end - iter->pos);
    uint32_t len;

    if (iter->left == 0)
        return room == 0 ? 0 : -EBADMSG;
    if (room < MESSAGE_HEADER_BYTES)
        return -EBADMSG;
    memcpy(&len, iter->pos, sizeof len); /* little-endian: every host that this builds for */
    if (len > room - MESSAGE_HEADER_BYTES)
        return -EBADMSG;
    *data = iter->pos + MESSAGE_HEADER_BYTES;
    *len_bytes = len;
    iter->pos += MESSAGE_HEADER_BYTES + len;
    iter->left--;
    return 1;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "message lengths are little-endian");
