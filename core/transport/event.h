/*
 * The events of one transport, in the order in which they were reported: a ring that grows only
 * when more events wait than ever before, and the cells that carry the bytes of control messages.
 * Owns ring and cells. The transport's thread.
 */
#ifndef TRANSPORT_EVENT_H
#define TRANSPORT_EVENT_H

#include <stddef.h>

#include <embar/transport.h>

struct event_cell;

struct event_entry {
    struct embar_event event;
    struct event_cell *cell; /* owned; NULL but for messages */
};

struct event_queue {
    struct event_entry *ring; /* owned */
    size_t capacity;          /* a power of two */
    size_t head, count;
    size_t cell_bytes;             /* room in a cell: the largest control message */
    struct event_cell *free_cells; /* owned */
    struct event_cell *lent_cells; /* owned; their messages are in the caller's hands */
};

/* -ENOMEM. */
int event_queue_init(struct event_queue *queue, size_t cell_bytes);
void event_queue_destroy(struct event_queue *queue);

/* -ENOMEM when the ring would have to grow and cannot. */
int event_queue_push(struct event_queue *queue, const struct embar_event *event);

/* Copies the bytes into a cell. -ENOMEM, -EMSGSIZE. */
int event_queue_push_message(struct event_queue *queue, struct embar_link *link, const void *data,
                             size_t len_bytes);

/* Takes up to `capacity` events; returns how many. The messages' bytes stay valid until
 * event_queue_reclaim. */
int event_queue_pop(struct event_queue *queue, struct embar_event *events, int capacity);

/* The caller is done with the messages of the last pop. */
void event_queue_reclaim(struct event_queue *queue);

/* Forgets the events of a link that the application has never seen. */
void event_queue_drop_link(struct event_queue *queue, const struct embar_link *link);

#endif
