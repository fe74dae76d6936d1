/* CRC32C (Castagnoli, RFC 3720 section 12.1; the iSCSI polynomial 0x1EDC6F41) through ISA-L. Pure.
 */
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Start with crc 0; feed the result in again to go on. crc32c(0, "123456789", 9) is 0xE3069283. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len_bytes);

#endif
