/*
 * What the objects of core/transport have in common: the allocation that puts a backend's private
 * area behind the object, numbers for logs, lists, and the accessors that backend.h offers. Owns
 * nothing. Runs on the transport's thread, but for the numbers, which any thread may draw.
 */
#include "transport/object.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_LINE      64u
#define ROUND_UP(size)  (((size) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE)
#define PRIVATE(object) ((void *)((char *)(uintptr_t)(object) + ROUND_UP(sizeof(*(object)))))

void *object_alloc(size_t size, size_t private_size)
{
    size_t total = ROUND_UP(size) + ROUND_UP(private_size);
    void *object = aligned_alloc(CACHE_LINE, total);

    if (object != NULL)
        memset(object, 0, total);
    return object;
}

uint64_t object_next_id(_Atomic uint64_t *counter)
{
    return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) + 1;
}

void list_init(struct list *list)
{
    list->next = list->prev = list;
}

void list_add(struct list *list, struct list *item)
{
    item->next = list;
    item->prev = list->prev;
    list->prev->next = item;
    list->prev = item;
}

void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

void *transport_private(const struct embar_transport *transport)
{
    return PRIVATE(transport);
}

void *listener_private(const struct embar_listener *listener)
{
    return PRIVATE(listener);
}

void *link_private(const struct embar_link *link)
{
    return PRIVATE(link);
}

void *buffer_private(const struct embar_buffer *buffer)
{
    return PRIVATE(buffer);
}

void *loan_private(const struct embar_loan *loan)
{
    return PRIVATE(loan);
}

struct embar_transport *listener_transport(const struct embar_listener *listener)
{
    return listener->transport;
}

struct embar_transport *buffer_transport(const struct embar_buffer *buffer)
{
    return buffer->transport;
}

const struct env *transport_env(const struct embar_transport *transport)
{
    return transport->env;
}

void *buffer_addr(const struct embar_buffer *buffer)
{
    return buffer->memory.addr;
}

size_t buffer_size(const struct embar_buffer *buffer)
{
    return buffer->memory.size_bytes;
}

uint32_t buffer_access(const struct embar_buffer *buffer)
{
    return buffer->access;
}

int buffer_fd(const struct embar_buffer *buffer)
{
    return buffer->fd;
}

struct embar_buffer *link_exposed_buffer(const struct embar_link *link)
{
    return link->exposed;
}

void link_set_peer(struct embar_link *link, const char *peer)
{
    snprintf(link->peer, sizeof(link->peer), "%s", peer);
}
