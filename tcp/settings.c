/*
 * The option table of the TCP backend. Constant; any thread.
 */
#include "settings.h"

#include "common/clock.h"
#include "frame.h"

#define AT(field) offsetof(struct tcp_settings, field)

static const char *const send_modes[] = {"auto", "zerocopy", "splice", "copy", NULL};
static const char *const lane_threads[] = {"auto", "yes", "no", NULL};

static const struct option options[] = {
    {.key = "tcp.send_mode",
     .type = OPTION_ENUM,
     .offset = AT(send_mode),
     .default_value = "auto",
     .choices = send_modes,
     .help =
         "How large payloads are handed to the kernel: zerocopy (MSG_ZEROCOPY), splice (vmsplice "
         "and splice through a pipe, also without a copy on loopback and veth), or copy. auto "
         "begins with zerocopy, changes to the faster of splice and copy where the kernel copies "
         "all the same, and probes again from time to time."},
    {.key = "tcp.lanes",
     .type = OPTION_INT,
     .offset = AT(lanes),
     .default_value = "1",
     .min = 1,
     .max = TCP_MAX_LANES,
     .unit = "connections",
     .help = "Connections per link over which whole writes are spread. A link has as many as the "
             "side that wants fewer; with one, arrivals come in posting order."},
    {.key = "tcp.lane_threads",
     .type = OPTION_ENUM,
     .offset = AT(lane_threads),
     .default_value = "auto",
     .choices = lane_threads,
     .help = "Whether each lane has a thread of its own that sends and receives large payloads, or "
             "the thread that polls serves all. auto: when a link has several lanes and the "
             "process may run on a processor for each of them and one more."},
    {.key = "tcp.lane_thread_limit",
     .type = OPTION_SIZE,
     .offset = AT(lane_thread_limit),
     .default_value = "256KiB",
     .min = 1,
     .max = 1u << 30,
     .unit = "bytes",
     .help = "Payload that must wait, or be about to arrive, before a lane's thread is given it; "
             "below it handing over costs more than it saves."},
    {.key = "tcp.zero_copy_send_limit",
     .type = OPTION_SIZE,
     .offset = AT(zero_copy_send_limit),
     .default_value = "64KiB",
     .min = 1,
     .max = 1u << 30,
     .unit = "bytes",
     .help =
         "Smallest payload that is sent from its pages; below it copying is cheaper than pinning."},
    {.key = "tcp.send_buffer",
     .type = OPTION_SIZE,
     .offset = AT(send_buffer),
     .default_value = "0",
     .max = 1u << 30,
     .unit = "bytes",
     .help = "SO_SNDBUF of each connection; 0 leaves it to the kernel's autotuning "
             "(net.ipv4.tcp_wmem). More than net.core.wmem_max needs that raised."},
    {.key = "tcp.receive_buffer",
     .type = OPTION_SIZE,
     .offset = AT(receive_buffer),
     .default_value = "0",
     .max = 1u << 30,
     .unit = "bytes",
     .help = "SO_RCVBUF of each connection; 0 leaves it to the kernel's autotuning "
             "(net.ipv4.tcp_rmem). More than net.core.rmem_max needs that raised."},
    {.key = "tcp.congestion_control",
     .type = OPTION_STRING,
     .offset = AT(congestion_control),
     .default_value = "",
     .help = "TCP congestion control of each connection, e.g. cubic or bbr; empty: the system's "
             "(net.ipv4.tcp_congestion_control)."},
    {.key = "tcp.nodelay",
     .type = OPTION_BOOL,
     .offset = AT(nodelay),
     .default_value = "true",
     .help = "TCP_NODELAY: control messages and the ends of batches go out at once."},
    {.key = "tcp.user_timeout",
     .type = OPTION_DURATION,
     .offset = AT(user_timeout_ns),
     .default_value = "10s",
     .max = 3600 * NS_PER_S,
     .unit = "ms",
     .help =
         "How long the peer's host may leave data unacknowledged before the link ends (RFC 5482); "
         "0: as long as the kernel retransmits. A peer that lives but does not read stalls its "
         "link and never ends it."},
    {.key = "tcp.keepalive_idle",
     .type = OPTION_DURATION,
     .offset = AT(keepalive_idle_ns),
     .default_value = "5s",
     .max = 32767 * NS_PER_S,
     .unit = "s",
     .help =
         "Silence after which the kernel probes whether the peer's host lives, in whole seconds; "
         "0: no keepalive."},
    {.key = "tcp.keepalive_interval",
     .type = OPTION_DURATION,
     .offset = AT(keepalive_interval_ns),
     .default_value = "2s",
     .min = NS_PER_S,
     .max = 32767 * NS_PER_S,
     .unit = "s",
     .help = "Between keepalive probes, in whole seconds."},
    {.key = "tcp.keepalive_count",
     .type = OPTION_INT,
     .offset = AT(keepalive_count),
     .default_value = "3",
     .min = 1,
     .max = 127,
     .unit = "probes",
     .help = "Unanswered keepalive probes that end the link."},
    {.key = "tcp.dscp",
     .type = OPTION_INT,
     .offset = AT(dscp),
     .default_value = "0",
     .min = 0,
     .max = 63,
     .help = "Differentiated services code point of the packets (RFC 2474)."},
    {.key = "tcp.connect_timeout",
     .type = OPTION_DURATION,
     .offset = AT(connect_timeout_ns),
     .default_value = "5s",
     .min = NS_PER_MS,
     .max = 3600 * NS_PER_S,
     .unit = "ms",
     .help = "How long one attempt to connect may take, the peer's answer included."},
    {.key = "tcp.handshake_timeout",
     .type = OPTION_DURATION,
     .offset = AT(handshake_timeout_ns),
     .default_value = "5s",
     .min = NS_PER_MS,
     .max = 3600 * NS_PER_S,
     .unit = "ms",
     .help = "How long a connection to a listener may stay silent before it asks for a link."},
    {.key = "tcp.close_timeout",
     .type = OPTION_DURATION,
     .offset = AT(close_timeout_ns),
     .default_value = "2s",
     .min = NS_PER_MS,
     .max = 3600 * NS_PER_S,
     .unit = "ms",
     .help =
         "How long an ending link waits, without progress, for the peer to take what was accepted "
         "before."},
    {.key = "tcp.backlog",
     .type = OPTION_INT,
     .offset = AT(backlog),
     .default_value = "128",
     .min = 1,
     .max = 65535,
     .unit = "connections",
     .help = "Connections that may wait to be taken by a listener (listen(2))."},
};

const struct option_table tcp_options = {options, sizeof(options) / sizeof(options[0])};
