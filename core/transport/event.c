/*
 * The event queue of a transport (see event.h): a ring of events and cells for the bytes of control
 * messages. A cell goes from the free list into an event, with the event to the application (lent),
 * and back to the free list at the next poll, so that the steady path allocates nothing. Runs on
 * the transport's thread.
 */
#include "transport/event.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define RING_MIN 64u

struct event_cell {
    struct event_cell *next;
    alignas(16) unsigned char data[];
};

int event_queue_init(struct event_queue *queue, size_t cell_bytes)
{
    *queue = (struct event_queue){.capacity = RING_MIN, .cell_bytes = cell_bytes};
    queue->ring = calloc(queue->capacity, sizeof(*queue->ring));
    return queue->ring != NULL ? 0 : -ENOMEM;
}

static void free_cells(struct event_cell *cell)
{
    while (cell != NULL) {
        struct event_cell *next = cell->next;
        free(cell);
        cell = next;
    }
}

static struct event_entry *entry_at(const struct event_queue *queue, size_t i)
{
    return &queue->ring[(queue->head + i) & (queue->capacity - 1)];
}

void event_queue_destroy(struct event_queue *queue)
{
    for (size_t i = 0; i < queue->count; i++)
        free(entry_at(queue, i)->cell);
    free_cells(queue->free_cells);
    free_cells(queue->lent_cells);
    free(queue->ring);
    *queue = (struct event_queue){0};
}

static int grow(struct event_queue *queue)
{
    struct event_entry *ring = calloc(queue->capacity * 2, sizeof(*ring));
    if (ring == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < queue->count; i++)
        ring[i] = *entry_at(queue, i);
    free(queue->ring);
    queue->ring = ring;
    queue->capacity *= 2;
    queue->head = 0;
    return 0;
}

static int push(struct event_queue *queue, const struct embar_event *event, struct event_cell *cell)
{
    int rc;

    if (queue->count == queue->capacity) {
        rc = grow(queue);
        if (rc < 0)
            return rc;
    }
    *entry_at(queue, queue->count) = (struct event_entry){.event = *event, .cell = cell};
    queue->count++;
    return 0;
}

int event_queue_push(struct event_queue *queue, const struct embar_event *event)
{
    return push(queue, event, NULL);
}

static struct event_cell *take_cell(struct event_queue *queue)
{
    struct event_cell *cell = queue->free_cells;

    if (cell == NULL)
        return malloc(sizeof(*cell) + queue->cell_bytes);
    queue->free_cells = cell->next;
    return cell;
}

static void put_cell(struct event_queue *queue, struct event_cell *cell)
{
    cell->next = queue->free_cells;
    queue->free_cells = cell;
}

int event_queue_push_message(struct event_queue *queue, struct embar_link *link, const void *data,
                             size_t len_bytes)
{
    struct embar_event event = {.type = EMBAR_EVENT_MESSAGE, .link = link, .len_bytes = len_bytes};
    struct event_cell *cell;
    int rc;

    if (len_bytes > queue->cell_bytes)
        return -EMSGSIZE;
    cell = take_cell(queue);
    if (cell == NULL)
        return -ENOMEM;
    memcpy(cell->data, data, len_bytes);
    event.data = cell->data;
    rc = push(queue, &event, cell);
    if (rc < 0)
        put_cell(queue, cell);
    return rc;
}

int event_queue_pop(struct event_queue *queue, struct embar_event *events, int capacity)
{
    int taken = 0;

    while (taken < capacity && queue->count > 0) {
        struct event_entry *entry = entry_at(queue, 0);

        if (entry->cell != NULL) {
            entry->cell->next = queue->lent_cells;
            queue->lent_cells = entry->cell;
        }
        events[taken++] = entry->event;
        queue->head = (queue->head + 1) & (queue->capacity - 1);
        queue->count--;
    }
    return taken;
}

void event_queue_reclaim(struct event_queue *queue)
{
    while (queue->lent_cells != NULL) {
        struct event_cell *cell = queue->lent_cells;
        queue->lent_cells = cell->next;
        put_cell(queue, cell);
    }
}

void event_queue_drop_link(struct event_queue *queue, const struct embar_link *link)
{
    size_t kept = 0;

    for (size_t i = 0; i < queue->count; i++) {
        struct event_entry entry = *entry_at(queue, i);

        if (entry.event.link != link)
            *entry_at(queue, kept++) = entry;
        else if (entry.cell != NULL)
            put_cell(queue, entry.cell);
    }
    queue->count = kept;
}
