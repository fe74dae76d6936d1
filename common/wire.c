/*
 * Little-endian packing and unpacking with a sticky error. Works on memory that the caller owns;
 * pure.
 */
#include "common/wire.h"

#include <endian.h>
#include <string.h>

struct wire_reader wire_reader(const void *data, size_t len_bytes)
{
    return (struct wire_reader){.data = data, .len_bytes = len_bytes};
}

struct wire_writer wire_writer(void *data, size_t len_bytes)
{
    return (struct wire_writer){.data = data, .len_bytes = len_bytes};
}

const uint8_t *wire_get_bytes(struct wire_reader *r, size_t len)
{
    if (r->overrun || len > r->len_bytes - r->pos) {
        r->overrun = true;
        return NULL;
    }
    const uint8_t *at = r->data + r->pos;
    r->pos += len;
    return at;
}

uint8_t wire_get_u8(struct wire_reader *r)
{
    const uint8_t *at = wire_get_bytes(r, 1);

    return at ? *at : 0;
}

uint16_t wire_get_u16(struct wire_reader *r)
{
    uint16_t v = 0;
    const uint8_t *at = wire_get_bytes(r, sizeof(v));

    if (at)
        memcpy(&v, at, sizeof(v));
    return le16toh(v);
}

uint32_t wire_get_u32(struct wire_reader *r)
{
    uint32_t v = 0;
    const uint8_t *at = wire_get_bytes(r, sizeof(v));

    if (at)
        memcpy(&v, at, sizeof(v));
    return le32toh(v);
}

uint64_t wire_get_u64(struct wire_reader *r)
{
    uint64_t v = 0;
    const uint8_t *at = wire_get_bytes(r, sizeof(v));

    if (at)
        memcpy(&v, at, sizeof(v));
    return le64toh(v);
}

void wire_get_string(struct wire_reader *r, char *text, size_t text_bytes)
{
    size_t len = wire_get_u16(r);
    const uint8_t *at = wire_get_bytes(r, len);

    text[0] = '\0';
    if (!at)
        return;
    if (len >= text_bytes || memchr(at, '\0', len)) {
        r->overrun = true;
        return;
    }
    memcpy(text, at, len);
    text[len] = '\0';
}

void wire_put_bytes(struct wire_writer *w, const void *data, size_t len)
{
    if (w->overrun || len > w->len_bytes - w->pos) {
        w->overrun = true;
        return;
    }
    if (len > 0)
        memcpy(w->data + w->pos, data, len);
    w->pos += len;
}

void wire_put_u8(struct wire_writer *w, uint8_t v)
{
    wire_put_bytes(w, &v, sizeof(v));
}

void wire_put_u16(struct wire_writer *w, uint16_t v)
{
    v = htole16(v);
    wire_put_bytes(w, &v, sizeof(v));
}

void wire_put_u32(struct wire_writer *w, uint32_t v)
{
    v = htole32(v);
    wire_put_bytes(w, &v, sizeof(v));
}

void wire_put_u64(struct wire_writer *w, uint64_t v)
{
    v = htole64(v);
    wire_put_bytes(w, &v, sizeof(v));
}

void wire_put_string(struct wire_writer *w, const char *text)
{
    size_t len = strlen(text);

    /* Nothing of a string that does not fit is written, not even its length. */
    if (w->overrun || len > UINT16_MAX || len + sizeof(uint16_t) > w->len_bytes - w->pos) {
        w->overrun = true;
        return;
    }
    wire_put_u16(w, (uint16_t)len);
    wire_put_bytes(w, text, len);
}
