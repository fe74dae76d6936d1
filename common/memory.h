/*
 * Page-backed memory for buffers: hugetlb, else transparent huge pages, else ordinary pages;
 * populated with MADV_POPULATE_WRITE so that a shortage is an error and never SIGBUS; what was
 * really obtained is read back from the kernel. Any thread.
 */
#ifndef COMMON_MEMORY_H
#define COMMON_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include <embar/transport.h> /* enum embar_hugepages, enum embar_page_kind */

struct memory {
    void *addr; /* inside of the mapping */
    size_t size_bytes;
    enum embar_page_kind kind;
    size_t page_bytes;
    size_t page_count; /* of page_bytes each; with THP less than the whole when not all are huge */
    int numa_node;     /* of the first page; -1 unknown */
    char reason[256];  /* why the kind is not hugetlb; "" when it is or none was wanted */
    void *map_addr;    /* owned: the whole mapping, with its guard pages */
    size_t map_bytes;
    bool shareable; /* backed by the beginning of `fd` */
    int fd;         /* owned, when shareable: a memfd sealed against a change of its size */
};

/*
 * Maps, binds to `numa_node` (-1: no binding), populates and measures. `size_bytes` is rounded up
 * to the page size obtained. The kind is THP when at least 15 of 16 bytes lie in transparent huge
 * pages, else ordinary. The memory is zeroed and is not inherited across fork(2), so that no
 * copy-on-write can part it from what a device or socket has pinned. Blocks while the kernel zeroes
 * the pages. Logs one line that says what was obtained. EMBAR_USE_HUGETLB is not read here: that is
 * the config's business. Errors: -ENOMEM (pool empty, cgroup limit, NUMA node without pages: the
 * diag says which, and the command that fixes it); -EINVAL size 0 or no such node; -EPERM the
 * process may not bind memory.
 */
int memory_alloc(size_t size_bytes, enum embar_hugepages hugepages, int numa_node,
                 struct memory *memory, struct embar_diag *diag);

/*
 * The same, for memory that another process is to map: a memfd of hugetlb pages, else one that the
 * kernel gathers into transparent huge pages (MADV_COLLAPSE), else one of ordinary pages; sealed
 * with F_SEAL_SHRINK and F_SEAL_GROW (fcntl(2)), so that no mapping of it loses its pages to a
 * truncation.
 */
int memory_alloc_shareable(size_t size_bytes, enum embar_hugepages hugepages, int numa_node,
                           struct memory *memory, struct embar_diag *diag);

/*
 * The same, for memory that other processes are to read: nobody else can map it for writing
 * (F_SEAL_FUTURE_WRITE). It is not `shareable` where only memory of this process's own can be had,
 * or in larger pages: where the kernel does not gather the pages of a memfd or cannot seal so, or a
 * sandbox forbids memfd_create(2).
 */
int memory_alloc_lendable(size_t size_bytes, enum embar_hugepages hugepages, int numa_node,
                          struct memory *memory, struct embar_diag *diag);

/* Unmaps, and closes; harmless on a zeroed struct. */
void memory_free(struct memory *memory);

/* Checks that `size_bytes` more may be pinned under RLIMIT_MEMLOCK (or CAP_IPC_LOCK). -EPERM with a
 * sentence and the fix. For backends that register memory with a device. */
int memory_lock_check(size_t size_bytes, struct embar_diag *diag);

/* "hugetlb", "thp", "ordinary", "adopted". */
const char *memory_kind_name(enum embar_page_kind kind);

#endif
