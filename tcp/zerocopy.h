/*
 * Completion ids of MSG_ZEROCOPY (Linux Documentation/networking/msg_zerocopy.rst): the kernel
 * numbers the successful zero-copy send calls of a socket from 0 modulo 2^32 and reports inclusive
 * ranges of numbers whose pages it no longer reads, late, coalesced and in any order. This tracker
 * says which calls are over. Pure; one per lane.
 */
#ifndef TCP_ZEROCOPY_H
#define TCP_ZEROCOPY_H

#include <stdbool.h>
#include <stdint.h>

/* Calls that may be outstanding at once; beyond that the sender copies. */
#define TCP_ZEROCOPY_WINDOW 1024u

struct tcp_zerocopy {
    uint32_t next;  /* the number of the next call */
    uint32_t floor; /* every call before this one is over */
    uint64_t
        over[TCP_ZEROCOPY_WINDOW / 64]; /* bit n % WINDOW: call n, floor <= n < next, is over */
    uint64_t sends;                     /* calls so far */
    uint64_t copied;                    /* calls for which the kernel copied all the same */
};

/* `first` is 0 for a new socket; a test may start elsewhere. */
void tcp_zerocopy_init(struct tcp_zerocopy *zerocopy, uint32_t first);

/* No more calls may be made until one is over. */
bool tcp_zerocopy_full(const struct tcp_zerocopy *zerocopy);

/* A zero-copy call succeeded (it took at least one byte); returns its number. Not when full. */
uint32_t tcp_zerocopy_sent(struct tcp_zerocopy *zerocopy);

/*
 * The kernel reported calls lo to hi, both included. Returns how many. -ERANGE, and nothing
 * changes, when one of them was never made or was reported before.
 */
int tcp_zerocopy_complete(struct tcp_zerocopy *zerocopy, uint32_t lo, uint32_t hi, bool copied);

/* Whether the call and all calls before it are over. Only for calls of the last 2^31. */
bool tcp_zerocopy_over(const struct tcp_zerocopy *zerocopy, uint32_t call);

uint32_t tcp_zerocopy_outstanding(const struct tcp_zerocopy *zerocopy);

#endif
