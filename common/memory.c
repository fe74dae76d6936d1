/*
 * Allocates buffer memory: runs the chain hugetlb, transparent huge pages, ordinary pages, measures
 * what came of it, and says why it was not the best. Owns what it maps until memory_free; any
 * thread.
 */
#include "common/memory.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/log.h"
#include "common/memory_cause.h"
#include "common/memory_facts.h"
#include "common/memory_map.h"
#include "common/memory_probe.h"
#include "common/memory_share.h"
#include "common/text.h"

#define SMAPS "/proc/self/smaps"
#define MIB   ((size_t)1 << 20)

/* THP only when at least 15 of 16 bytes are. */
static bool is_nearly_all(uint64_t part, uint64_t whole)
{
    return part >= whole - whole / 16;
}

/* Who is to see the memory. */
enum sharing {
    SHARE_NONE,
    SHARE_WRITABLE, /* another process maps it */
    SHARE_READABLE, /* others read it, if that costs neither memory nor the size of its pages */
};

/* One allocation on its way through the chain. */
struct attempt {
    size_t size_bytes;
    int node;
    enum sharing sharing;
    struct memory memory;
    struct memory_facts facts;
    char cause[MEMORY_CAUSE_BYTES]; /* why the last step failed */
};

/* Adds why a step was given up to the sentence of the memory obtained later. */
static void note_reason(struct attempt *attempt, char *reason, size_t reason_bytes,
                        const char *what)
{
    size_t len = strlen(reason);

    text_format(reason + len, reason_bytes - len, "%s%s: %s", len > 0 ? "; " : "", what,
                attempt->cause);
}

static int bind_failed(const struct attempt *attempt, int rc, struct embar_diag *diag)
{
    return diag_fail(diag, -rc,
                     "cannot bind memory to NUMA node %d: %s; in a container add CAP_SYS_NICE, or "
                     "leave the node open",
                     attempt->node, strerror(-rc));
}

static bool is_shared(const struct attempt *attempt)
{
    return attempt->sharing != SHARE_NONE;
}

/* Whether memory that could not be shared is to be had all the same. */
static bool may_be_private(const struct attempt *attempt, int rc)
{
    return attempt->sharing == SHARE_READABLE && rc < 0 && rc != -EPERM;
}

static int try_hugetlb(struct attempt *attempt)
{
    struct memory *memory = &attempt->memory;
    size_t huge = attempt->facts.huge_bytes, size = attempt->size_bytes;
    int rc = -ENOMEM;

    if (huge != 0) {
        rc = (is_shared(attempt) ? memory_share_hugetlb : memory_map_hugetlb)(memory, size, huge,
                                                                              attempt->node);
        if (may_be_private(attempt, rc))
            rc = memory_map_hugetlb(memory, size, huge, attempt->node);
    }
    if (rc == 0)
        return 0;
    /* Read again: the numbers must be those that the failure left behind. */
    memory_facts_read(&attempt->facts, "", attempt->size_bytes, attempt->node);
    memory_cause_hugetlb(&attempt->facts, attempt->size_bytes, -rc, attempt->cause,
                         sizeof(attempt->cause));
    return rc;
}

static uint64_t count_thp_bytes(const struct memory *memory)
{
    struct memory_pages pages;

    if (memory_probe_pages(SMAPS, memory->addr, memory->size_bytes, &pages) != 0)
        return 0;
    return pages.thp_bytes;
}

/* 0: the memory is there. Where it is not in huge pages, `reason` says why, or, after a failure,
 * the attempt's cause. */
static int try_thp(struct attempt *attempt, char *reason, size_t reason_bytes)
{
    struct memory *memory = &attempt->memory;
    size_t huge = attempt->facts.thp_bytes;

    if (attempt->facts.thp_mode == MEMORY_THP_ABSENT) {
        memory_cause_thp(&attempt->facts, 0, 0, attempt->cause, sizeof(attempt->cause));
        return -ENOTSUP;
    }
    int rc = memory_map_thp(memory, attempt->size_bytes, huge, attempt->node);
    if (rc != 0) {
        text_format(attempt->cause, sizeof(attempt->cause), "the kernel says '%s'", strerror(-rc));
        return rc;
    }
    uint64_t got = count_thp_bytes(memory);
    if (got < memory->size_bytes) {
        memory_collapse(memory);
        got = count_thp_bytes(memory);
    }
    if (!is_nearly_all(got, memory->size_bytes)) {
        memory_cause_thp(&attempt->facts, (size_t)(got / huge), memory->size_bytes / huge,
                         attempt->cause, sizeof(attempt->cause));
        note_reason(attempt, reason, reason_bytes, "no transparent huge pages");
        memory_trim(memory, attempt->size_bytes);
    }
    return 0;
}

