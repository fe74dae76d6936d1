/*
 * Mapping the peer's exposed and lent buffers (see mapping.h). The transport's thread.
 */
#include "mapping.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory_share.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define HUGE_BYTES ((size_t)2 << 20)

/* At a multiple of huge pages, so that those of the memfd can be mapped as such. */
static int map_aligned(struct shm_mapping *m, enum shm_mapping_use use, int fd, size_t unit)
{
    size_t map_bytes = m->size_bytes + unit;
    char *map =
        mmap(NULL, map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int protection = use == SHM_MAPPING_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
    char *addr;
    int rc;

    if (map == MAP_FAILED)
        return -errno;
    addr = map + (unit - (uintptr_t)map % unit) % unit;
    if (mmap(addr, m->size_bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
        rc = -errno;
        munmap(map, map_bytes);
        return rc;
    }
    m->addr = (uint8_t *)addr;
    m->map = map;
    m->map_bytes = map_bytes;
    return 0;
}

static int map_buffer(struct shm_mapping *m, enum shm_mapping_use use, int fd, size_t unit)
{
    int populate = use == SHM_MAPPING_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    int rc = map_aligned(m, use, fd, unit);

    if (rc < 0)
        return rc;
    /* EINVAL: the kernel has no transparent huge pages, or they are hugetlb pages. The faults are
     * taken now rather than at the first batch; a memfd that is all there needs no more memory. */
    if ((madvise(m->addr, m->size_bytes, MADV_HUGEPAGE) < 0 && errno != EINVAL) ||
        madvise(m->addr, m->size_bytes, MADV_DONTFORK) < 0 ||
        madvise(m->addr, m->size_bytes, populate) < 0) {
        rc = -errno;
        munmap(m->map, m->map_bytes);
        return rc;
    }
    return 0;
}

void shm_mapping_end_lease(int lease_fd)
{
    if (lease_fd < 0)
        return;
    shutdown(lease_fd, SHUT_RDWR); /* a child that has inherited it does not map the memory */
    close(lease_fd);
}

int shm_mappings_add(struct shm_mappings *mappings, enum shm_mapping_use use, int fd, int lease_fd,
                     uint64_t key, uint64_t size_bytes)
{
    struct shm_mapping m = {.key = key, .size_bytes = size_bytes, .lease_fd = lease_fd};
    struct shm_mapping *items;
    struct stat st;
    int rc;

    if (key == 0 || size_bytes == 0 || size_bytes > SIZE_MAX / 4 ||
        memory_share_check(fd, size_bytes) < 0 || fstat(fd, &st) < 0 ||
        (use == SHM_MAPPING_READ && !memory_share_is_read_only(fd)))
        return -EPROTO;
    for (unsigned i = 0; i < mappings->count; i++) {
        if (mappings->items[i].device == st.st_dev && mappings->items[i].inode == st.st_ino) {
            mappings->items[i].key = key;
            return 0;
        }
    }
    if (mappings->count == SHM_MAX_MAPPINGS)
        return -ENOBUFS;
    items = realloc(mappings->items, (mappings->count + 1) * sizeof(*items));
    if (items == NULL)
        return -ENOMEM;
    mappings->items = items;
    m.device = st.st_dev;
    m.inode = st.st_ino;
    /* hugetlbfs gives the size of its pages, which may be larger than those of THP. */
    rc = map_buffer(&m, use, fd,
                    (size_t)st.st_blksize > HUGE_BYTES ? (size_t)st.st_blksize : HUGE_BYTES);
    if (rc == 0)
        items[mappings->count++] = m;
    return rc;
}

const struct shm_mapping *shm_mappings_find(const struct shm_mappings *mappings, uint64_t key)
{
    for (unsigned i = mappings->count; i > 0; i--) { /* the newest is most likely */
        if (mappings->items[i - 1].key == key)
            return &mappings->items[i - 1];
    }
    return NULL;
}

void shm_mappings_close(struct shm_mappings *mappings)
{
    for (unsigned i = 0; i < mappings->count; i++) {
        munmap(mappings->items[i].map, mappings->items[i].map_bytes);
        shm_mapping_end_lease(mappings->items[i].lease_fd);
    }
    free(mappings->items);
    *mappings = (struct shm_mappings){0};
}
