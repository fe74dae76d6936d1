/* The settings of the rdma backend: what the option table fills in, and what follows from it. */
#ifndef RDMA_OPTIONS_H
#define RDMA_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/option.h"

enum rdma_completion { RDMA_COMPLETION_ADAPTIVE, RDMA_COMPLETION_POLL, RDMA_COMPLETION_EVENT };
enum rdma_key_kind { RDMA_KEY_AUTO, RDMA_KEY_WINDOW, RDMA_KEY_REGION };
enum rdma_arrival { RDMA_ARRIVAL_AUTO, RDMA_ARRIVAL_IMMEDIATE, RDMA_ARRIVAL_SEND };

struct rdma_options {
    char devices[OPTION_LIST_BYTES];  /* names; empty: all with an active port */
    char source[OPTION_STRING_BYTES]; /* local address of links that this side asks for */
    int64_t lanes;                    /* per link; the smaller of both sides' counts */
    int64_t send_queue_depth;         /* writes in flight per link */
    int64_t receive_depth;            /* receives posted per lane */
    uint64_t inline_limit;            /* bytes sent within the work request */
    int completion;                   /* enum rdma_completion */
    uint64_t spin_ns;                 /* adaptive: how long to poll before sleeping */
    int key;                          /* enum rdma_key_kind */
    int arrival;                      /* enum rdma_arrival */
    bool relaxed_ordering;
    int path_mtu;          /* index into auto, 256, 512, ... 4096 */
    int64_t traffic_class; /* -1: the system's */
    int64_t service_level; /* -1: the route's */
    uint64_t ack_timeout_ns;
    int64_t retry_count;
    int64_t rnr_retry;
    uint64_t min_rnr_timer_ns;
    uint64_t resolve_timeout_ns;
    uint64_t connect_timeout_ns;
    uint64_t liveness_ns;
    uint64_t disconnect_timeout_ns;
};

extern const struct option_table rdma_options;

/* enum ibv_mtu of the path_mtu setting; auto: the largest. */
uint8_t rdma_options_mtu(const struct rdma_options *options);

#endif
