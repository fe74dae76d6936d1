/*
 * Whether the peer's host still lives, judged from TCP_INFO. The kernel's own TCP_USER_TIMEOUT is
 * not used, because it also ends a connection whose peer lives and answers window probes but does
 * not read: a stalled subscriber must stall its publisher, not lose it (docs/decisions/010). Pure,
 * but for tcp_liveness_read.
 */
#ifndef TCP_LIVENESS_H
#define TCP_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

/* What is looked at. */
struct tcp_liveness_facts {
    uint32_t unacked_segments;  /* sent, not acknowledged */
    uint32_t unanswered_probes; /* window and keepalive probes since the last answer */
    uint32_t since_ack_ms;      /* since the last acknowledgement came */
    uint64_t acked_bytes;       /* ever */
};

struct tcp_liveness {
    uint64_t acked_bytes;      /* at the last look */
    uint64_t waiting_since_ns; /* data lie unacknowledged without progress since; 0: they do not */
};

/* false: the kernel does not say; the kernel's retransmission limit remains. */
bool tcp_liveness_read(int fd, struct tcp_liveness_facts *facts);

/* true: the host is taken for dead. To be asked every timeout / 4. */
bool tcp_liveness_judge(struct tcp_liveness *liveness, const struct tcp_liveness_facts *facts,
                        uint64_t timeout_ns, uint64_t now_ns);

#endif
