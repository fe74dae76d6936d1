/*
 * Maps, binds and populates memory of each kind. Owns nothing; any thread.
 *
 * Memory of ordinary and transparent huge pages lies between two guard pages: its mapping then
 * never merges with a neighbour's, so that what smaps says of it is said of it alone, and running
 * past its end is a fault. Hugetlb mappings never merge.
 */
#include "common/memory_map.h"

#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

#define TRIES     10   /* of a call that the kernel asks to repeat */
#define MAX_NODES 1024 /* what the kernel can be built for */

static size_t small_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

int memory_populate_by_kernel(void *addr, size_t size_bytes, size_t page_bytes)
{
    int rc = 0;
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    for (size_t at = 0; at < size_bytes && rc == 0; at += page_bytes) {
        ssize_t got;
        do {
            got = read(fd, (char *)addr + at, 1);
        } while (got < 0 && errno == EINTR);
        if (got != 1)
            rc = got < 0 ? -errno : -EIO;
    }
    close(fd);
    return rc;
}

static int populate(void *addr, size_t size_bytes, size_t page_bytes)
{
    for (int i = 0; i < TRIES; i++) {
        if (madvise(addr, size_bytes, MADV_POPULATE_WRITE) == 0)
            return 0;
        if (errno == EINVAL)
            return memory_populate_by_kernel(addr, size_bytes, page_bytes);
        if (errno != EAGAIN && errno != EINTR)
            break;
    }
    return -errno;
}

static int bind_to(void *addr, size_t size_bytes, int node)
{
    unsigned long mask[MAX_NODES / (8 * sizeof(unsigned long))] = {0};
    unsigned bits = 8 * (unsigned)sizeof(mask[0]);

    if (node < 0)
        return 0;
    if (node >= MAX_NODES)
        return -EINVAL;
    mask[(unsigned)node / bits] |= 1ul << ((unsigned)node % bits);
    /* The kernel looks at one bit less than it is told of. */
    return mbind(addr, size_bytes, MPOL_BIND, mask, MAX_NODES + 1, 0) == 0 ? 0 : -errno;
}

int memory_map_finish(struct memory *memory, size_t page_bytes, int node)
{
    int rc = bind_to(memory->addr, memory->size_bytes, node);

    /* A child's copy-on-write must not part this memory from what a device or socket has pinned. */
    if (rc == 0 && madvise(memory->addr, memory->size_bytes, MADV_DONTFORK) != 0)
        rc = -errno;
    if (rc == 0)
        rc = populate(memory->addr, memory->size_bytes, page_bytes);
    if (rc != 0)
        memory_free(memory);
    return rc;
}

int memory_map_hugetlb(struct memory *memory, size_t size_bytes, size_t huge_bytes, int node)
{
    size_t map_bytes = round_up(size_bytes, huge_bytes);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
                (int)((unsigned)__builtin_ctzl(huge_bytes) << MAP_HUGE_SHIFT);
    void *map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (map == MAP_FAILED)
        return -errno;
    *memory = (struct memory){.addr = map,
                              .size_bytes = map_bytes,
                              .kind = EMBAR_PAGES_HUGETLB,
                              .page_bytes = huge_bytes,
                              .page_count = map_bytes / huge_bytes,
                              .map_addr = map,
                              .map_bytes = map_bytes};
    return memory_map_finish(memory, huge_bytes, node);
}

int memory_map_guarded(struct memory *memory, size_t size_bytes, size_t alignment)
{
    size_t guard = small_page_bytes();
    size_t map_bytes = size_bytes + alignment + 2 * guard;
    void *map =
        mmap(NULL, map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (map == MAP_FAILED)
        return -errno;
    uintptr_t start = round_up((uintptr_t)map + guard, alignment);
    void *addr = (char *)map + (start - (uintptr_t)map);
    *memory = (struct memory){.addr = addr,
                              .size_bytes = size_bytes,
                              .kind = EMBAR_PAGES_ORDINARY,
                              .page_bytes = guard,
                              .page_count = size_bytes / guard,
                              .map_addr = map,
                              .map_bytes = map_bytes};
    if (mprotect(addr, size_bytes, PROT_READ | PROT_WRITE) != 0) {
        int rc = -errno;
        memory_free(memory);
        return rc;
    }
    return 0;
}

int memory_map_thp(struct memory *memory, size_t size_bytes, size_t huge_bytes, int node)
{
    int rc = memory_map_guarded(memory, round_up(size_bytes, huge_bytes), huge_bytes);

    if (rc != 0)
        return rc;
    if (madvise(memory->addr, memory->size_bytes, MADV_HUGEPAGE) != 0) {
        rc = -errno;
        memory_free(memory);
        return rc;
    }
    return memory_map_finish(memory, small_page_bytes(), node);
}

int memory_map_ordinary(struct memory *memory, size_t size_bytes, int node)
{
    size_t page = small_page_bytes();
    int rc = memory_map_guarded(memory, round_up(size_bytes, page), page);

    if (rc != 0)
        return rc;
    /* EINVAL: a kernel without transparent huge pages, which is just as well. */
    if (madvise(memory->addr, memory->size_bytes, MADV_NOHUGEPAGE) != 0 && errno != EINVAL) {
        rc = -errno;
        memory_free(memory);
        return rc;
    }
    return memory_map_finish(memory, page, node);
}

void memory_collapse(const struct memory *memory)
{
    /* Since Linux 6.1. How well it went is measured by the caller; EAGAIN asks for a second try. */
    for (int i = 0; i < TRIES; i++)
        if (madvise(memory->addr, memory->size_bytes, MADV_COLLAPSE) == 0 || errno != EAGAIN)
            return;
}

void memory_trim(struct memory *memory, size_t size_bytes)
{
    size_t keep = round_up(size_bytes, small_page_bytes());
    char *tail = (char *)memory->addr + keep;

    if (keep >= memory->size_bytes)
        return;
    /* The tail becomes part of the guard. Where the kernel cannot split the mapping, it stays. */
    if (mprotect(tail, memory->size_bytes - keep, PROT_NONE) != 0)
        return;
    madvise(tail, memory->size_bytes - keep, MADV_DONTNEED);
    memory->size_bytes = keep;
    memory->page_count = keep / memory->page_bytes;
}
