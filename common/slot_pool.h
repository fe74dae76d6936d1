/*
 * A pool of slot numbers that hands out the most recently freed slot first, so that the working set
 * stays in cache. No allocation after init; one thread.
 */
#ifndef COMMON_SLOT_POOL_H
#define COMMON_SLOT_POOL_H

#include <stdbool.h>
#include <stdint.h>

struct slot_pool {
    uint32_t *stack; /* owned; the top is handed out next */
    uint64_t *taken; /* owned; one bit per slot, to catch a double put */
    uint32_t free_count;
    uint32_t slot_count;
};

/* All slots free; slot 0 is handed out first. -ENOMEM, -EINVAL for 0 slots. */
int slot_pool_init(struct slot_pool *pool, uint32_t slot_count);
void slot_pool_destroy(struct slot_pool *pool);

/* 0 and the slot, or -EAGAIN when none is free. */
int slot_pool_get(struct slot_pool *pool, uint32_t *slot);

/* Gives a slot back. -EINVAL when it is out of range or was not taken: nothing changes then. */
int slot_pool_put(struct slot_pool *pool, uint32_t slot);

/* Takes a particular slot (used on resume). -EBUSY when it is taken, -EINVAL out of range. */
int slot_pool_take(struct slot_pool *pool, uint32_t slot);

bool slot_pool_is_taken(const struct slot_pool *pool, uint32_t slot);

#endif
