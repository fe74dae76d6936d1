/*
 * Which lane takes a write: the one with the fewest bytes that are not over yet, so that a slow
 * lane gets less and none is ever waited for while another has room. Runs on the transport's
 * thread.
 */
#include <inttypes.h>

#include "common/log.h"
#include "tcp.h"

struct tcp_lane *tcp_spread_lane(struct tcp_link *link)
{
    struct tcp_lane *best = &link->lanes[0];

    if (link->lane_count == 1)
        return best;
    /* Begins behind the last one, so that lanes with equal loads take turns. */
    best = &link->lanes[link->next_lane];
    for (uint32_t i = 1; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[(link->next_lane + i) % link->lane_count];

        if (lane->outstanding_bytes < best->outstanding_bytes)
            best = lane;
    }
    link->next_lane = (best->index + 1) % link->lane_count;
    return best;
}

void tcp_spread_log(const struct tcp_link *link)
{
    if (link->lane_count == 1)
        return;
    for (uint32_t i = 0; i < link->lane_count; i++) {
        const struct tcp_lane *lane = &link->lanes[i];

        log_info("link %" PRIu64 ": lane %" PRIu32 " of %" PRIu32 " sent %" PRIu64
                 " and received %" PRIu64 " bytes",
                 embar_link_id(link->link), i, link->lane_count, lane->tx.handed_bytes,
                 lane->rx.received_bytes);
    }
}
