/*
 * The judgement over a peer's host. Owns nothing; runs on the transport's thread.
 */
#include "liveness.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/clock.h"

/* Window probes are single segments: one may be lost without a meaning. */
#define PROBES_DEAD 3

bool tcp_liveness_read(int fd, struct tcp_liveness_facts *facts)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        len < offsetof(struct tcp_info, tcpi_bytes_received))
        return false;
    *facts = (struct tcp_liveness_facts){
        .unacked_segments = info.tcpi_unacked,
        .unanswered_probes = info.tcpi_probes,
        .since_ack_ms = info.tcpi_last_ack_recv,
        .acked_bytes = info.tcpi_bytes_acked,
    };
    return true;
}

bool tcp_liveness_judge(struct tcp_liveness *liveness, const struct tcp_liveness_facts *facts,
                        uint64_t timeout_ns, uint64_t now_ns)
{
    uint64_t silence_ns = facts->since_ack_ms * NS_PER_MS;

    if (facts->unacked_segments == 0)
        liveness->waiting_since_ns = 0;
    else if (facts->acked_bytes != liveness->acked_bytes || liveness->waiting_since_ns == 0)
        liveness->waiting_since_ns = now_ns;
    liveness->acked_bytes = facts->acked_bytes;
    if (silence_ns < timeout_ns)
        return false;
    if (facts->unanswered_probes >= PROBES_DEAD)
        return true;
    return liveness->waiting_since_ns != 0 && now_ns - liveness->waiting_since_ns >= timeout_ns;
}
