/*
 * The steps of memory_alloc_shareable, one for each kind of page: a sealed memfd, mapped, bound and
 * populated. What a step has made it undoes when it fails. Blocks while the kernel zeroes pages;
 * any thread.
 */
#ifndef COMMON_MEMORY_SHARE_H
#define COMMON_MEMORY_SHARE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/memory.h"

/* As memory_map_hugetlb. */
int memory_share_hugetlb(struct memory *memory, size_t size_bytes, size_t huge_bytes, int node);

/* With `thp_bytes` the size is rounded up to it and the kernel asked to gather the pages, which the
 * caller has to measure; 0: ordinary pages. */
int memory_share_small(struct memory *memory, size_t size_bytes, size_t thp_bytes, int node);

/* A memfd of `size_bytes` that can neither shrink nor grow, with `flags` of memfd_create(2) beside
 * its own. The descriptor, or a negative errno. */
int memory_share_create(const char *name, size_t size_bytes, unsigned flags);

/* Closes the set of its seals (F_SEAL_SEAL), before another process gets it; with `read_only`
 * nobody can map it for writing any more, but what is mapped here stays (F_SEAL_FUTURE_WRITE,
 * Linux 5.1). 0, or a negative errno. */
int memory_share_seal(int fd, bool read_only);

/* Whether it was sealed so. */
bool memory_share_is_read_only(int fd);

/* Whether `fd` is a file of just `size_bytes`, all of them there and sealed against a change of
 * size, so that mapping it cannot end in SIGBUS by truncation. 0; -EINVAL not of that size;
 * -EPERM not sealed; -ENOMEM not populated. For a descriptor that came from a peer. */
int memory_share_check(int fd, size_t size_bytes);

#endif
