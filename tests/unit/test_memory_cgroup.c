/*
 * A cgroup that really limits hugetlb pages: what would be SIGBUS is an error that names the
 * limit's file, and the command that it gives is the right one. Makes a cgroup (v2) of its own;
 * exit status 77 where it may not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/memory_facts.h"
#include "support/child.h"
#include "support/huge_pool.h"

#define PAGES     2
#define SKIP_CODE 77

static char mount_point[PATH_MAX / 2], group[PATH_MAX];
static bool controller_was_on;
static uint64_t pages_added;

static bool write_file(const char *folder, const char *name, const char *text)
{
    char path[PATH_MAX + 64];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    bool written = fputs(text, file) >= 0;
    return fclose(file) == 0 && written;
}

static bool find_mount(void)
{
    char line[PATH_MAX];
    bool found = false;
    FILE *file = fopen("/proc/self/mountinfo", "r");

    while (file && !found && fgets(line, sizeof(line), file))
        found =
            strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s / %2000s", mount_point) == 1;
    if (file)
        fclose(file);
    return found;
}

static bool has_controller(const char *name)
{
    char text[512] = "";

    memory_read_text(mount_point, name, text, sizeof(text));
    return strstr(text, "hugetlb") != NULL;
}

/* 0, or why it cannot be done. */
static const char *set_up(void)
{
    if (!huge_pool_lock())
        return "this kernel has no hugetlb pages";
    if (!find_mount())
        return "no cgroup v2 is mounted";
    if (!has_controller("/cgroup.controllers"))
        return "cgroup v2 has no hugetlb controller";
    controller_was_on = has_controller("/cgroup.subtree_control");
    if (!controller_was_on && !write_file(mount_point, "cgroup.subtree_control", "+hugetlb"))
        return "may not switch on the hugetlb controller";
    snprintf(group, sizeof(group), "%s/embar-test-%d", mount_point, getpid());
    if (mkdir(group, 0755) != 0)
        return "may not make a cgroup";
    if (!huge_pool_reserve(PAGES, &pages_added))
        return "the pool has no free page and cannot be given one";
    return NULL;
}

static void tear_down(void)
{
    huge_pool_release(pages_added);
    if (group[0])
        rmdir(group);
    if (mount_point[0] && !controller_was_on)
        write_file(mount_point, "cgroup.subtree_control", "-hugetlb");
}

static int alloc_in_group(void *limit)
{
    struct memory memory;
    struct embar_diag diag = {0};
    struct memory_facts facts;
    char expected[PATH_MAX + 64], pid[32];
    unsigned long long advice = 0;

    memory_facts_read(&facts, "", SIZE_MAX, -1);
    size_t size = PAGES * facts.huge_bytes;
    snprintf(pid, sizeof(pid), "%d", getpid());
    CHILD_CHECK(write_file(group, limit, "0"));
    CHILD_CHECK(write_file(group, "cgroup.procs", pid));
    CHILD_CHECK(memory_alloc(size, EMBAR_HUGEPAGES_REQUIRE, -1, &memory, &diag) == -ENOMEM);
    snprintf(expected, sizeof(expected), " > %s/%s", group, (const char *)limit);
    CHILD_CHECK_SAYS(diag.text, expected);
    CHILD_CHECK_SAYS(diag.text, "the cgroup allows 0 KiB");
    /* Preferred, it gets other pages, and says why. */
    CHILD_CHECK(memory_alloc(size, EMBAR_HUGEPAGES_PREFER, -1, &memory, &diag) == 0);
    CHILD_CHECK(memory.kind != EMBAR_PAGES_HUGETLB);
    CHILD_CHECK_SAYS(memory.reason, "no hugetlb pages: the cgroup allows 0 KiB");
    memory_free(&memory);
    /* The advice. */
    const char *command = strstr(diag.text, "run: echo ");
    CHILD_CHECK(command && sscanf(command, "run: echo %llu", &advice) == 1);
    CHILD_CHECK(advice == size);
    snprintf(expected, sizeof(expected), "%llu", advice);
    CHILD_CHECK(write_file(group, limit, expected));
    CHILD_CHECK(memory_alloc(size, EMBAR_HUGEPAGES_REQUIRE, -1, &memory, &diag) == 0);
    CHILD_CHECK(memory.kind == EMBAR_PAGES_HUGETLB);
    memset(memory.addr, 1, memory.size_bytes);
    memory_free(&memory);
    CHILD_CHECK(write_file(group, limit, "max"));
    return 0;
}

/* The kernel grants the mapping, and only filling it fails. */
static void test_memory_cgroup_limit_on_use_is_an_error_with_its_file(void **state)
{
    (void)state;
    assert_true(child_succeeds(alloc_in_group, "hugetlb.2MB.max"));
}

/* The mapping itself fails. */
static void test_memory_cgroup_limit_on_reservation_is_an_error_with_its_file(void **state)
{
    (void)state;
    assert_true(child_succeeds(alloc_in_group, "hugetlb.2MB.rsvd.max"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_cgroup_limit_on_use_is_an_error_with_its_file),
        cmocka_unit_test(test_memory_cgroup_limit_on_reservation_is_an_error_with_its_file),
    };
    const char *why_not = set_up();
    int rc = SKIP_CODE;

    if (why_not)
        fprintf(stderr, "skipped: %s\n", why_not);
    else
        rc = cmocka_run_group_tests(tests, NULL, NULL);
    tear_down();
    return rc;
}
