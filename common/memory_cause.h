/*
 * Names why memory could not be had, and the command that fixes it, from facts read after the
 * attempt. Pure; any thread.
 */
#ifndef COMMON_MEMORY_CAUSE_H
#define COMMON_MEMORY_CAUSE_H

#include <stddef.h>
#include <stdint.h>

#include <embar/diag.h>

#include "common/memory_facts.h"

enum memory_cause {
    MEMORY_CAUSE_UNKNOWN,       /* the facts do not explain it: the errno is all there is to say */
    MEMORY_CAUSE_NO_HUGETLB,    /* the kernel has no pool */
    MEMORY_CAUSE_POOL,          /* too few free pages in the pool */
    MEMORY_CAUSE_CGROUP,        /* a cgroup's limit */
    MEMORY_CAUSE_NODE,          /* too few on the NUMA node asked for */
    MEMORY_CAUSE_ALLOWED_NODES, /* too few on the nodes that the process may use */
    MEMORY_CAUSE_ADDRESS_SPACE, /* RLIMIT_AS */
    MEMORY_CAUSE_NO_MEMORY,     /* the system has too little */
    MEMORY_CAUSE_THP_ABSENT,
    MEMORY_CAUSE_THP_PROCESS, /* switched off for the process */
    MEMORY_CAUSE_THP_NEVER,   /* switched off for the system */
    MEMORY_CAUSE_FRAGMENTED,
    MEMORY_CAUSE_LOCK_LIMIT, /* RLIMIT_MEMLOCK */
};

#define MEMORY_CAUSE_BYTES 320 /* room for a cause */

/* Why `size_bytes` of hugetlb pages could not be had; `error` is the positive errno of the attempt.
 * Writes what and how to fix it, to be put after "cannot ...: ". */
enum memory_cause memory_cause_hugetlb(const struct memory_facts *facts, uint64_t size_bytes,
                                       int error, char *text, size_t text_bytes);

/* Why only `got` of `wanted` transparent huge pages came. */
enum memory_cause memory_cause_thp(const struct memory_facts *facts, size_t got, size_t wanted,
                                   char *text, size_t text_bytes);

/* Why `size_bytes` of ordinary memory could not be had. With `error` 0: whether they could not be
 * had if one tried; MEMORY_CAUSE_UNKNOWN then means that nothing speaks against it. Trying would
 * wake the out-of-memory killer, so one asks first. */
enum memory_cause memory_cause_ordinary(const struct memory_facts *facts, uint64_t size_bytes,
                                        int error, char *text, size_t text_bytes);

/* Whether `size_bytes` more may be pinned: MEMORY_CAUSE_UNKNOWN when they may. */
enum memory_cause memory_cause_lock(const struct memory_lock_facts *facts, uint64_t size_bytes,
                                    char *text, size_t text_bytes);

#endif
