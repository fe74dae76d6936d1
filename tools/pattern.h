/*
 * The contents of generated messages. Message number n of L bytes begins with n (64 bits, little
 * endian, XORed with a constant; as many of its bytes as L allows) and goes on with a fixed block
 * of noise, entered at a place that depends on n and on the position, so that a byte out of place,
 * a swapped piece and a swapped message all show. Filling and checking are memcpy and memcmp
 * against a block that stays in the cache. Pure after pattern_init.
 */
#ifndef TOOLS_PATTERN_H
#define TOOLS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_PIECE_BYTES 65536 /* what is copied at a time */
#define PATTERN_PLACES      64    /* a piece begins at one of these, a cache line apart */
#define PATTERN_LINE_BYTES  64

struct pattern {
    _Alignas(PATTERN_LINE_BYTES) unsigned char noise[PATTERN_PIECE_BYTES +
                                                     PATTERN_PLACES * PATTERN_LINE_BYTES];
};

void pattern_init(struct pattern *pattern);

void pattern_fill(const struct pattern *pattern, uint64_t number, void *data, size_t len_bytes);

/* Offset of the first byte that is not as pattern_fill writes it; `len_bytes` when all are. */
size_t pattern_check(const struct pattern *pattern, uint64_t number, const void *data,
                     size_t len_bytes);

/* The byte that belongs at `offset`. */
unsigned char pattern_byte(const struct pattern *pattern, uint64_t number, size_t len_bytes,
                           size_t offset);

/* The number that a message carries; false when it is too short to carry all of it. */
bool pattern_number(const void *data, size_t len_bytes, uint64_t *number);

#endif
