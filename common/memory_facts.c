/*
 * Reads what decides whether memory can be had. Owns nothing; keeps no state, because an operator
 * changes these numbers while the process runs. Any thread.
 */
#include "common/memory_facts.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/text.h"

#define KIB            ((uint64_t)1024)
#define TEXT_BYTES     16384 /* /proc/self/status with a thousand CPUs and nodes stays below it */
#define CAP_IPC_LOCK   14    /* capabilities(7) */
#define MAX_NODES      1024  /* what the kernel can be built for */
#define HUGEPAGES_PATH "/sys/kernel/mm/hugepages"
#define THP_PATH       "/sys/kernel/mm/transparent_hugepage"

bool memory_read_text(const char *root, const char *path, char *text, size_t text_bytes)
{
    char full[PATH_MAX];
    size_t len = 0;
    ssize_t got = 0;

    text_format(full, sizeof(full), "%s%s", root, path);
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    /* The kernel hands out its longer files in pieces. */
    while (len + 1 < text_bytes && (got = read(fd, text + len, text_bytes - 1 - len)) > 0)
        len += (size_t)got;
    close(fd);
    text[len] = '\0';
    return got >= 0;
}

uint64_t memory_read_number(const char *root, const char *path, uint64_t absent)
{
    char text[64];

    if (!memory_read_text(root, path, text, sizeof(text)) || !isdigit((unsigned char)text[0]))
        return absent;
    return strtoull(text, NULL, 10);
}

const char *memory_find_line(const char *text, const char *label)
{
    size_t len = strlen(label);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, label, len) == 0)
            return line + len + strspn(line + len, " \t");
    }
    return NULL;
}

uint64_t memory_find_number(const char *text, const char *label, uint64_t absent)
{
    const char *value = memory_find_line(text, label);

    if (!value || !isdigit((unsigned char)*value))
        return absent;
    return strtoull(value, NULL, 10);
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? MEMORY_NO_LIMIT : sum;
}

/* ---- the pool ---------------------------------------------------------------------------------
 */

/* Of the sizes that the kernel has a pool for, the largest that is not larger than `size_bytes`. */
static size_t largest_pool_within(const char *root, size_t size_bytes)
{
    char path[PATH_MAX];
    size_t best = 0;

    text_format(path, sizeof(path), "%s%s", root, HUGEPAGES_PATH);
    DIR *dir = opendir(path);
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        uint64_t kib = memory_find_number(entry->d_name, "hugepages-", 0);
        size_t bytes = (size_t)(kib * KIB);
        if (bytes <= size_bytes && bytes > best)
            best = bytes;
    }
    closedir(dir);
    return best;
}

static void read_pool(struct memory_facts *facts, const char *root, const char *meminfo,
                      size_t size_bytes)
{
    size_t standard = (size_t)(memory_find_number(meminfo, "Hugepagesize:", 0) * KIB);
    char path[PATH_MAX];

    facts->huge_bytes = standard;
    /* Where the default is 1 GiB, a smaller buffer must not be rounded up to that. */
    if (standard > size_bytes) {
        size_t smaller = largest_pool_within(root, size_bytes);
        if (smaller > 0)
            facts->huge_bytes = smaller;
    }
    if (facts->huge_bytes == 0)
        return;
    facts->huge_is_default = facts->huge_bytes == standard;
    static const char *const names[] = {"nr_hugepages", "free_hugepages", "resv_hugepages"};
    uint64_t *const counts[] = {&facts->pool_total, &facts->pool_free, &facts->pool_reserved};
    for (int i = 0; i < 3; i++) {
        text_format(path, sizeof(path), "%s/hugepages-%zukB/%s", HUGEPAGES_PATH,
                    (size_t)(facts->huge_bytes / KIB), names[i]);
        *counts[i] = memory_read_number(root, path, 0);
    }
}

/* ---- NUMA nodes -------------------------------------------------------------------------------
 */

static uint64_t read_node_pool(const struct memory_facts *facts, const char *root, int node,
                               const char *name)
{
    char path[PATH_MAX];

    text_format(path, sizeof(path), "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/%s",
                node, (size_t)(facts->huge_bytes / KIB), name);
    return memory_read_number(root, path, 0);
}

/* Whether a list like "0-1,3" has the node. */
static bool list_has(const char *list, int node)
{
    for (const char *c = list; isdigit((unsigned char)*c);) {
        char *end;
        long low = strtol(c, &end, 10), high = low;
        if (*end == '-')
            high = strtol(end + 1, &end, 10);
        if (node >= low && node <= high)
            return true;
        c = *end == ',' ? end + 1 : end;
    }
    return false;
}

