/*
 * Rings of cells between a producer and a consumer in two processes (see ring.h). Each end on its
 * own thread.
 */
#include "ring.h"

#include <errno.h>
#include <string.h>

#define MASK (SHM_CELLS - 1)

void shm_ring_init(struct shm_producer *tx, struct shm_consumer *rx, struct shm_region *region,
                   unsigned side)
{
    struct shm_half *mine = &region->halves[side], *peer = &region->halves[1 - side];

    *tx = (struct shm_producer){.mine = mine, .peer = peer};
    *rx = (struct shm_consumer){.mine = mine, .peer = peer};
}

int shm_ring_room(struct shm_producer *tx)
{
    uint64_t consumed;

    if (tx->position - tx->consumed < SHM_CELLS)
        return 1;
    consumed = atomic_load_explicit(&tx->peer->consumed, memory_order_acquire);
    if (consumed - tx->consumed > SHM_CELLS) /* backwards, or beyond what was produced */
        return -EPROTO;
    tx->consumed = consumed;
    return tx->position - consumed < SHM_CELLS;
}

static struct shm_cell *next_cell(struct shm_producer *tx)
{
    return &tx->mine->cells[tx->position & MASK];
}

static void publish(struct shm_producer *tx, struct shm_cell *cell)
{
    tx->position++;
    atomic_store_explicit(&cell->commit, tx->position, memory_order_release);
}

void shm_ring_put_write(struct shm_producer *tx, enum shm_cell_type type, uint64_t key,
                        uint64_t offset, uint32_t len_bytes, uint32_t immediate)
{
    struct shm_cell *cell = next_cell(tx);

    cell->type = type;
    cell->len_bytes = len_bytes;
    cell->body.write.immediate = immediate;
    cell->body.write.reserved = 0;
    cell->body.write.key = key;
    cell->body.write.offset = offset;
    publish(tx, cell);
}

void shm_ring_put_message(struct shm_producer *tx, const void *data, uint32_t len_bytes)
{
    struct shm_cell *cell = next_cell(tx);

    cell->type = SHM_CELL_MESSAGE;
    cell->len_bytes = len_bytes;
    memcpy(len_bytes <= SHM_INLINE ? cell->body.bytes : tx->mine->payload[tx->position & MASK],
           data, len_bytes);
    publish(tx, cell);
}

bool shm_ring_ready(const struct shm_consumer *rx)
{
    const struct shm_cell *cell = &rx->peer->cells[rx->position & MASK];

    return atomic_load_explicit(&cell->commit, memory_order_acquire) == rx->position + 1;
}

int shm_ring_peek(const struct shm_consumer *rx, struct shm_item *item)
{
    /* Volatile: each field is read once, whatever the compiler would rather do. */
    const volatile struct shm_cell *cell = &rx->peer->cells[rx->position & MASK];
    uint32_t type = cell->type, len_bytes = cell->len_bytes;

    if (type == SHM_CELL_WRITE || type == SHM_CELL_LENT) {
        *item = (struct shm_item){.type = (enum shm_cell_type)type,
                                  .len_bytes = len_bytes,
                                  .immediate = cell->body.write.immediate,
                                  .key = cell->body.write.key,
                                  .offset = cell->body.write.offset};
        return 0;
    }
    if (type != SHM_CELL_MESSAGE || len_bytes == 0 || len_bytes > SHM_PAYLOAD)
        return -EPROTO;
    *item = (struct shm_item){.type = SHM_CELL_MESSAGE, .len_bytes = len_bytes};
    item->bytes = len_bytes <= SHM_INLINE ? rx->peer->cells[rx->position & MASK].body.bytes
                                          : rx->peer->payload[rx->position & MASK];
    return 0;
}

void shm_ring_take(struct shm_consumer *rx)
{
    rx->position++;
}

bool shm_ring_tell(struct shm_consumer *rx)
{
    if (rx->published == rx->position)
        return false;
    rx->published = rx->position;
    atomic_store_explicit(&rx->mine->consumed, rx->position, memory_order_release);
    return true;
}
