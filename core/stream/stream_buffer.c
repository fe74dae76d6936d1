/* Allocating a buffer once and making it known to several transports. Owns the handles. */
#include "stream/stream_buffer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "common/memory.h"

int stream_buffer_open(struct stream_buffer *buffer, struct endpoint *endpoint, unsigned owner,
                       uint32_t access, struct embar_diag *diag)
{
    const struct stream_options *options = endpoint->options;
    struct embar_buffer_options wanted = {
        .hugepages = (enum embar_hugepages)options->hugepages,
        .numa_node = (int)options->numa_node,
        .access = access,
    };
    struct embar_buffer *on;
    int rc = embar_buffer_alloc(endpoint->transports[owner].transport, options->buffer_size,
                                &wanted, &on, diag);

    if (rc < 0) {
        diag_prefix(diag, "no buffer of %" PRIu64 " MiB", options->buffer_size >> 20);
        return rc;
    }
    memset(buffer, 0, sizeof *buffer);
    buffer->endpoint = endpoint;
    buffer->owner = owner;
    buffer->access = access;
    buffer->on[owner] = on;
    embar_buffer_info(on, &buffer->info);
    buffer->addr = buffer->info.addr;
    return 0;
}

int stream_buffer_on(struct stream_buffer *buffer, unsigned transport, struct embar_buffer **on,
                     struct embar_diag *diag)
{
    if (!buffer->on[transport]) {
        int rc = embar_buffer_adopt(buffer->endpoint->transports[transport].transport, buffer->addr,
                                    buffer->info.size_bytes, buffer->access, &buffer->on[transport],
                                    diag);
        if (rc < 0)
            return rc;
    }
    *on = buffer->on[transport];
    return 0;
}

void stream_buffer_close(struct stream_buffer *buffer)
{
    if (!buffer->addr)
        return;
    for (unsigned t = 0; t < ENDPOINT_TRANSPORTS; t++)
        if (buffer->on[t] && t != buffer->owner && embar_buffer_free(buffer->on[t]) < 0)
            log_error("a buffer was in use when it was freed");
    if (embar_buffer_free(buffer->on[buffer->owner]) < 0)
        log_error("a buffer was in use when it was freed");
    memset(buffer, 0, sizeof *buffer);
}

void stream_buffer_count(const struct stream_buffer *buffer, struct embar_stats *stats)
{
    static const enum embar_page_kind worse[] = {EMBAR_PAGES_ORDINARY, EMBAR_PAGES_THP,
                                                 EMBAR_PAGES_HUGETLB};

    if (!buffer->addr)
        return;
    stats->buffer_bytes += buffer->info.size_bytes;
    stats->page_count += buffer->info.page_count;
    for (size_t i = 0; i < sizeof worse / sizeof *worse; i++) {
        const char *name = memory_kind_name(worse[i]);

        if (strcmp(stats->page_kind, name) == 0)
            return; /* one as bad or worse is there already */
        if (worse[i] == buffer->info.kind) {
            snprintf(stats->page_kind, sizeof stats->page_kind, "%s", name);
            return;
        }
    }
}