/* Memory of the node that is free or can be reclaimed. */
static uint64_t read_node_available(const char *root, int node)
{
    static const char *const names[] = {"MemFree", "Active(file)", "Inactive(file)",
                                        "SReclaimable"};
    char path[PATH_MAX], label[64], text[TEXT_BYTES];
    uint64_t sum = 0;

    text_format(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
    if (!memory_read_text(root, path, text, sizeof(text)))
        return MEMORY_NO_LIMIT;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        text_format(label, sizeof(label), "Node %d %s:", node, names[i]);
        sum += memory_find_number(text, label, 0) * KIB;
    }
    return sum;
}

static void read_nodes(struct memory_facts *facts, const char *root, const char *status)
{
    char with_memory[256] = "";
    const char *allowed = memory_find_line(status, "Mems_allowed_list:");

    if (!memory_read_text(root, "/sys/devices/system/node/has_memory", with_memory,
                          sizeof(with_memory)))
        with_memory[0] = '\0';
    if (allowed)
        text_format(facts->allowed_nodes, sizeof(facts->allowed_nodes), "%.*s",
                    (int)strcspn(allowed, "\n"), allowed);
    for (int node = 0; node < MAX_NODES; node++) {
        if (!list_has(with_memory, node))
            continue;
        facts->node_count++;
        if (!allowed || list_has(facts->allowed_nodes, node))
            facts->allowed_free += read_node_pool(facts, root, node, "free_hugepages");
    }
    facts->node_available_bytes = MEMORY_NO_LIMIT;
    if (facts->node < 0 || !list_has(with_memory, facts->node))
        return;
    facts->node_exists = true;
    facts->node_allowed = !allowed || list_has(facts->allowed_nodes, facts->node);
    facts->node_total = read_node_pool(facts, root, facts->node, "nr_hugepages");
    facts->node_free = read_node_pool(facts, root, facts->node, "free_hugepages");
    facts->node_available_bytes = read_node_available(root, facts->node);
}

/* ---- cgroups ----------------------------------------------------------------------------------
 */

/* As the kernel names sizes in file names: "64KB", "2MB", "1GB". */
static void name_size(size_t bytes, char *text, size_t text_bytes)
{
    if (bytes >= KIB * KIB * KIB)
        text_format(text, text_bytes, "%zuGB", bytes >> 30);
    else if (bytes >= KIB * KIB)
        text_format(text, text_bytes, "%zuMB", bytes >> 20);
    else
        text_format(text, text_bytes, "%zuKB", bytes >> 10);
}

/* One limit holds for pages in use, the other (".rsvd") for pages in use or reserved. */
static void read_hugetlb_cgroup(struct memory_facts *facts, const char *root)
{
    char size[16], names[4][64];

    name_size(facts->huge_bytes, size, sizeof(size));
    for (int i = 0; i < 2; i++) {
        const char *reserved = i == 1 ? ".rsvd" : "";
        text_format(names[0], sizeof(names[0]), "hugetlb.%s%s.max", size, reserved);
        text_format(names[1], sizeof(names[1]), "hugetlb.%s%s.current", size, reserved);
        text_format(names[2], sizeof(names[2]), "hugetlb.%s%s.limit_in_bytes", size, reserved);
        text_format(names[3], sizeof(names[3]), "hugetlb.%s%s.usage_in_bytes", size, reserved);
        memory_cgroup_read(
            &facts->hugetlb, root,
            &(struct memory_cgroup_files){"hugetlb", names[0], names[1], names[2], names[3]});
    }
}

/* ---- transparent huge pages -------------------------------------------------------------------
 */

/* The word in brackets is the one in force: "always [madvise] never". */
static bool read_mode(const char *root, const char *path, enum memory_thp_mode *mode)
{
    char text[128];

    if (!memory_read_text(root, path, text, sizeof(text)))
        return false;
    if (strstr(text, "[always]"))
        *mode = MEMORY_THP_ALWAYS;
    else if (strstr(text, "[madvise]"))
        *mode = MEMORY_THP_MADVISE;
    else if (strstr(text, "[never]"))
        *mode = MEMORY_THP_NEVER;
    else
        return false; /* "[inherit]" of a page size */
    return true;
}

