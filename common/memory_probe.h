/*
 * Reads back from the kernel what pages a range of this process's memory really has. May block on
 * the file system; any thread.
 */
#ifndef COMMON_MEMORY_PROBE_H
#define COMMON_MEMORY_PROBE_H

#include <stddef.h>
#include <stdint.h>

struct memory_pages {
    size_t page_bytes;       /* KernelPageSize: the page size of the mapping */
    uint64_t resident_bytes; /* in pages of any kind */
    uint64_t thp_bytes;      /* in transparent huge pages, anonymous or of a memfd */
    uint64_t hugetlb_bytes;  /* in hugetlb pages */
};

/* Sums over the mappings that lie within the range. `smaps_path` is "/proc/self/smaps"; a test may
 * name another. 0; -ENOENT no mapping lies there; the error of opening the file. */
int memory_probe_pages(const char *smaps_path, const void *addr, size_t size_bytes,
                       struct memory_pages *pages);

/* The NUMA node of the page at `addr`, which must be populated; -1 when the kernel does not say. */
int memory_probe_node(void *addr);

#endif
