/*
 * Packing and unpacking of what two rdma backends say to each other: see protocol.h. Pure.
 */
#include "protocol.h"

#include <errno.h>
#include <string.h>

#include "common/wire.h"
#include "credit.h"

#define MAGIC       0x52424d45u /* "EMBR" */
#define MTU_MAX     5           /* IBV_MTU_4096 */
#define MESSAGE_MIN 1024u

/* ---- private data ------------------------------------------------------------------------- */

void rdma_hello_pack(const struct rdma_hello *hello, uint8_t data[RDMA_HELLO_BYTES])
{
    struct wire_writer w = wire_writer(data, RDMA_HELLO_BYTES);

    memset(data, 0, RDMA_HELLO_BYTES);
    wire_put_u32(&w, MAGIC);
    wire_put_u16(&w, RDMA_PROTOCOL_VERSION);
    wire_put_u8(&w, hello->flags);
    wire_put_u8(&w, hello->path_mtu);
    wire_put_u64(&w, hello->link_id);
    wire_put_u8(&w, hello->lane);
    wire_put_u8(&w, hello->lanes);
    wire_put_u16(&w, hello->receive_depth);
    wire_put_u16(&w, hello->message_bytes);
}

static bool hello_is_sane(const struct rdma_hello *hello)
{
    return (hello->flags & ~RDMA_HELLO_REFUSES) == 0 && hello->path_mtu >= 1 &&
           hello->path_mtu <= MTU_MAX && hello->lanes >= 1 && hello->lanes <= RDMA_LANES_MAX &&
           hello->lane < hello->lanes && hello->receive_depth >= RDMA_RECEIVES_MIN &&
           hello->receive_depth <= RDMA_RECEIVES_MAX && hello->message_bytes >= MESSAGE_MIN;
}

int rdma_hello_unpack(const void *data, size_t len_bytes, struct rdma_hello *hello)
{
    struct wire_reader r = wire_reader(data, len_bytes);
    struct rdma_hello got;
    uint16_t version;

    if (wire_get_u32(&r) != MAGIC)
        return -EPROTO;
    version = wire_get_u16(&r);
    if (!r.overrun && version != RDMA_PROTOCOL_VERSION)
        return -EPROTONOSUPPORT;
    got.flags = wire_get_u8(&r);
    got.path_mtu = wire_get_u8(&r);
    got.link_id = wire_get_u64(&r);
    got.lane = wire_get_u8(&r);
    got.lanes = wire_get_u8(&r);
    got.receive_depth = wire_get_u16(&r);
    got.message_bytes = wire_get_u16(&r);
    if (r.overrun || !hello_is_sane(&got))
        return -EPROTO;
    *hello = got;
    return 0;
}

size_t rdma_reject_pack(const char *text, uint8_t data[RDMA_REJECT_BYTES])
{
    struct wire_writer w = wire_writer(data, RDMA_REJECT_BYTES);

    wire_put_u32(&w, MAGIC);
    wire_put_u16(&w, RDMA_PROTOCOL_VERSION);
    wire_put_string(&w, text);
    return w.pos;
}

int rdma_reject_unpack(const void *data, size_t len_bytes, char *text, size_t text_bytes)
{
    struct wire_reader r = wire_reader(data, len_bytes);
    char got[RDMA_REJECT_BYTES];

    if (wire_get_u32(&r) != MAGIC)
        return -EPROTO;
    /* The text of another version's refusal is worth reading too: it may say just that. */
    wire_get_u16(&r);
    wire_get_string(&r, got, sizeof(got));
    if (r.overrun || strlen(got) >= text_bytes)
        return -EPROTO;
    strcpy(text, got);
    return 0;
}

/* ---- control messages --------------------------------------------------------------------- */

void rdma_header_pack(const struct rdma_header *header, uint8_t data[RDMA_HEADER_BYTES])
{
    struct wire_writer w = wire_writer(data, RDMA_HEADER_BYTES);

    wire_put_u8(&w, (uint8_t)header->kind);
    wire_put_u8(&w, 0);
    wire_put_u16(&w, header->credits);
    wire_put_u32(&w, header->len_bytes);
}

static bool length_fits_kind(uint8_t kind, uint32_t len_bytes)
{
    switch (kind) {
    case RDMA_MESSAGE:
        return len_bytes >= 1 && len_bytes <= RDMA_MESSAGE_BYTES;
    case RDMA_CREDITS:
    case RDMA_GOODBYE:
        return len_bytes == 0;
    case RDMA_KEYS:
        return len_bytes >= 12 && len_bytes <= RDMA_KEYS_BYTES;
    case RDMA_ARRIVED:
        return len_bytes == RDMA_ARRIVED_BYTES;
    case RDMA_REFUSED:
        return len_bytes <= RDMA_REASON_BYTES;
    default:
        return false;
    }
}

int rdma_header_unpack(const void *data, size_t message_bytes, struct rdma_header *header)
{
    struct wire_reader r = wire_reader(data, message_bytes);
    uint8_t kind = wire_get_u8(&r);
    uint8_t reserved = wire_get_u8(&r);
    uint16_t credits = wire_get_u16(&r);
    uint32_t len_bytes = wire_get_u32(&r);

    if (r.overrun || reserved != 0 || len_bytes != message_bytes - RDMA_HEADER_BYTES ||
        !length_fits_kind(kind, len_bytes))
        return -EPROTO;
    *header = (struct rdma_header){
        .kind = (enum rdma_kind)kind, .credits = credits, .len_bytes = len_bytes};
    return 0;
}

size_t rdma_keys_pack(const struct rdma_keys *keys, uint8_t data[RDMA_KEYS_BYTES])
{
    struct wire_writer w = wire_writer(data, RDMA_KEYS_BYTES);

    wire_put_u64(&w, keys->id);
    for (uint32_t i = 0; i < keys->lanes; i++)
        wire_put_u32(&w, keys->rkeys[i]);
    return w.pos;
}

int rdma_keys_unpack(const void *data, size_t len_bytes, struct rdma_keys *keys)
{
    struct wire_reader r = wire_reader(data, len_bytes);
    struct rdma_keys got = {.lanes = keys->lanes};

    got.id = wire_get_u64(&r);
    for (uint32_t i = 0; i < got.lanes; i++)
        got.rkeys[i] = wire_get_u32(&r);
    if (r.overrun || r.pos != len_bytes)
        return -EPROTO;
    *keys = got;
    return 0;
}

void rdma_arrived_pack(const struct rdma_arrived *arrived, uint8_t data[RDMA_ARRIVED_BYTES])
{
    struct wire_writer w = wire_writer(data, RDMA_ARRIVED_BYTES);

    wire_put_u32(&w, arrived->immediate);
    wire_put_u64(&w, arrived->len_bytes);
}

int rdma_arrived_unpack(const void *data, size_t len_bytes, struct rdma_arrived *arrived)
{
    struct wire_reader r = wire_reader(data, len_bytes);
    struct rdma_arrived got;

    got.immediate = wire_get_u32(&r);
    got.len_bytes = wire_get_u64(&r);
    if (r.overrun || r.pos != len_bytes)
        return -EPROTO;
    *arrived = got;
    return 0;
}
