/* Filling and checking generated messages. Owns nothing; pure after pattern_init. */
#include "pattern.h"

#include <endian.h>
#include <string.h>

#define NUMBER_BYTES 8
#define NUMBER_MASK  0xa5f152eb97c3d40eull /* so that zeroed memory is no message */

/* splitmix64 (Steele, Lea, Flood 2014): fixed noise from a fixed seed. */
static uint64_t noise_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void pattern_init(struct pattern *pattern)
{
    uint64_t state = 0x656d626172; /* "embar" */

    for (size_t i = 0; i < sizeof(pattern->noise); i += 8) {
        uint64_t word = htole64(noise_next(&state));

        memcpy(pattern->noise + i, &word, 8);
    }
}

/* The noise for piece `piece` of message `number`. An odd stride visits all places. */
static const unsigned char *piece_noise(const struct pattern *pattern, uint64_t number,
                                        uint64_t piece)
{
    return pattern->noise + (number + piece * 7) % PATTERN_PLACES * PATTERN_LINE_BYTES;
}

void pattern_fill(const struct pattern *pattern, uint64_t number, void *data, size_t len_bytes)
{
    unsigned char *to = data;
    uint64_t head = htole64(number ^ NUMBER_MASK);
    uint64_t piece = 0;

    if (len_bytes < NUMBER_BYTES) {
        memcpy(to, &head, len_bytes);
        return;
    }
    memcpy(to, &head, NUMBER_BYTES);
    to += NUMBER_BYTES;
    len_bytes -= NUMBER_BYTES;
    while (len_bytes > 0) {
        size_t len = len_bytes < PATTERN_PIECE_BYTES ? len_bytes : PATTERN_PIECE_BYTES;

        memcpy(to, piece_noise(pattern, number, piece++), len);
        to += len;
        len_bytes -= len;
    }
}

/* Called when a memcmp has found the two to differ. */
static size_t first_difference(const unsigned char *a, const unsigned char *b, size_t len_bytes)
{
    size_t i = 0;

    while (i < len_bytes && a[i] == b[i])
        i++;
    return i;
}

size_t pattern_check(const struct pattern *pattern, uint64_t number, const void *data,
                     size_t len_bytes)
{
    const unsigned char *from = data;
    uint64_t head = htole64(number ^ NUMBER_MASK);
    size_t at = len_bytes < NUMBER_BYTES ? len_bytes : NUMBER_BYTES;

    if (memcmp(from, &head, at) != 0)
        return first_difference(from, (const unsigned char *)&head, at);
    for (uint64_t piece = 0; at < len_bytes; piece++) {
        size_t len = len_bytes - at < PATTERN_PIECE_BYTES ? len_bytes - at : PATTERN_PIECE_BYTES;
        const unsigned char *noise = piece_noise(pattern, number, piece);

        if (memcmp(from + at, noise, len) != 0)
            return at + first_difference(from + at, noise, len);
        at += len;
    }
    return len_bytes;
}

unsigned char pattern_byte(const struct pattern *pattern, uint64_t number, size_t len_bytes,
                           size_t offset)
{
    uint64_t head = htole64(number ^ NUMBER_MASK);
    size_t at = offset - NUMBER_BYTES;

    if (len_bytes < NUMBER_BYTES || offset < NUMBER_BYTES)
        return ((const unsigned char *)&head)[offset];
    return piece_noise(pattern, number, at / PATTERN_PIECE_BYTES)[at % PATTERN_PIECE_BYTES];
}

bool pattern_number(const void *data, size_t len_bytes, uint64_t *number)
{
    uint64_t head;

    if (len_bytes < NUMBER_BYTES)
        return false;
    memcpy(&head, data, NUMBER_BYTES);
    *number = le64toh(head) ^ NUMBER_MASK;
    return true;
}
