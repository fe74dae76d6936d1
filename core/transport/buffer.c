/*
 * Buffers: memory that is registered with a transport, and the exposure of one to the peer of one
 * link. Owns the buffer object and, when it allocated them, its pages. Runs on the transport's
 * thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/log.h"
#include "transport/object.h"

#define ACCESS_BOTH (EMBAR_ACCESS_LOCAL | EMBAR_ACCESS_REMOTE)

static _Atomic uint64_t buffer_ids;

static int check_access(uint32_t access, struct embar_diag *diag)
{
    if ((access & ~ACCESS_BOTH) != 0)
        return diag_fail(diag, EINVAL,
                         "buffer access 0x%x has bits other than EMBAR_ACCESS_LOCAL and "
                         "EMBAR_ACCESS_REMOTE",
                         access);
    return 0;
}

/* Allocated buffers with a descriptor, of all threads: adopting one finds it here. */
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static struct embar_buffer *shared;

static void shared_add(struct embar_buffer *buffer)
{
    pthread_mutex_lock(&shared_lock);
    buffer->next_shared = shared;
    shared = buffer;
    pthread_mutex_unlock(&shared_lock);
}

static void shared_remove(struct embar_buffer *buffer)
{
    struct embar_buffer **at = &shared;

    pthread_mutex_lock(&shared_lock);
    while (*at != buffer)
        at = &(*at)->next_shared;
    *at = buffer->next_shared;
    pthread_mutex_unlock(&shared_lock);
}

/* The descriptor of memory that is just that of an allocated buffer; -1. What was allocated as a
 * source alone cannot be written by a peer. */
static int shared_fd(const struct memory *memory, uint32_t access)
{
    int fd = -1;

    pthread_mutex_lock(&shared_lock);
    for (const struct embar_buffer *b = shared; b != NULL && fd < 0; b = b->next_shared) {
        if (b->memory.addr == memory->addr && b->memory.size_bytes == memory->size_bytes &&
            (access & ~b->access & EMBAR_ACCESS_REMOTE) == 0)
            fd = b->memory.fd;
    }
    pthread_mutex_unlock(&shared_lock);
    return fd;
}

/* Takes `memory` over on success only. */
static int create(struct embar_transport *transport, const struct memory *memory, uint32_t access,
                  struct embar_buffer **buffer, struct embar_diag *diag)
{
    const struct backend *backend = transport->backend;
    struct embar_buffer *b = object_alloc(sizeof(*b), backend->buffer_size);
    int rc;

    if (b == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for a buffer");
    b->transport = transport;
    b->id = object_next_id(&buffer_ids);
    b->access = access != 0 ? access : ACCESS_BOTH;
    b->memory = *memory;
    b->fd = memory->shareable ? memory->fd : shared_fd(memory, b->access);
    rc = backend->buffer->reg(b, diag);
    if (rc < 0) {
        free(b);
        return rc;
    }
    if (memory->shareable)
        shared_add(b);
    transport->buffer_count++;
    log_debug("buffer %" PRIu64 ": %zu bytes, %s pages: %zu of %zu bytes%s%s", b->id,
              b->memory.size_bytes, memory_kind_name(b->memory.kind), b->memory.page_count,
              b->memory.page_bytes, b->memory.reason[0] != '\0' ? ": " : "", b->memory.reason);
    *buffer = b;
    return 0;
}

/* A buffer of any transport may be adopted by one that shares, when a stream moves over to it. */
static int alloc_memory(size_t size_bytes, const struct embar_buffer_options *options,
                        struct memory *memory, struct embar_diag *diag)
{
    int (*alloc)(size_t, enum embar_hugepages, int, struct memory *, struct embar_diag *) =
        memory_alloc;

    if (transport_any_shares())
        alloc =
            options->access == EMBAR_ACCESS_LOCAL ? memory_alloc_lendable : memory_alloc_shareable;
    return alloc(size_bytes, options->hugepages, options->numa_node, memory, diag);
}

int embar_buffer_alloc(struct embar_transport *transport, size_t size_bytes,
                       const struct embar_buffer_options *options, struct embar_buffer **buffer,
                       struct embar_diag *diag)
{
    static const struct embar_buffer_options defaults = {.numa_node = -1};
    struct memory memory;
    int rc;

