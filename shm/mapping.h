/*
 * The peer's buffers as mapped here, those that it exposes and those that it lends: one mapping for
 * each memfd, whatever key it comes with, kept until the link is closed, because the application
 * may hold an address in it (embar_map, EMBAR_EVENT_ARRIVAL). Owns the mappings, and the lease of
 * what is lent: the peer takes a loan as over when it is closed. The transport's thread.
 */
#ifndef SHM_MAPPING_H
#define SHM_MAPPING_H

#include <stdint.h>
#include <sys/types.h>

#define SHM_MAX_MAPPINGS 64u /* different memfds exposed to one link over its life */

enum shm_mapping_use { SHM_MAPPING_WRITE, SHM_MAPPING_READ };

struct shm_mapping {
    uint64_t key;
    uint64_t size_bytes; /* of the mapping */
    uint8_t *addr;
    dev_t device;
    ino_t inode;
    void *map; /* owned */
    size_t map_bytes;
    int lease_fd; /* owned; -1: none */
};

struct shm_mappings {
    struct shm_mapping *items; /* owned */
    unsigned count;
};

/* Maps what the peer has exposed or lent. Takes over `lease_fd` (-1: none) on success, `fd` never.
 * -EPROTO it is not what it should be, -ENOBUFS too many, or why it cannot be mapped. */
int shm_mappings_add(struct shm_mappings *mappings, enum shm_mapping_use use, int fd, int lease_fd,
                     uint64_t key, uint64_t size_bytes);

/* NULL: no such key was given to this link. */
const struct shm_mapping *shm_mappings_find(const struct shm_mappings *mappings, uint64_t key);

/* Tells the lender that nobody reads any more. Harmless with -1. */
void shm_mapping_end_lease(int lease_fd);

void shm_mappings_close(struct shm_mappings *mappings);

#endif