/* The same for shareable memory; what the kernel did not gather is given back. */
static int try_shared_thp(struct attempt *attempt)
{
    struct memory *memory = &attempt->memory;
    size_t huge = attempt->facts.thp_bytes;
    int rc = -ENOTSUP;

    if (attempt->facts.thp_mode != MEMORY_THP_ABSENT)
        rc = memory_share_small(memory, attempt->size_bytes, huge, attempt->node);
    if (rc == 0 && !is_nearly_all(count_thp_bytes(memory), memory->size_bytes)) {
        memory_free(memory);
        rc = -EAGAIN;
    }
    if (rc != 0)
        text_format(attempt->cause, sizeof(attempt->cause),
                    "the kernel does not gather the pages of a memfd (%s); see "
                    "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
                    strerror(-rc));
    return rc;
}

static int try_ordinary(struct attempt *attempt, struct embar_diag *diag)
{
    struct memory *memory = &attempt->memory;
    int rc = is_shared(attempt) ? memory_share_small(memory, attempt->size_bytes, 0, attempt->node)
                                : memory_map_ordinary(memory, attempt->size_bytes, attempt->node);

    if (may_be_private(attempt, rc))
        rc = memory_map_ordinary(memory, attempt->size_bytes, attempt->node);
    if (rc == 0)
        return 0;
    if (rc == -EPERM)
        return bind_failed(attempt, rc, diag);
    memory_facts_read(&attempt->facts, "", attempt->size_bytes, attempt->node);
    memory_cause_ordinary(&attempt->facts, attempt->size_bytes, -rc, attempt->cause,
                          sizeof(attempt->cause));
    return diag_fail(diag, ENOMEM, "cannot allocate %zu MiB of memory: %s",
                     (attempt->size_bytes + MIB - 1) / MIB, attempt->cause);
}

/* Transparent huge pages that nobody else can see, or -EAGAIN: ordinary ones can be shared. */
static int try_private_thp(struct attempt *attempt)
{
    struct memory *memory = &attempt->memory;
    char unused[sizeof(memory->reason)] = "";
    int rc = try_thp(attempt, unused, sizeof(unused));

    if (rc == 0 && unused[0] != '\0') {
        memory_free(memory);
        rc = -EAGAIN;
    }
    return rc;
}

/* Transparent huge pages if they can be had, else ordinary pages. */
static int alloc_small(struct attempt *attempt, bool want_thp, char *reason, size_t reason_bytes,
                       struct embar_diag *diag)
{
    /* The kernel hands out ordinary memory without asking whether it is there, and kills later. */
    if (memory_cause_ordinary(&attempt->facts, attempt->size_bytes, 0, attempt->cause,
                              sizeof(attempt->cause)) != MEMORY_CAUSE_UNKNOWN)
        return diag_fail(diag, ENOMEM, "cannot allocate %zu MiB of memory: %s",
                         (attempt->size_bytes + MIB - 1) / MIB, attempt->cause);
    if (want_thp) {
        int rc =
            is_shared(attempt) ? try_shared_thp(attempt) : try_thp(attempt, reason, reason_bytes);

        if (may_be_private(attempt, rc))
            rc = try_private_thp(attempt);
        if (rc == 0)
            return 0;
        if (rc == -EPERM)
            return bind_failed(attempt, rc, diag);
        note_reason(attempt, reason, reason_bytes, "no transparent huge pages");
    }
    return try_ordinary(attempt, diag);
}

/* Puts what the kernel says that it gave in the place of what was asked for. Without /proc there is
 * nothing to go by: hugetlb pages are what they are, and others count as ordinary. */
static void measure(struct memory *memory, size_t thp_page_bytes)
{
    struct memory_pages pages;

    memory->numa_node = memory_probe_node(memory->addr);
    if (memory_probe_pages(SMAPS, memory->addr, memory->size_bytes, &pages) != 0)
        return;
    memory->page_bytes = pages.page_bytes;
    if (pages.page_bytes > (size_t)sysconf(_SC_PAGESIZE)) {
        memory->kind = EMBAR_PAGES_HUGETLB;
        memory->page_count = (size_t)(pages.hugetlb_bytes / pages.page_bytes);
        return;
    }
    memory->kind = EMBAR_PAGES_ORDINARY;
    memory->page_count = memory->size_bytes / pages.page_bytes;
    if (thp_page_bytes > 0 && is_nearly_all(pages.thp_bytes, memory->size_bytes)) {
        memory->kind = EMBAR_PAGES_THP;
        memory->page_bytes = thp_page_bytes;
        memory->page_count = (size_t)(pages.thp_bytes / thp_page_bytes);
    }
}

static int run_chain(struct attempt *attempt, enum embar_hugepages hugepages, char *reason,
                     size_t reason_bytes, struct embar_diag *diag)
{
    if (hugepages != EMBAR_HUGEPAGES_NEVER) {
        int rc = try_hugetlb(attempt);
        if (rc == 0)
            return 0;
        if (rc == -EPERM)
            return bind_failed(attempt, rc, diag);
        if (hugepages == EMBAR_HUGEPAGES_REQUIRE)
            return diag_fail(diag, ENOMEM, "cannot allocate %zu MiB of hugetlb pages: %s",
                             (attempt->size_bytes + MIB - 1) / MIB, attempt->cause);
        note_reason(attempt, reason, reason_bytes, "no hugetlb pages");
    }
    return alloc_small(attempt, hugepages == EMBAR_HUGEPAGES_PREFER, reason, reason_bytes, diag);
}

