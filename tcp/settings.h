/* The settings of the TCP backend: the target of its option table, keys `tcp.*`. */
#ifndef TCP_SETTINGS_H
#define TCP_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/option.h"

/* Values of tcp.lane_threads, in the order of its option's choices. */
enum tcp_lane_threads { TCP_LANE_THREADS_AUTO = 0, TCP_LANE_THREADS_YES, TCP_LANE_THREADS_NO };

struct tcp_settings {
    int send_mode; /* enum tcp_send_setting */
    uint64_t zero_copy_send_limit;
    uint64_t send_buffer, receive_buffer;
    char congestion_control[OPTION_STRING_BYTES];
    bool nodelay;
    uint64_t user_timeout_ns;
    uint64_t keepalive_idle_ns, keepalive_interval_ns;
    int64_t keepalive_count;
    int64_t dscp;
    uint64_t connect_timeout_ns, handshake_timeout_ns, close_timeout_ns;
    int64_t backlog;
    int64_t lanes;
    int lane_threads; /* enum tcp_lane_threads */
    uint64_t lane_thread_limit;
};

extern const struct option_table tcp_options;

#endif
