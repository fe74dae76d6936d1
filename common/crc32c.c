/* CRC32C through ISA-L, which picks the fastest code for the CPU at its first call. Pure. */
#include "common/crc32c.h"

#include <isa-l/crc.h>

/* ISA-L takes the length as an int. */
#define PIECE_BYTES ((size_t)1 << 30)

uint32_t crc32c(uint32_t crc, const void *data, size_t len_bytes)
{
    /* ISA-L reads only; its parameter lacks the const. */
    unsigned char *at = (unsigned char *)data;

    crc = ~crc;
    while (len_bytes > 0) {
        size_t piece = len_bytes < PIECE_BYTES ? len_bytes : PIECE_BYTES;
        crc = crc32_iscsi(at, (int)piece, crc);
        at += piece;
        len_bytes -= piece;
    }
    return ~crc;
}
