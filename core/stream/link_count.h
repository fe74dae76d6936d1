/* Adding up what the links counted, and the latency figures: the shared part of both stats calls.
 */
#ifndef STREAM_LINK_COUNT_H
#define STREAM_LINK_COUNT_H

#include <embar/embar.h>

#include "common/histogram.h"
#include "stream/endpoint.h"

/* Adds the counts of a link that is about to end. Once per link. */
void link_count_add(struct embar_stats *stats, const struct embar_link *link);

/* Adds the counts of all joined links that have not ended yet. */
void link_count_all(struct embar_stats *stats, const struct endpoint *endpoint);

/* Puts the quantiles into the stats. */
void histogram_latency(const struct histogram *histogram, struct embar_stats *stats);

#endif
