/*
 * The peer's exposed buffers as mapped here: one mapping for each memfd, whatever key it is exposed
 * with, kept until the link is closed, because the application may hold its address (embar_map).
 * Owns the mappings. The transport's thread.
 */
#ifndef SHM_MAPPING_H
#define SHM_MAPPING_H

#include <stdint.h>
#include <sys/types.h>

#define SHM_MAX_MAPPINGS 64u /* different memfds exposed to one link over its life */

struct shm_mapping {
    uint64_t key;
    uint64_t size_bytes; /* that may be written: of the mapping */
    uint8_t *addr;
    dev_t device;
    ino_t inode;
    void *map; /* owned */
    size_t map_bytes;
};

struct shm_mappings {
    struct shm_mapping *items; /* owned */
    unsigned count;
};

/* Maps what the peer has exposed. Does not take `fd` over. -EPROTO it is not what it should be,
 * -ENOBUFS too many, or why it cannot be mapped. */
int shm_mappings_add(struct shm_mappings *mappings, int fd, uint64_t key, uint64_t size_bytes);

/* NULL: no such key was given to this link. */
const struct shm_mapping *shm_mappings_find(const struct shm_mappings *mappings, uint64_t key);

void shm_mappings_close(struct shm_mappings *mappings);

#endif
