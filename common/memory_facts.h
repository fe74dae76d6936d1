/*
 * What decides whether memory can be had, read from the kernel's files: the pool of huge pages, the
 * NUMA nodes, the cgroups, the limits of the process. Reads below a root folder, which is "" for
 * the system and a fixture for a test. May block on the file system; any thread.
 */
#ifndef COMMON_MEMORY_FACTS_H
#define COMMON_MEMORY_FACTS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_NO_LIMIT UINT64_MAX

/* The tightest limit that the process's cgroups set on one thing. */
struct memory_cgroup {
    uint64_t limit_bytes; /* MEMORY_NO_LIMIT: none */
    uint64_t used_bytes;
    char file[PATH_MAX]; /* where the limit is set */
};

enum memory_thp_mode {
    MEMORY_THP_ABSENT, /* the kernel has none */
    MEMORY_THP_NEVER,
    MEMORY_THP_MADVISE,
    MEMORY_THP_ALWAYS,
};

/* A file that is missing leaves counts at 0 and limits at MEMORY_NO_LIMIT. */
struct memory_facts {
    size_t huge_bytes;    /* the hugetlb page size that suits the size asked for; 0: none exists */
    bool huge_is_default; /* the size that vm.nr_hugepages speaks of */
    uint64_t pool_total, pool_free, pool_reserved; /* pages; the reserved ones count as free too */

    int node;                       /* asked for; -1: none */
    bool node_exists;               /* and has memory */
    bool node_allowed;              /* cpuset(7) lets the process use it */
    uint64_t node_total, node_free; /* huge pages of that node */
    uint64_t node_available_bytes;  /* its memory that is free or can be reclaimed */
    unsigned node_count;            /* nodes that have memory */
    uint64_t allowed_free;          /* huge pages free on the nodes that the process may use */
    char allowed_nodes[64];         /* as the kernel lists them: "0-1,3" */

    struct memory_cgroup hugetlb, memory;

    enum memory_thp_mode thp_mode;
    bool thp_off_for_process; /* prctl(2), PR_SET_THP_DISABLE */
    size_t thp_bytes;         /* size of a transparent huge page */

    uint64_t available_bytes;                         /* MemAvailable and free swap */
    uint64_t address_limit_bytes, address_used_bytes; /* RLIMIT_AS */
};

void memory_facts_read(struct memory_facts *facts, const char *root, size_t size_bytes, int node);

/* What decides whether memory may be pinned. */
struct memory_lock_facts {
    uint64_t soft_bytes, hard_bytes; /* RLIMIT_MEMLOCK */
    uint64_t used_bytes;             /* pinned or locked already */
    bool may_exceed;                 /* CAP_IPC_LOCK where the kernel asks for it */
};

void memory_lock_facts_read(struct memory_lock_facts *facts, const char *root);

/* Reads the tightest limit of `controller` ("hugetlb") over the process's cgroup and those above
 * it, in cgroup v2 or, where the controller is mounted there, v1. The limit's files are called
 * `v2_limit` and `v2_used`, or `v1_limit` and `v1_used`. Leaves a tighter limit that `cgroup` has
 * already. */
struct memory_cgroup_files {
    const char *controller, *v2_limit, *v2_used, *v1_limit, *v1_used;
};

void memory_cgroup_read(struct memory_cgroup *cgroup, const char *root,
                        const struct memory_cgroup_files *files);

/* ---- reading small files, shared by the files of this group --------------------------------- */

/* Reads all of ROOT/path up to the room there is; false when it cannot. */
bool memory_read_text(const char *root, const char *path, char *text, size_t text_bytes);

/* The number that the file begins with; `absent` when it is missing or holds none ("max"). */
uint64_t memory_read_number(const char *root, const char *path, uint64_t absent);

/* The number after `label` at the beginning of a line of `text` ("MemFree:"), or `absent`. */
uint64_t memory_find_number(const char *text, const char *label, uint64_t absent);

/* The rest of the line that begins with `label`, blanks skipped; NULL when there is none. */
const char *memory_find_line(const char *text, const char *label);

#endif
