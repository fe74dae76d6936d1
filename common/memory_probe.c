/*
 * Reads back what pages memory has, from smaps (proc_pid_smaps(5)) and get_mempolicy(2): what was
 * asked for and what the kernel gave are two things. Owns nothing; any thread.
 */
#include "common/memory_probe.h"

#include <errno.h>
#include <inttypes.h>
#include <numaif.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define KIB ((uint64_t)1024)

/* Takes up a line "NAME: NUMBER kB" of a mapping. */
static void add_line(const char *line, struct memory_pages *pages)
{
    uint64_t kib;

    if (sscanf(line, "KernelPageSize: %" SCNu64, &kib) == 1)
        pages->page_bytes = (size_t)(kib * KIB);
    else if (sscanf(line, "Rss: %" SCNu64, &kib) == 1)
        pages->resident_bytes += kib * KIB;
    else if (sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1 ||
             sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) == 1)
        pages->thp_bytes += kib * KIB;
    else if (sscanf(line, "Private_Hugetlb: %" SCNu64, &kib) == 1 ||
             sscanf(line, "Shared_Hugetlb: %" SCNu64, &kib) == 1)
        pages->hugetlb_bytes += kib * KIB;
}

int memory_probe_pages(const char *smaps_path, const void *addr, size_t size_bytes,
                       struct memory_pages *pages)
{
    struct memory_pages sum = {0};
    uintptr_t low = (uintptr_t)addr, high = low + size_bytes;
    bool inside = false;
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(smaps_path, "re");

    if (!file)
        return -errno;
    while (getline(&line, &room, file) > 0) {
        uintptr_t from, to;
        char mode[5];
        /* A mapping begins with "55f89a9d8000-55f89a9db000 r--p ...". */
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, mode) == 3)
            inside = from >= low && to <= high;
        else if (inside)
            add_line(line, &sum);
    }
    free(line);
    fclose(file);
    if (sum.page_bytes == 0)
        return -ENOENT;
    *pages = sum;
    return 0;
}

int memory_probe_node(void *addr)
{
    int node;

    if (get_mempolicy(&node, NULL, 0, addr, MPOL_F_NODE | MPOL_F_ADDR) != 0)
        return -1;
    return node;
}
