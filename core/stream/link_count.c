/* Adding up what the links counted. Pure but for asking the links. */
#include "stream/link_count.h"

#include <stdio.h>

static void add_counts(struct embar_stats *stats, const struct embar_link_stats *of)
{
    stats->zerocopy_sends += of->zerocopy_sends;
    stats->zerocopy_copied += of->zerocopy_copied;
    stats->send_calls += of->send_calls;
    stats->receive_calls += of->receive_calls;
    stats->receiver_not_ready += of->receiver_not_ready;
    stats->registrations += of->registrations;
}

static void describe(struct embar_stats *stats, const struct embar_link *link,
                     const struct embar_link_stats *of)
{
    const struct embar_transport_caps *caps = embar_transport_caps(embar_link_transport(link));

    stats->lanes = of->lanes;
    stats->lane_threads = of->lane_threads;
    snprintf(stats->transport, sizeof stats->transport, "%s", caps->name);
    snprintf(stats->send_mode, sizeof stats->send_mode, "%s", of->send_mode ? of->send_mode : "");
    snprintf(stats->send_mode_why, sizeof stats->send_mode_why, "%s", of->send_mode_why);
}

void link_count_add(struct embar_stats *stats, const struct embar_link *link)
{
    struct embar_link_stats of;

    embar_link_stats(link, &of);
    add_counts(stats, &of);
    describe(stats, link, &of);
}

void link_count_all(struct embar_stats *stats, const struct endpoint *endpoint)
{
    bool described = false;

    for (const struct conn *conn = endpoint->conns; conn; conn = conn->next) {
        struct embar_link_stats of;

        if (conn->state != CONN_JOINED && conn->state != CONN_LEAVING)
            continue;
        embar_link_stats(conn->link, &of);
        add_counts(stats, &of);
        if (!described)
            describe(stats, conn->link, &of); /* the list begins with the latest */
        described = true;
    }
}

void histogram_latency(const struct histogram *histogram, struct embar_stats *stats)
{
    stats->latency_ns_p50 = histogram_quantile(histogram, 0.5);
    stats->latency_ns_p90 = histogram_quantile(histogram, 0.9);
    stats->latency_ns_p99 = histogram_quantile(histogram, 0.99);
    stats->latency_ns_p999 = histogram_quantile(histogram, 0.999);
    stats->latency_ns_max = histogram->max;
}
