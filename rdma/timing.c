/*
 * Durations and their codes on the wire: see timing.h. Pure.
 */
#include "timing.h"

#define ACK_UNIT_NS  4096u
#define ACK_CODE_MAX 31

/* Hundredths of a millisecond by code; code 0 is the longest. */
static const uint32_t rnr_timers[32] = {65536, 1,    2,    3,     4,     6,     8,     12,
                                        16,    24,   32,   48,    64,    96,    128,   192,
                                        256,   384,  512,  768,   1024,  1536,  2048,  3072,
                                        4096,  6144, 8192, 12288, 16384, 24576, 32768, 49152};

uint64_t rdma_ack_timeout_ns(uint8_t code)
{
    return (uint64_t)ACK_UNIT_NS << code;
}

uint8_t rdma_ack_timeout_code(uint64_t timeout_ns)
{
    uint8_t code = 1;

    while (code < ACK_CODE_MAX && rdma_ack_timeout_ns(code) < timeout_ns)
        code++;
    return code;
}

uint64_t rdma_rnr_timer_ns(uint8_t code)
{
    return (uint64_t)rnr_timers[code & 31] * 10000u;
}

uint8_t rdma_rnr_timer_code(uint64_t timeout_ns)
{
    uint8_t code = 1;

    while (code < 31 && rdma_rnr_timer_ns(code) < timeout_ns)
        code++;
    return rdma_rnr_timer_ns(code) < timeout_ns ? 0 : code;
}

uint64_t rdma_dead_cable_ns(uint8_t ack_timeout_code, uint8_t retries)
{
    return rdma_ack_timeout_ns(ack_timeout_code) * (retries + 1u);
}
