/*
 * From facts to a cause and its remedy in words. Pure: all that it knows is in the facts, so that a
 * test can put it before any host there is. Any thread.
 */
#include "common/memory_cause.h"

#include <inttypes.h>
#include <string.h>

#include "common/text.h"

#define KIB       ((uint64_t)1024)
#define MIB       (KIB * KIB)
#define SIZE_TEXT 24

/* "2 MiB", "4 KiB", "1 GiB"; in whole MiB from there on. */
static const char *size_text(uint64_t bytes, char *text)
{
    if (bytes >= 1024 * MIB && bytes % (1024 * MIB) == 0)
        return text_format(text, SIZE_TEXT, "%" PRIu64 " GiB", bytes / (1024 * MIB));
    if (bytes >= MIB)
        return text_format(text, SIZE_TEXT, "%" PRIu64 " MiB", bytes / MIB);
    return text_format(text, SIZE_TEXT, "%" PRIu64 " KiB", bytes / KIB);
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* ---- hugetlb ----------------------------------------------------------------------------------
 */

static void say_pool(const struct memory_facts *facts, uint64_t needed, uint64_t usable, char *text,
                     size_t text_bytes)
{
    char page[SIZE_TEXT];
    uint64_t enough = facts->pool_total + needed - usable;

    size_text(facts->huge_bytes, page);
    text_format(text, text_bytes,
                "the pool has %" PRIu64 " of the %" PRIu64
                " free pages of %s that are needed; run: ",
                usable, needed, page);
    size_t len = strlen(text);
    if (facts->huge_is_default)
        text_format(text + len, text_bytes - len, "sysctl -w vm.nr_hugepages=%" PRIu64, enough);
    else
        text_format(text + len, text_bytes - len,
                    "echo %" PRIu64 " > /sys/kernel/mm/hugepages/hugepages-%" PRIu64
                    "kB/nr_hugepages",
                    enough, facts->huge_bytes / KIB);
}

static void say_node(const struct memory_facts *facts, uint64_t needed, char *text,
                     size_t text_bytes)
{
    char page[SIZE_TEXT];

    text_format(text, text_bytes,
                "NUMA node %d has %" PRIu64 " of the %" PRIu64
                " free pages of %s that are needed; run: echo %" PRIu64
                " > /sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
                facts->node, facts->node_free, needed, size_text(facts->huge_bytes, page),
                facts->node_total + needed - facts->node_free, facts->node,
                facts->huge_bytes / KIB);
}

static bool cgroup_forbids(const struct memory_cgroup *cgroup, uint64_t size_bytes)
{
    return cgroup->limit_bytes != MEMORY_NO_LIMIT &&
           less(cgroup->limit_bytes, cgroup->used_bytes) < size_bytes;
}

static void say_cgroup(const struct memory_cgroup *cgroup, uint64_t size_bytes, char *text,
                       size_t text_bytes)
{
    char limit[SIZE_TEXT], used[SIZE_TEXT], needed[SIZE_TEXT];

    text_format(text, text_bytes,
                "the cgroup allows %s, has %s in use, and %s are needed; run: echo %" PRIu64
                " > %s",
                size_text(cgroup->limit_bytes, limit), size_text(cgroup->used_bytes, used),
                size_text(size_bytes, needed), cgroup->used_bytes + size_bytes, cgroup->file);
}

static bool address_space_forbids(const struct memory_facts *facts, uint64_t size_bytes)
{
    return facts->address_limit_bytes != MEMORY_NO_LIMIT &&
           less(facts->address_limit_bytes, facts->address_used_bytes) < size_bytes;
}

static void say_address_space(const struct memory_facts *facts, char *text, size_t text_bytes)
{
    text_format(text, text_bytes,
                "the limit on the process's address space (RLIMIT_AS) is %" PRIu64
                " KiB, of which %" PRIu64 " are in use; run: ulimit -v unlimited",
                facts->address_limit_bytes / KIB, facts->address_used_bytes / KIB);
}

enum memory_cause memory_cause_hugetlb(const struct memory_facts *facts, uint64_t size_bytes,
                                       int error, char *text, size_t text_bytes)
{
    char page[SIZE_TEXT];

    if (facts->huge_bytes == 0) {
        text_format(text, text_bytes,
                    "this kernel has no hugetlb pages; use one with CONFIG_HUGETLBFS");
        return MEMORY_CAUSE_NO_HUGETLB;
    }
    uint64_t needed = (size_bytes + facts->huge_bytes - 1) / facts->huge_bytes;
    uint64_t rounded = needed * facts->huge_bytes;
    uint64_t usable = less(facts->pool_free, facts->pool_reserved);
    /* Before the pool as a whole: pages that vm.nr_hugepages adds would be spread over all nodes.
     */
    if (facts->node >= 0 && facts->node_free < needed) {
        say_node(facts, needed, text, text_bytes);
        return MEMORY_CAUSE_NODE;
    }
    if (usable < needed) {
        say_pool(facts, needed, usable, text, text_bytes);
        return MEMORY_CAUSE_POOL;
    }
    if (cgroup_forbids(&facts->hugetlb, rounded)) {
        say_cgroup(&facts->hugetlb, rounded, text, text_bytes);
        return MEMORY_CAUSE_CGROUP;
    }
    if (facts->allowed_free < needed && facts->node_count > 0) {
        text_format(text, text_bytes,
                    "the NUMA nodes that this process may use (%s) have %" PRIu64 " of the %" PRIu64
                    " free pages of %s that are needed; widen cpuset.mems, or the nodes' pools",
                    facts->allowed_nodes, facts->allowed_free, needed,
                    size_text(facts->huge_bytes, page));
        return MEMORY_CAUSE_ALLOWED_NODES;
    }
    if (address_space_forbids(facts, rounded)) {
        say_address_space(facts, text, text_bytes);
        return MEMORY_CAUSE_ADDRESS_SPACE;
    }
    text_format(text, text_bytes,
                "the kernel says '%s', though %" PRIu64 " pages of %s are free and %" PRIu64
                " are needed; try again, another process may have held them",
                strerror(error), usable, size_text(facts->huge_bytes, page), needed);
    return MEMORY_CAUSE_UNKNOWN;
}

/* ---- transparent huge pages -------------------------------------------------------------------
 */

enum memory_cause memory_cause_thp(const struct memory_facts *facts, size_t got, size_t wanted,
                                   char *text, size_t text_bytes)
{
    if (facts->thp_mode == MEMORY_THP_ABSENT) {
        text_format(text, text_bytes, "this kernel has none");
        return MEMORY_CAUSE_THP_ABSENT;
    }
    if (facts->thp_off_for_process) {
        text_format(text, text_bytes,
                    "they are disabled for this process (prctl PR_SET_THP_DISABLE)");
        return MEMORY_CAUSE_THP_PROCESS;
    }
    if (facts->thp_mode == MEMORY_THP_NEVER) {
        text_format(
            text, text_bytes,
            "they are off; run: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
        return MEMORY_CAUSE_THP_NEVER;
    }
    text_format(text, text_bytes,
                "%zu of %zu came, memory is fragmented; run: sysctl -w vm.compact_memory=1", got,
                wanted);
    return MEMORY_CAUSE_FRAGMENTED;
}

/* ---- ordinary pages ---------------------------------------------------------------------------
 */

enum memory_cause memory_cause_ordinary(const struct memory_facts *facts, uint64_t size_bytes,
                                        int error, char *text, size_t text_bytes)
{
    char have[SIZE_TEXT], needed[SIZE_TEXT];

    size_text(size_bytes, needed);
    if (address_space_forbids(facts, size_bytes)) {
        say_address_space(facts, text, text_bytes);
        return MEMORY_CAUSE_ADDRESS_SPACE;
    }
    /* What a cgroup has in use is mostly cache that it can give up, so only a limit below the whole
     * size is certain to forbid it. */
    if (facts->memory.limit_bytes < size_bytes) {
        say_cgroup(&facts->memory, size_bytes, text, text_bytes);
        return MEMORY_CAUSE_CGROUP;
    }
    if (facts->available_bytes < size_bytes) {
        text_format(text, text_bytes,
                    "the system has %s of memory available and %s are needed; make the buffer "
                    "smaller or free memory",
                    size_text(facts->available_bytes, have), needed);
        return MEMORY_CAUSE_NO_MEMORY;
    }
    /* Where there is but one node, its memory is the system's. */
    if (facts->node >= 0 && facts->node_count > 1 && facts->node_available_bytes < size_bytes) {
        text_format(
            text, text_bytes,
            "NUMA node %d has %s of memory available and %s are needed; choose another node "
            "or free memory there",
            facts->node, size_text(facts->node_available_bytes, have), needed);
        return MEMORY_CAUSE_NODE;
    }
    if (error != 0)
        text_format(text, text_bytes, "the kernel says '%s' for %s", strerror(error), needed);
    return MEMORY_CAUSE_UNKNOWN;
}

/* ---- pinning ----------------------------------------------------------------------------------
 */

enum memory_cause memory_cause_lock(const struct memory_lock_facts *facts, uint64_t size_bytes,
                                    char *text, size_t text_bytes)
{
    if (facts->may_exceed || facts->soft_bytes == MEMORY_NO_LIMIT ||
        less(facts->soft_bytes, facts->used_bytes) >= size_bytes)
        return MEMORY_CAUSE_UNKNOWN;
    uint64_t enough_kib = (facts->used_bytes + size_bytes + KIB - 1) / KIB;
    text_format(text, text_bytes,
                "RLIMIT_MEMLOCK is %" PRIu64 " KiB, of which %" PRIu64 " are in use, and %" PRIu64
                " more are needed; ",
                facts->soft_bytes / KIB, facts->used_bytes / KIB, (size_bytes + KIB - 1) / KIB);
    size_t len = strlen(text);
    if (facts->hard_bytes == MEMORY_NO_LIMIT || facts->hard_bytes / KIB >= enough_kib)
        text_format(text + len, text_bytes - len, "run: ulimit -l %" PRIu64, enough_kib);
    else
        text_format(text + len, text_bytes - len,
                    "as root set 'memlock' to %" PRIu64 " in /etc/security/limits.conf, or "
                    "LimitMEMLOCK=infinity in the systemd unit, or grant CAP_IPC_LOCK",
                    enough_kib);
    return MEMORY_CAUSE_LOCK_LIMIT;
}
