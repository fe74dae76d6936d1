/*
 * Between the milliseconds of the configuration and the codes of the InfiniBand specification.
 * Pure.
 */
#ifndef RDMA_TIMING_H
#define RDMA_TIMING_H

#include <stdint.h>

/* The smallest code (1 .. 31) whose 4.096 us * 2^code is at least that long: an ACK timeout is
 * rounded up to a power of two. InfiniBand Architecture Specification 1, section 9.7.6.1.3. */
uint8_t rdma_ack_timeout_code(uint64_t timeout_ns);
uint64_t rdma_ack_timeout_ns(uint8_t code);

/* The code (1 .. 31, or 0 for the longest, 655.36 ms) of the shortest RNR NAK timer that is at
 * least that long. Table 45 of the specification. */
uint8_t rdma_rnr_timer_code(uint64_t timeout_ns);
uint64_t rdma_rnr_timer_ns(uint8_t code);

/* How long a device tries before it gives up a request that nobody acknowledges: the first try and
 * `retries` more. The specification allows a device to wait up to four times as long for each. */
uint64_t rdma_dead_cable_ns(uint8_t ack_timeout_code, uint8_t retries);

#endif
