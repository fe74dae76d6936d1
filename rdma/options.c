/*
 * The option table of the rdma backend: the one source for parsing, --help, the man page and the
 * annotated configuration. What depends on the device is checked when one is put to use. Constant.
 */
#include "options.h"

#include <infiniband/verbs.h>
#include <stddef.h>

#include "common/clock.h"
#include "credit.h"
#include "protocol.h"

static const char *const completions[] = {"adaptive", "poll", "event", NULL};
static const char *const keys[] = {"auto", "window", "region", NULL};
static const char *const arrivals[] = {"auto", "immediate", "send", NULL};
static const char *const mtus[] = {"auto", "256", "512", "1024", "2048", "4096", NULL};

#define AT(field) offsetof(struct rdma_options, field)
#define MINUS_ONE ((uint64_t)-1)

static const struct option options[] = {
    {.key = "rdma.devices",
     .type = OPTION_LIST,
     .offset = AT(devices),
     .default_value = "",
     .help = "Names of the RDMA devices to use (`rdma link` shows them); "
             "empty: all that have an "
             "active port. Every buffer is registered, and its memory locked, "
             "once on each."},
    {.key = "rdma.source",
     .type = OPTION_STRING,
     .offset = AT(source),
     .default_value = "",
     .help = "Local IP address from which links are asked for, and so the "
             "device; empty: the route "
             "to the peer decides."},
    {.key = "rdma.lanes",
     .type = OPTION_INT,
     .offset = AT(lanes),
     .default_value = "1",
     .min = 1,
     .max = RDMA_LANES_MAX,
     .unit = "queue pairs",
     .help = "Queue pairs per link over which whole writes are spread. A link has "
             "as many as the "
             "side that wants fewer; with one, arrivals come in posting order."},
    {.key = "rdma.send_queue_depth",
     .type = OPTION_INT,
     .offset = AT(send_queue_depth),
     .default_value = "64",
     .min = 4,
     .max = RDMA_RECEIVES_MAX,
     .unit = "writes",
     .help = "Writes that may be in flight on a link; each of its lanes has room for all."},
    {.key = "rdma.receive_depth",
     .type = OPTION_INT,
     .offset = AT(receive_depth),
     .default_value = "256",
     .min = RDMA_RECEIVES_MIN,
     .max = RDMA_RECEIVES_MAX,
     .unit = "receives",
     .help = "Receives kept posted on a lane; the peer never has more writes "
             "and messages under way "
             "than that, so receiver-not-ready does not occur."},
    {.key = "rdma.inline_limit",
     .type = OPTION_SIZE,
     .offset = AT(inline_limit),
     .default_value = "128",
     .min = 0,
     .max = 1024,
     .unit = "bytes",
     .help = "Messages and writes up to this size travel within the work "
             "request; less where the "
             "device takes less."},
    {.key = "rdma.completion",
     .type = OPTION_ENUM,
     .offset = AT(completion),
     .default_value = "adaptive",
     .choices = completions,
     .help = "How completions are waited for: poll never sleeps, event sleeps "
             "at once, adaptive polls "
             "for rdma.spin and then sleeps."},
    {.key = "rdma.spin",
     .type = OPTION_DURATION,
     .offset = AT(spin_ns),
     .default_value = "20us",
     .min = 0,
     .max = NS_PER_S,
     .unit = "us",
     .help = "With rdma.completion adaptive: how long to poll after the last "
             "completion before "
             "sleeping."},
    {.key = "rdma.key",
     .type = OPTION_ENUM,
     .offset = AT(key),
     .default_value = "auto",
     .choices = keys,
     .help = "What the remote key of an exposed buffer belongs to: window (a "
             "memory window of the "
             "link's own queue pairs: no other link can use it), region (a "
             "memory region registered "
             "for the exposure: made slowly, and good for every link of the "
             "device for as long as it "
             "lasts), auto (windows where the device has them)."},
    {.key = "rdma.arrival",
     .type = OPTION_ENUM,
     .offset = AT(arrival),
     .default_value = "auto",
     .choices = arrivals,
     .help = "How the peer learns that a write is in place: immediate (RDMA "
             "write with immediate), "
             "send (a message behind the write, for iWARP), auto (what the "
             "device can)."},
    {.key = "rdma.relaxed_ordering",
     .type = OPTION_BOOL,
     .offset = AT(relaxed_ordering),
     .default_value = "true",
     .help = "Lets the PCIe bus reorder the bytes of a write on their way into "
             "a buffer; completions "
             "stay in order, control messages are not touched."},
    {.key = "rdma.path_mtu",
     .type = OPTION_ENUM,
     .offset = AT(path_mtu),
     .default_value = "auto",
     .choices = mtus,
     .unit = "bytes",
     .help = "The largest packet payload; a link uses the least of both sides' "
             "settings and what the "
             "interfaces carry (RoCE needs about 60 bytes more than that)."},
    {.key = "rdma.traffic_class",
     .type = OPTION_INT,
     .offset = AT(traffic_class),
     .default_value = "-1",
     .min = MINUS_ONE,
     .max = 255,
     .help = "Traffic class byte of RoCE v2 packets (DSCP in the upper six "
             "bits), often tied to a "
             "lossless queue of the switches; -1: the system's default."},
    {.key = "rdma.service_level",
     .type = OPTION_INT,
     .offset = AT(service_level),
     .default_value = "-1",
     .min = MINUS_ONE,
     .max = 15,
     .help = "InfiniBand service level, on RoCE the VLAN priority (0 .. 7); "
             "-1: the route's."},
    {.key = "rdma.ack_timeout",
     .type = OPTION_DURATION,
     .offset = AT(ack_timeout_ns),
     .default_value = "500ms",
     .min = 10 * NS_PER_US,
     .max = 60 * NS_PER_S,
     .unit = "ms",
     .help =
         "How long the device waits for an acknowledgement before it tries again, rounded up to "
         "4.096 us times a power of two (500ms becomes 537 ms). It gives up after this times "
         "rdma.retry_count + 1; devices may take up to four times as long."},
    {.key = "rdma.retry_count",
     .type = OPTION_INT,
     .offset = AT(retry_count),
     .default_value = "7",
     .min = 0,
     .max = 7,
     .unit = "retries",
     .help = "How often the device repeats what is not acknowledged before the link goes down. "
             "Soft-RoCE takes 7 for without end; then rdma.liveness ends the link."},
    {.key = "rdma.rnr_retry",
     .type = OPTION_INT,
     .offset = AT(rnr_retry),
     .default_value = "7",
     .min = 0,
     .max = 7,
     .unit = "retries",
     .help = "How often the device repeats after receiver-not-ready, which "
             "credits prevent; 7: "
             "without end."},
    {.key = "rdma.min_rnr_timer",
     .type = OPTION_DURATION,
     .offset = AT(min_rnr_timer_ns),
     .default_value = "640us",
     .min = 10 * NS_PER_US,
     .max = 655 * NS_PER_MS,
     .unit = "us",
     .help = "How long the peer's device waits after receiver-not-ready before "
             "it repeats, rounded "
             "up to what InfiniBand has a code for (10 us .. 655.36 ms)."},
    {.key = "rdma.resolve_timeout",
     .type = OPTION_DURATION,
     .offset = AT(resolve_timeout_ns),
     .default_value = "2s",
     .min = 10 * NS_PER_MS,
     .max = 600 * NS_PER_S,
     .unit = "ms",
     .help = "How long to wait for the neighbour's address, and again for the "
             "route."},
    {.key = "rdma.connect_timeout",
     .type = OPTION_DURATION,
     .offset = AT(connect_timeout_ns),
     .default_value = "10s",
     .min = 10 * NS_PER_MS,
     .max = 600 * NS_PER_S,
     .unit = "ms",
     .help = "How long one attempt to join two ends may take in all."},
    {.key = "rdma.liveness",
     .type = OPTION_DURATION,
     .offset = AT(liveness_ns),
     .default_value = "10s",
     .min = 100 * NS_PER_MS,
     .max = 3600 * NS_PER_S,
     .unit = "ms",
     .help = "A link whose peer's device acknowledges nothing for this long is "
             "down. When a third of "
             "it passes in silence, an empty write asks for a sign of life."},
    {.key = "rdma.disconnect_timeout",
     .type = OPTION_DURATION,
     .offset = AT(disconnect_timeout_ns),
     .default_value = "2s",
     .min = 10 * NS_PER_MS,
     .max = 60 * NS_PER_S,
     .unit = "ms",
     .help = "How long an orderly end waits for writes in flight and accepted "
             "messages."},
};

const struct option_table rdma_options = {options, sizeof(options) / sizeof(options[0])};

uint8_t rdma_options_mtu(const struct rdma_options *o)
{
    /* The choices after auto run as enum ibv_mtu does. */
    return o->path_mtu == 0 ? (uint8_t)IBV_MTU_4096 : (uint8_t)o->path_mtu;
}
