/*
 * Which lane takes a write: the one over which it is expected to have arrived first, by the bytes
 * that are under way there and the rate at which the kernel sees that path deliver. So a slow lane
 * gets what it can carry while the others are busy, and is not waited for. Runs on the transport's
 * thread.
 */
#include <inttypes.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/log.h"
#include "socket.h"
#include "tcp.h"

/* Bytes a second, as of the latest acknowledgements (Linux 4.9); 0: not known. */
static uint64_t delivery_rate(const struct tcp_lane *lane)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(lane->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        len < offsetof(struct tcp_info, tcpi_busy_time))
        return 0;
    return info.tcpi_delivery_rate;
}

/* Seconds until a write of `len_bytes` will have arrived. Without a rate only the bytes count, as
 * on the fastest of paths: such a lane is tried. What was handed over by copying is over for its
 * source, but still has its way to go; what the kernel sends from its pages counts in both. */
static double expected_delay(const struct tcp_lane *lane, uint64_t len_bytes)
{
    uint64_t under_way = lane->outstanding_bytes + tcp_socket_unacked(lane->fd);
    uint64_t rate = delivery_rate(lane);

    return (double)(under_way + len_bytes) / (rate > 0 ? (double)rate : 1e12);
}

struct tcp_lane *tcp_spread_lane(struct tcp_link *link, uint64_t len_bytes)
{
    struct tcp_lane *best = &link->lanes[link->next_lane];
    double least;

    if (link->lane_count == 1)
        return best;
    /* Begins behind the last one, so that lanes with equal loads take turns. */
    least = expected_delay(best, len_bytes);
    for (uint32_t i = 1; i < link->lane_count; i++) {
        struct tcp_lane *lane = &link->lanes[(link->next_lane + i) % link->lane_count];
        double delay = expected_delay(lane, len_bytes);

        if (delay < least) {
            least = delay;
            best = lane;
        }
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
