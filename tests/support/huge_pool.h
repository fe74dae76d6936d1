/*
 * The host's pool of hugetlb pages, for tests that need some or need it to be too small. Other
 * processes use the pool too: it is only ever added to, and a test takes back no more than it
 * added.
 */
#ifndef SUPPORT_HUGE_POOL_H
#define SUPPORT_HUGE_POOL_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/file.h>

#include "common/memory_facts.h"

#define HUGE_POOL_FILE "/proc/sys/vm/nr_hugepages"

/* Held until the process ends, so that tests that change the pool do so one after the other. */
static inline bool huge_pool_lock(void)
{
    int fd = open(HUGE_POOL_FILE, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && flock(fd, LOCK_EX) == 0;
}

static inline bool huge_pool_write(uint64_t pages)
{
    FILE *file = fopen(HUGE_POOL_FILE, "w");

    if (!file)
        return false;
    bool written = fprintf(file, "%llu\n", (unsigned long long)pages) > 0;
    return fclose(file) == 0 && written;
}

/* Sees to it that `pages` are free. `*added` says how many to take back; false: it cannot be done.
 */
static inline bool huge_pool_reserve(uint64_t pages, uint64_t *added)
{
    struct memory_facts facts;

    memory_facts_read(&facts, "", SIZE_MAX, -1);
    uint64_t usable = facts.pool_free - facts.pool_reserved;
    *added = usable < pages ? pages - usable : 0;
    if (*added > 0 && !huge_pool_write(facts.pool_total + *added))
        return false;
    memory_facts_read(&facts, "", SIZE_MAX, -1);
    return facts.pool_free - facts.pool_reserved >= pages;
}

static inline void huge_pool_release(uint64_t added)
{
    struct memory_facts facts;

    memory_facts_read(&facts, "", SIZE_MAX, -1);
    if (added > 0 && facts.pool_total >= added)
        huge_pool_write(facts.pool_total - added);
}

#endif
