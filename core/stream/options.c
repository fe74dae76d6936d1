/*
 * The option table of the stream level: key, type, default, bounds and help of every key that is
 * not a backend's. Constant data; config.c joins it with the tables of the backends. Keys of one
 * group stand together, because the table's order is the order of config/embar.yaml and of the man
 * page.
 */
#include "stream/options.h"

#include <stddef.h>

#include "common/clock.h"

#define FIELD(name) offsetof(struct stream_options, name)
#define KIB         (1ull << 10)
#define GIB         (1ull << 30)
#define DAY_NS      (24 * 3600 * NS_PER_S)

/* The order of each list is that of the enum which the field holds. */
static const char *const hugepages_choices[] = {"prefer", "require", "never", NULL};
static const char *const checksum_choices[] = {"crc32c", "none", NULL};
static const char *const ack_choices[] = {"sent", "placed", "consumed", NULL};
static const char *const slow_choices[] = {"block", "drop", "evict", NULL};
static const char *const progress_choices[] = {"adaptive", "poll", "event", NULL};

static const struct option options[] = {
    {
        .key = "transport",
        .type = OPTION_LIST,
        .offset = FIELD(transport),
        .default_value = "tcp",
        .unit = "names",
        .help = "One transport, or several in order of preference, of rdma, shm and tcp; 'auto' is "
                "shm, rdma, tcp. A listener listens on all of them.",
    },
    {
        .key = "stream",
        .type = OPTION_STRING,
        .offset = FIELD(stream),
        .default_value = "default",
        .help = "Name that publisher and subscriber must agree on.",
    },
    {
        .key = "publisher.connect",
        .type = OPTION_LIST,
        .offset = FIELD(publisher_connect),
        .default_value = "127.0.0.1:9400",
        .unit = "HOST:PORT",
        .help = "Subscribers that the publisher connects to. Setting publisher.listen replaces it.",
    },
    {
        .key = "publisher.listen",
        .type = OPTION_STRING,
        .offset = FIELD(publisher_listen),
        .default_value = "",
        .unit = "HOST:PORT",
        .help =
            "Where the publisher listens for subscribers; port 0 takes any free one. Setting it "
            "replaces publisher.connect.",
    },
    {
        .key = "publisher.min_subscribers",
        .type = OPTION_INT,
        .offset = FIELD(publisher_min_subscribers),
        .default_value = "1",
        .min = 1,
        .max = 1024,
        .unit = "subscribers",
        .help = "Subscribers that must have joined before the first batch goes out.",
    },
    {
        .key = "subscriber.listen",
        .type = OPTION_STRING,
        .offset = FIELD(subscriber_listen),
        .default_value = "127.0.0.1:9400",
        .unit = "HOST:PORT",
        .help = "Where the subscriber listens for publishers; port 0 takes any free one. Setting "
                "subscriber.connect replaces it.",
    },
    {
        .key = "subscriber.connect",
        .type = OPTION_LIST,
        .offset = FIELD(subscriber_connect),
        .default_value = "",
        .unit = "HOST:PORT",
        .help =
            "Publishers that the subscriber connects to. Setting it replaces subscriber.listen.",
    },
    {
        .key = "subscriber.max_links",
        .type = OPTION_INT,
        .offset = FIELD(subscriber_max_links),
        .default_value = "16",
        .min = 1,
        .max = 1024,
        .unit = "links",
        .help = "Publishers joined at the same time; each has a buffer of its own. One more is "
                "rejected with the reason.",
    },
    {
        .key = "subscriber.min_publishers",
        .type = OPTION_INT,
        .offset = FIELD(subscriber_min_publishers),
        .default_value = "1",
        .min = 1,
        .max = 1024,
        .unit = "publishers",
        .help = "Publishers that must have finished before embar-sub --once ends.",
    },
    {
        .key = "buffer.size",
        .type = OPTION_SIZE,
        .offset = FIELD(buffer_size),
        .default_value = "256MiB",
        .min = 8 * KIB,
        .max = 1024 * GIB,
        .help = "Size of one buffer. A publisher has one, a subscriber one for each link.",
    },
    {
        .key = "buffer.numa_node",
        .type = OPTION_INT,
        .offset = FIELD(numa_node),
        .default_value = "-1",
        .min = (uint64_t)-1,
        .max = 1023,
        .help = "NUMA node that buffers are bound to; -1 is where the thread runs.",
    },
    {
        .key = "hugepages",
        .type = OPTION_ENUM,
        .offset = FIELD(hugepages),
        .default_value = "prefer",
        .choices = hugepages_choices,
        .help =
            "Pages of the buffers: 'require' takes reserved huge pages or fails, 'prefer' falls "
            "back to transparent huge pages and then to ordinary ones, 'never' takes ordinary "
            "ones. EMBAR_USE_HUGETLB=1 in the environment is 'require', 0 is 'never'.",
    },
    {
        .key = "batch.size",
        .type = OPTION_SIZE,
        .offset = FIELD(batch_size),
        .default_value = "2MiB",
        .min = 4 * KIB,
        .max = 1 * GIB,
        .help = "Size of one slot, and so of the largest batch with its 64-byte header; a multiple "
                "of 64. A buffer must hold at least two.",
    },
    {
        .key = "batch.linger",
        .type = OPTION_DURATION,
        .offset = FIELD(batch_linger_ns),
        .default_value = "5ms",
        .min = 0,
        .max = 60 * NS_PER_S,
        .help = "A batch that is not full goes out after this time; 0 sends it at the next chance.",
    },
    {
        .key = "batch.in_flight",
        .type = OPTION_INT,
        .offset = FIELD(batch_in_flight),
        .default_value = "8",
        .min = 1,
        .max = 65536,
        .unit = "batches",
        .help = "Batches written and not yet consumed, for each link. Few keep the slots in cache.",
    },
    {
        .key = "checksum",
        .type = OPTION_ENUM,
        .offset = FIELD(checksum),
        .default_value = "crc32c",
        .choices = checksum_choices,
        .help = "Checksum of each batch's payload, checked by the subscriber.",
    },
    {
        .key = "ack",
        .type = OPTION_ENUM,
        .offset = FIELD(ack),
        .default_value = "consumed",
        .choices = ack_choices,
        .help =
            "How far a batch must have come at every subscriber before the publisher reuses its "
            "slot.",
    },
    {
        .key = "slow_subscriber",
        .type = OPTION_ENUM,
        .offset = FIELD(slow_subscriber),
        .default_value = "block",
        .choices = slow_choices,
        .help =
            "What happens when a subscriber has no slot free: 'block' waits for it, 'drop' leaves "
            "out batches and reports the gap, 'evict' ends its link.",
    },
    {
        .key = "slow_timeout",
        .type = OPTION_DURATION,
        .offset = FIELD(slow_timeout_ns),
        .default_value = "1s",
        .min = 0,
        .max = DAY_NS,
        .help =
            "How long a batch waits for a slow subscriber before slow_subscriber 'drop' or 'evict' "
            "acts.",
    },
    {
        .key = "progress",
        .type = OPTION_ENUM,
        .offset = FIELD(progress),
        .default_value = "adaptive",
        .choices = progress_choices,
        .help = "How a call waits: 'poll' spins, 'event' sleeps, 'adaptive' spins for a moment and "
                "then sleeps.",
    },
    {
        .key = "connect_timeout",
        .type = OPTION_DURATION,
        .offset = FIELD(connect_timeout_ns),
        .default_value = "10s",
        .min = 0,
        .max = DAY_NS,
        .help = "How long to go on trying to connect at the start; 0 tries once.",
    },
    {
        .key = "reconnect_timeout",
        .type = OPTION_DURATION,
        .offset = FIELD(reconnect_timeout_ns),
        .default_value = "30s",
        .min = 0,
        .max = DAY_NS,
        .help = "How long a lost link may take to come back before its peer counts as lost; 0 does "
                "not wait.",
    },
    {
        .key = "handshake_timeout",
        .type = OPTION_DURATION,
        .offset = FIELD(handshake_timeout_ns),
        .default_value = "5s",
        .min = 1 * NS_PER_MS,
        .max = DAY_NS,
        .help = "How long a new link may take from its first byte until it has joined the stream.",
    },
};

const struct option_table stream_options = {options, sizeof(options) / sizeof(options[0])};
