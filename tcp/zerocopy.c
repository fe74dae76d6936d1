/*
 * The tracker of zero-copy completion ids: a window of bits behind a floor that rises over what is
 * complete. A call counts as over only when all earlier ones are: TCP acknowledges in order, so
 * this costs no time, and it can only err on the side of keeping a source too long. Pure; owns
 * nothing.
 */
#include "zerocopy.h"

#include <errno.h>

static uint64_t bit_of(uint32_t call)
{
    return UINT64_C(1) << (call % 64);
}

static uint64_t *word_of(struct tcp_zerocopy *zerocopy, uint32_t call)
{
    return &zerocopy->over[call % TCP_ZEROCOPY_WINDOW / 64];
}

void tcp_zerocopy_init(struct tcp_zerocopy *zerocopy, uint32_t first)
{
    *zerocopy = (struct tcp_zerocopy){.next = first, .floor = first};
}

uint32_t tcp_zerocopy_outstanding(const struct tcp_zerocopy *zerocopy)
{
    return zerocopy->next - zerocopy->floor;
}

bool tcp_zerocopy_full(const struct tcp_zerocopy *zerocopy)
{
    return tcp_zerocopy_outstanding(zerocopy) >= TCP_ZEROCOPY_WINDOW;
}

uint32_t tcp_zerocopy_sent(struct tcp_zerocopy *zerocopy)
{
    zerocopy->sends++;
    return zerocopy->next++;
}

int tcp_zerocopy_complete(struct tcp_zerocopy *zerocopy, uint32_t lo, uint32_t hi, bool copied)
{
    uint32_t count = hi - lo + 1;
    uint32_t from_floor = lo - zerocopy->floor;
    uint32_t outstanding = tcp_zerocopy_outstanding(zerocopy);

    /* A range of all 2^32 numbers has count 0. */
    if (count == 0 || from_floor >= outstanding || count > outstanding - from_floor)
        return -ERANGE;
    for (uint32_t i = 0; i < count; i++) {
        if (*word_of(zerocopy, lo + i) & bit_of(lo + i))
            return -ERANGE;
    }
    for (uint32_t i = 0; i < count; i++)
        *word_of(zerocopy, lo + i) |= bit_of(lo + i);
    while (zerocopy->floor != zerocopy->next &&
           (*word_of(zerocopy, zerocopy->floor) & bit_of(zerocopy->floor))) {
        *word_of(zerocopy, zerocopy->floor) &= ~bit_of(zerocopy->floor);
        zerocopy->floor++;
    }
    zerocopy->copied += copied ? count : 0;
    return (int)count;
}

bool tcp_zerocopy_over(const struct tcp_zerocopy *zerocopy, uint32_t call)
{
    return (int32_t)(zerocopy->floor - call) > 0;
}