    if (options == NULL)
        options = &defaults;
    if (size_bytes == 0)
        return diag_fail(diag, EINVAL, "a buffer of 0 bytes cannot be allocated");
    rc = check_access(options->access, diag);
    if (rc < 0)
        return rc;
    rc = alloc_memory(size_bytes, options, &memory, diag);
    if (rc < 0)
        return rc;
    rc = create(transport, &memory, options->access, buffer, diag);
    if (rc < 0)
        memory_free(&memory);
    return rc;
}

int embar_buffer_adopt(struct embar_transport *transport, void *addr, size_t size_bytes,
                       uint32_t access, struct embar_buffer **buffer, struct embar_diag *diag)
{
    /* Page size and count stay 0: the caller's memory is not looked into. */
    struct memory memory = {
        .addr = addr, .size_bytes = size_bytes, .kind = EMBAR_PAGES_ADOPTED, .numa_node = -1};
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    int rc;

    if (addr == NULL || size_bytes == 0)
        return diag_fail(diag, EINVAL, "there is no memory to adopt: address or size is 0");
    if ((uintptr_t)addr % page_bytes != 0)
        return diag_fail(diag, EINVAL,
                         "memory to adopt must begin at a multiple of %zu bytes: allocate it with "
                         "mmap or aligned_alloc",
                         page_bytes);
    if (size_bytes > UINTPTR_MAX - (uintptr_t)addr)
        return diag_fail(diag, EINVAL, "%zu bytes do not fit behind the address to adopt",
                         size_bytes);
    rc = check_access(access, diag);
    if (rc < 0)
        return rc;
    return create(transport, &memory, access, buffer, diag);
}

int embar_buffer_free(struct embar_buffer *buffer)
{
    struct embar_transport *transport = buffer->transport;

    if (buffer->exposed_to != NULL || buffer->writes_in_flight > 0)
        return -EBUSY;
    transport->backend->buffer->unreg(buffer);
    transport->buffer_count--;
    log_debug("buffer %" PRIu64 ": freed", buffer->id);
    if (buffer->memory.shareable)
        shared_remove(buffer);
    if (buffer->memory.kind != EMBAR_PAGES_ADOPTED)
        memory_free(&buffer->memory);
    free(buffer);
    return 0;
}

void embar_buffer_info(const struct embar_buffer *buffer, struct embar_buffer_info *info)
{
    *info = (struct embar_buffer_info){
        .addr = buffer->memory.addr,
        .size_bytes = buffer->memory.size_bytes,
        .kind = buffer->memory.kind,
        .page_bytes = buffer->memory.page_bytes,
        .page_count = buffer->memory.page_count,
        .numa_node = buffer->memory.numa_node,
    };
    snprintf(info->reason, sizeof(info->reason), "%s", buffer->memory.reason);
}

int embar_buffer_expose(struct embar_buffer *buffer, struct embar_link *link, struct embar_key *key,
                        struct embar_diag *diag)
{
    struct embar_key made;
    int rc;

    if (link->state != LINK_UP)
        return diag_fail(diag, ENOTCONN,
                         "link %" PRIu64 " is %s: a buffer is exposed to a link that is up",
                         link->id, link_state_name(link->state));
    if (buffer->transport != link->transport)
        return diag_fail(diag, EINVAL,
                         "buffer %" PRIu64 " and link %" PRIu64 " are of different transports",
                         buffer->id, link->id);
    if ((buffer->access & EMBAR_ACCESS_REMOTE) == 0)
        return diag_fail(diag, EACCES, "buffer %" PRIu64 " was made without EMBAR_ACCESS_REMOTE",
                         buffer->id);
    if (buffer->exposed_to != NULL)
        return diag_fail(diag, EBUSY, "buffer %" PRIu64 " is exposed to link %" PRIu64 " already",
                         buffer->id, buffer->exposed_to->id);
    if (link->exposed != NULL)
        return diag_fail(diag, EBUSY,
                         "link %" PRIu64 " has buffer %" PRIu64 " exposed to it already", link->id,
                         link->exposed->id);
    rc = buffer->transport->backend->buffer->expose(buffer, link, &made, diag);
    if (rc < 0)
        return rc;
    buffer->exposed_to = link;
    link->exposed = buffer;
    *key = made;
    return 0;
}

int embar_buffer_unexpose(struct embar_buffer *buffer)
{
    struct embar_link *link = buffer->exposed_to;

    if (link == NULL)
        return 0;
    buffer->transport->backend->buffer->unexpose(buffer, link);
    buffer->exposed_to = NULL;
    link->exposed = NULL;
    return 0;
}
