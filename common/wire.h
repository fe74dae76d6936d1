/*
 * Packing and unpacking of fixed-width little-endian fields. A cursor with a sticky error: once a
 * read or write would pass the end, `overrun` is set, reads give 0 and writes do nothing, so that a
 * parser checks once at its end. Pure.
 */
#ifndef COMMON_WIRE_H
#define COMMON_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_reader {
    const uint8_t *data; /* borrowed */
    size_t len_bytes, pos;
    bool overrun;
};

struct wire_writer {
    uint8_t *data; /* borrowed */
    size_t len_bytes, pos;
    bool overrun;
};

struct wire_reader wire_reader(const void *data, size_t len_bytes);
struct wire_writer wire_writer(void *data, size_t len_bytes);

uint8_t wire_get_u8(struct wire_reader *r);
uint16_t wire_get_u16(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
/* A borrowed pointer to `len` bytes, or NULL past the end. */
const uint8_t *wire_get_bytes(struct wire_reader *r, size_t len);
/* A string of u16 length and bytes, copied and NUL-terminated; overrun if it is longer than fits or
 * holds a NUL. */
void wire_get_string(struct wire_reader *r, char *text, size_t text_bytes);

void wire_put_u8(struct wire_writer *w, uint8_t v);
void wire_put_u16(struct wire_writer *w, uint16_t v);
void wire_put_u32(struct wire_writer *w, uint32_t v);
void wire_put_u64(struct wire_writer *w, uint64_t v);
void wire_put_bytes(struct wire_writer *w, const void *data, size_t len);
void wire_put_string(struct wire_writer *w, const char *text);

#endif
