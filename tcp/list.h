/* Circular doubly linked lists whose heads and items are members of other structs. */
#ifndef TCP_LIST_H
#define TCP_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct tcp_list {
    struct tcp_list *next, *prev; /* borrowed; next NULL: an item in no list */
};

#define TCP_LIST_ENTRY(item, type, member) ((type *)(void *)((char *)(item)-offsetof(type, member)))

static inline void tcp_list_init(struct tcp_list *head)
{
    head->next = head;
    head->prev = head;
}

static inline bool tcp_list_empty(const struct tcp_list *head)
{
    return head->next == head;
}

static inline bool tcp_list_linked(const struct tcp_list *item)
{
    return item->next != NULL;
}

static inline void tcp_list_add_tail(struct tcp_list *head, struct tcp_list *item)
{
    item->next = head;
    item->prev = head->prev;
    head->prev->next = item;
    head->prev = item;
}

/* Harmless for an item in no list. */
static inline void tcp_list_remove(struct tcp_list *item)
{
    if (item->next == NULL)
        return;
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->next = NULL;
    item->prev = NULL;
}

#endif
