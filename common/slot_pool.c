/*
 * A stack of free slot numbers, most recently freed on top, and a bitmap of the taken ones. Owns
 * both arrays. One thread.
 */
#include "common/slot_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BITS 64u

static void mark(struct slot_pool *pool, uint32_t slot, bool taken)
{
    uint64_t bit = 1ull << (slot % BITS);

    if (taken)
        pool->taken[slot / BITS] |= bit;
    else
        pool->taken[slot / BITS] &= ~bit;
}

int slot_pool_init(struct slot_pool *pool, uint32_t slot_count)
{
    if (slot_count == 0)
        return -EINVAL;
    uint32_t *stack = malloc((size_t)slot_count * sizeof(*stack));
    uint64_t *taken = calloc(((size_t)slot_count + BITS - 1) / BITS, sizeof(*taken));
    if (!stack || !taken) {
        free(stack);
        free(taken);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < slot_count; i++)
        stack[i] = slot_count - 1 - i;
    *pool = (struct slot_pool){
        .stack = stack, .taken = taken, .free_count = slot_count, .slot_count = slot_count};
    return 0;
}

void slot_pool_destroy(struct slot_pool *pool)
{
    free(pool->stack);
    free(pool->taken);
    *pool = (struct slot_pool){0};
}

int slot_pool_get(struct slot_pool *pool, uint32_t *slot)
{
    if (pool->free_count == 0)
        return -EAGAIN;
    *slot = pool->stack[--pool->free_count];
    mark(pool, *slot, true);
    return 0;
}

int slot_pool_put(struct slot_pool *pool, uint32_t slot)
{
    if (!slot_pool_is_taken(pool, slot))
        return -EINVAL;
    mark(pool, slot, false);
    pool->stack[pool->free_count++] = slot;
    return 0;
}

int slot_pool_take(struct slot_pool *pool, uint32_t slot)
{
    uint32_t i = 0;

    if (slot >= pool->slot_count)
        return -EINVAL;
    if (slot_pool_is_taken(pool, slot))
        return -EBUSY;
    while (pool->stack[i] != slot)
        i++;
    pool->free_count--;
    memmove(&pool->stack[i], &pool->stack[i + 1],
            (size_t)(pool->free_count - i) * sizeof(*pool->stack));
    mark(pool, slot, true);
    return 0;
}

bool slot_pool_is_taken(const struct slot_pool *pool, uint32_t slot)
{
    return slot < pool->slot_count && (pool->taken[slot / BITS] >> (slot % BITS) & 1);
}