/* A kernel that cannot keep others from writing shares nothing that is to be read only. */
static int close_seals(struct memory *memory, enum sharing sharing, struct embar_diag *diag)
{
    int rc;

    if (!memory->shareable)
        return 0;
    rc = memory_share_seal(memory->fd, sharing == SHARE_READABLE);
    if (rc < 0 && sharing == SHARE_READABLE) {
        close(memory->fd);
        memory->shareable = false;
        return 0;
    }
    if (rc < 0) {
        memory_free(memory);
        return diag_fail(diag, -rc, "a memfd cannot be sealed: %s", strerror(-rc));
    }
    return 0;
}

static int alloc(size_t size_bytes, enum embar_hugepages hugepages, int numa_node,
                 enum sharing sharing, struct memory *memory, struct embar_diag *diag)
{
    struct attempt attempt = {.size_bytes = size_bytes, .node = numa_node, .sharing = sharing};
    char reason[sizeof(memory->reason)] = "";

    if (size_bytes == 0 || size_bytes > SIZE_MAX / 4)
        return diag_fail(diag, EINVAL, "cannot allocate a buffer of %zu bytes", size_bytes);
    memory_facts_read(&attempt.facts, "", size_bytes, numa_node);
    if (numa_node >= 0 && !attempt.facts.node_exists)
        return diag_fail(diag, EINVAL,
                         "this host has no NUMA node %d with memory; see 'numactl --hardware', or "
                         "leave the node open",
                         numa_node);
    if (numa_node >= 0 && !attempt.facts.node_allowed)
        return diag_fail(
            diag, EINVAL,
            "this process may not use NUMA node %d, only %s; widen its cpuset.mems, or "
            "leave the node open",
            numa_node, attempt.facts.allowed_nodes);
    int rc = run_chain(&attempt, hugepages, reason, sizeof(reason), diag);
    if (rc == 0)
        rc = close_seals(&attempt.memory, sharing, diag);
    if (rc != 0)
        return rc;
    measure(&attempt.memory, attempt.facts.thp_bytes);
    memcpy(attempt.memory.reason, reason, sizeof(reason));
    *memory = attempt.memory;
    log_line(reason[0] ? EMBAR_LOG_WARN : EMBAR_LOG_INFO,
             "memory: %zu MiB in %zu %s pages of %zu KiB on NUMA node %d%s%s",
             memory->size_bytes / MIB, memory->page_count, memory_kind_name(memory->kind),
             memory->page_bytes / 1024, memory->numa_node, reason[0] ? "; " : "", reason);
    return 0;
}

int memory_alloc(size_t size_bytes, enum embar_hugepages hugepages, int numa_node,
                 struct memory *memory, struct embar_diag *diag)
{
    return alloc(size_bytes, hugepages, numa_node, SHARE_NONE, memory, diag);
}

int memory_alloc_shareable(size_t size_bytes, enum embar_hugepages hugepages, int numa_node,
                           struct memory *memory, struct embar_diag *diag)
{
    return alloc(size_bytes, hugepages, numa_node, SHARE_WRITABLE, memory, diag);
}

int memory_alloc_lendable(size_t size_bytes, enum embar_hugepages hugepages, int numa_node,
                          struct memory *memory, struct embar_diag *diag)
{
    return alloc(size_bytes, hugepages, numa_node, SHARE_READABLE, memory, diag);
}

void memory_free(struct memory *memory)
{
    if (memory->shareable)
        close(memory->fd);
    if (memory->map_addr)
        munmap(memory->map_addr, memory->map_bytes);
    *memory = (struct memory){0};
}

int memory_lock_check(size_t size_bytes, struct embar_diag *diag)
{
    struct memory_lock_facts facts;
    char cause[MEMORY_CAUSE_BYTES];

    memory_lock_facts_read(&facts, "");
    if (memory_cause_lock(&facts, size_bytes, cause, sizeof(cause)) == MEMORY_CAUSE_UNKNOWN)
        return 0;
    return diag_fail(diag, EPERM, "cannot pin %zu MiB of memory: %s", (size_bytes + MIB - 1) / MIB,
                     cause);
}

const char *memory_kind_name(enum embar_page_kind kind)
{
    switch (kind) {
    case EMBAR_PAGES_ORDINARY:
        return "ordinary";
    case EMBAR_PAGES_THP:
        return "thp";
    case EMBAR_PAGES_HUGETLB:
        return "hugetlb";
    case EMBAR_PAGES_ADOPTED:
        return "adopted";
    }
    return "unknown";
}
