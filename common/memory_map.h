/*
 * The steps of memory_alloc, one for each kind of page: map, bind, populate. What a step has mapped
 * it unmaps again when it fails. Blocks while the kernel zeroes pages; any thread.
 */
#ifndef COMMON_MEMORY_MAP_H
#define COMMON_MEMORY_MAP_H

#include <stddef.h>

#include "common/memory.h"

/* Each fills in the addresses, and the pages that were asked for. Negative errno: -ENOMEM, -EFAULT
 * (what would have been SIGBUS), -EPERM (mbind(2) is not allowed), ... `node` -1: no binding. */
int memory_map_hugetlb(struct memory *memory, size_t size_bytes, size_t huge_bytes, int node);

/* Aligned to huge pages and advised before the first touch. */
int memory_map_thp(struct memory *memory, size_t size_bytes, size_t huge_bytes, int node);

/* Never a huge page, even where transparent ones are always on. */
int memory_map_ordinary(struct memory *memory, size_t size_bytes, int node);

/* Asks the kernel to gather what is not in transparent huge pages yet; best effort. */
void memory_collapse(const struct memory *memory);

/* Gives the end of the memory back to the kernel, so that `size_bytes` (rounded up to a page) stay.
 */
void memory_trim(struct memory *memory, size_t size_bytes);

/* Reserves address space between guard pages, and opens the aligned part of it: ordinary memory. */
int memory_map_guarded(struct memory *memory, size_t size_bytes, size_t alignment);

/* Binds and populates what has been mapped; unmaps it on failure. */
int memory_map_finish(struct memory *memory, size_t page_bytes, int node);

/* For kernels before 5.14, which have no MADV_POPULATE_WRITE: lets the kernel write a byte into
 * each page, which ends in -EFAULT where a write of ours would end in SIGBUS. The range is zero
 * already. */
int memory_populate_by_kernel(void *addr, size_t size_bytes, size_t page_bytes);

#endif
