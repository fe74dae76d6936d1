/*
 * The two ends of one ring of cells: the producer's half of the region belongs to the producer, the
 * consumer tells in its own half how far it is. A cell is published by its commit word alone, so
 * that a consumer that spins touches one cache line and nothing else. Allocates nothing, calls
 * nothing; each end on its own thread.
 */
#ifndef SHM_RING_H
#define SHM_RING_H

#include <stdbool.h>

#include "region.h"

struct shm_producer {
    struct shm_half *mine;       /* borrowed */
    const struct shm_half *peer; /* borrowed */
    uint64_t position;           /* of the next cell */
    uint64_t consumed;           /* as the peer said last */
};

struct shm_consumer {
    const struct shm_half *peer; /* borrowed */
    struct shm_half *mine;       /* borrowed */
    uint64_t position;           /* of the next cell */
    uint64_t published;          /* as this side said last */
};

/* What a cell says, as it was when it was read. */
struct shm_item {
    enum shm_cell_type type;
    uint32_t len_bytes;
    uint32_t immediate;
    uint64_t key, offset;
    const uint8_t *bytes; /* of a message: in shared memory, still in the peer's hands */
};

void shm_ring_init(struct shm_producer *tx, struct shm_consumer *rx, struct shm_region *region,
                   unsigned side);

/* Whether there is a free cell. 1; 0: none; -EPROTO: the peer claims to have taken what it cannot
 * have. */
int shm_ring_room(struct shm_producer *tx);

/* Each fills in the next cell and publishes it; there must be room. */
void shm_ring_put_write(struct shm_producer *tx, enum shm_cell_type type, uint64_t key,
                        uint64_t offset, uint32_t len_bytes, uint32_t immediate);
void shm_ring_put_message(struct shm_producer *tx, const void *data, uint32_t len_bytes);

/* Whether the next cell is there. */
bool shm_ring_ready(const struct shm_consumer *rx);

/* Reads the next cell, which must be ready. 0, or -EPROTO: it is none. The cell stays the
 * consumer's until shm_ring_take. */
int shm_ring_peek(const struct shm_consumer *rx, struct shm_item *item);

void shm_ring_take(struct shm_consumer *rx);

/* Tells the peer how far this side is. Whether that is news. */
bool shm_ring_tell(struct shm_consumer *rx);

#endif
