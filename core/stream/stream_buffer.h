/*
 * One buffer of the stream level, known to every transport of the endpoint: allocated by one,
 * adopted by the others when they first need it, so that a batch can go on over another transport.
 */
#ifndef STREAM_BUFFER_H
#define STREAM_BUFFER_H

#include <embar/embar.h>

#include "stream/endpoint.h"

struct stream_buffer {
    struct endpoint *endpoint;
    struct embar_buffer *on[ENDPOINT_TRANSPORTS]; /* owned */
    unsigned owner; /* the transport that allocated it; its handle is freed last */
    uint8_t *addr;
    uint32_t access;
    struct embar_buffer_info info;
};

/* Allocates by options->buffer_size, hugepages and numa_node on the endpoint's transport `owner`.
 */
int stream_buffer_open(struct stream_buffer *buffer, struct endpoint *endpoint, unsigned owner,
                       uint32_t access, struct embar_diag *diag);

/* The handle on a transport; adopts there at first. */
int stream_buffer_on(struct stream_buffer *buffer, unsigned transport, struct embar_buffer **on,
                     struct embar_diag *diag);

/* Frees; harmless on a zeroed struct. Neither exposed nor with writes in flight. */
void stream_buffer_close(struct stream_buffer *buffer);

/* Puts kind and count of the pages into the stats: the worst kind of all, the sum of all. */
void stream_buffer_count(const struct stream_buffer *buffer, struct embar_stats *stats);

#endif
