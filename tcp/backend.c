/*
 * The TCP backend as core sees it. Constant.
 */
#include "tcp.h"

extern const struct backend backend_tcp;

const struct backend backend_tcp = {
    .name = "tcp",
    .summary = "TCP over IPv4 and IPv6; zero-copy sends where the kernel can",
    .options = &tcp_options,
    .settings_size = sizeof(struct tcp_settings),
    .caps =
        {
            .name = "tcp",
            .flags = EMBAR_CAP_ORDERED,
            .max_writes = TCP_MAX_WRITES,
            .max_write_bytes = TCP_MAX_WRITE_BYTES,
            .max_send_bytes = TCP_MAX_SEND_BYTES,
        },
    .transport_size = sizeof(struct tcp_transport),
    .listener_size = sizeof(struct tcp_listener),
    .link_size = sizeof(struct tcp_link),
    .transport = &tcp_transport_ops,
    .listener = &tcp_listener_ops,
    .link = &tcp_link_ops,
    .buffer = &tcp_buffer_ops,
    .data = &tcp_data_ops,
    .loan = &backend_loans_none,
};