static void read_thp(struct memory_facts *facts, const char *root, const char *status)
{
    char path[PATH_MAX];

    if (!read_mode(root, THP_PATH "/enabled", &facts->thp_mode))
        return;
    facts->thp_bytes = (size_t)memory_read_number(root, THP_PATH "/hpage_pmd_size", 2 * KIB * KIB);
    /* Since Linux 6.8 each size has a setting of its own, which wins unless it inherits. */
    text_format(path, sizeof(path), "%s/hugepages-%zukB/enabled", THP_PATH,
                (size_t)(facts->thp_bytes / KIB));
    read_mode(root, path, &facts->thp_mode);
    facts->thp_off_for_process = memory_find_number(status, "THP_enabled:", 1) == 0;
}

/* ---- all of it --------------------------------------------------------------------------------
 */

/* The soft and hard value of a line of /proc/self/limits ("Max address space"). */
static void read_limit(const char *limits, const char *label, uint64_t *soft, uint64_t *hard)
{
    const char *value = memory_find_line(limits, label);
    uint64_t values[2] = {MEMORY_NO_LIMIT, MEMORY_NO_LIMIT};

    for (int i = 0; value && i < 2; i++) {
        if (isdigit((unsigned char)*value))
            values[i] = strtoull(value, NULL, 10);
        value += strcspn(value, " \n");
        value += strspn(value, " ");
    }
    *soft = values[0];
    *hard = values[1];
}

void memory_facts_read(struct memory_facts *facts, const char *root, size_t size_bytes, int node)
{
    static const struct memory_cgroup_files memory_files = {
        "memory", "memory.max", "memory.current", "memory.limit_in_bytes", "memory.usage_in_bytes"};
    char meminfo[TEXT_BYTES] = "", status[TEXT_BYTES] = "", limits[TEXT_BYTES] = "";
    uint64_t hard;

    memset(facts, 0, sizeof(*facts));
    facts->node = node;
    facts->hugetlb.limit_bytes = facts->memory.limit_bytes = MEMORY_NO_LIMIT;
    if (!memory_read_text(root, "/proc/meminfo", meminfo, sizeof(meminfo)))
        meminfo[0] = '\0';
    if (!memory_read_text(root, "/proc/self/status", status, sizeof(status)))
        status[0] = '\0';
    if (!memory_read_text(root, "/proc/self/limits", limits, sizeof(limits)))
        limits[0] = '\0';
    read_pool(facts, root, meminfo, size_bytes);
    read_nodes(facts, root, status);
    if (facts->huge_bytes > 0)
        read_hugetlb_cgroup(facts, root);
    memory_cgroup_read(&facts->memory, root, &memory_files);
    read_thp(facts, root, status);
    facts->available_bytes = MEMORY_NO_LIMIT;
    if (memory_find_line(meminfo, "MemAvailable:"))
        facts->available_bytes = (memory_find_number(meminfo, "MemAvailable:", 0) +
                                  memory_find_number(meminfo, "SwapFree:", 0)) *
                                 KIB;
    read_limit(limits, "Max address space", &facts->address_limit_bytes, &hard);
    facts->address_used_bytes = memory_find_number(status, "VmSize:", 0) * KIB;
}

void memory_lock_facts_read(struct memory_lock_facts *facts, const char *root)
{
    char status[TEXT_BYTES] = "", limits[TEXT_BYTES] = "", uid_map[128] = "";
    unsigned long inside = 1, outside = 1, count = 0;

    if (!memory_read_text(root, "/proc/self/status", status, sizeof(status)))
        status[0] = '\0';
    if (!memory_read_text(root, "/proc/self/limits", limits, sizeof(limits)))
        limits[0] = '\0';
    read_limit(limits, "Max locked memory", &facts->soft_bytes, &facts->hard_bytes);
    facts->used_bytes = add_capped(memory_find_number(status, "VmPin:", 0) * KIB,
                                   memory_find_number(status, "VmLck:", 0) * KIB);
    const char *caps = memory_find_line(status, "CapEff:");
    facts->may_exceed = caps && (strtoull(caps, NULL, 16) >> CAP_IPC_LOCK & 1);
    /* The kernel asks for the capability in its first user namespace: one that a rootless container
     * grants does not count. There the map is not "0 0 4294967295". */
    if (memory_read_text(root, "/proc/self/uid_map", uid_map, sizeof(uid_map)) &&
        sscanf(uid_map, "%lu %lu %lu", &inside, &outside, &count) == 3 &&
        !(inside == 0 && outside == 0 && count == UINT32_MAX))
        facts->may_exceed = false;
}
