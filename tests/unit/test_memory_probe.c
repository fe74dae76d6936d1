/* What smaps says of a range, from a fixture and from this process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/memory_probe.h"
#include "support/fixture_root.h"

#define KIB ((size_t)1024)

static const char smaps[] =
    "7f0000000000-7f0000200000 ---p 00000000 00:00 0 \n"
    "KernelPageSize:        4 kB\n"
    "Rss:                  77 kB\n"
    "7f0000200000-7f0000600000 rw-p 00000000 00:00 0 \n"
    "Size:               4096 kB\n"
    "KernelPageSize:        4 kB\n"
    "Rss:                4096 kB\n"
    "AnonHugePages:      2048 kB\n"
    "Private_Hugetlb:       0 kB\n"
    "VmFlags: rd wr mr mw me hg dc\n"
    "7f0000600000-7f0000800000 rw-p 00000000 00:00 0 \n"
    "KernelPageSize:        4 kB\n"
    "Rss:                2044 kB\n"
    "AnonHugePages:         0 kB\n"
    "7f0000800000-7f0000c00000 rw-p 00000000 00:0f 15 /anon_hugepage (deleted)\n"
    "KernelPageSize:     2048 kB\n"
    "Rss:                   0 kB\n"
    "Shared_Hugetlb:     2048 kB\n"
    "Private_Hugetlb:    2048 kB\n";

static struct fixture_root root;
static char path[128];

static int set_up(void **state)
{
    (void)state;
    fixture_root_create(&root);
    fixture_root_put(&root, "/smaps", smaps);
    snprintf(path, sizeof(path), "%s/smaps", root.path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_root_destroy(&root);
    return 0;
}

static void *at(uintptr_t address)
{
    return (void *)address;
}

static void test_probe_sums_over_the_mappings_of_the_range(void **state)
{
    struct memory_pages pages;

    (void)state;
    assert_int_equal(memory_probe_pages(path, at(0x7f0000200000), 0x600000, &pages), 0);
    assert_int_equal(pages.page_bytes, 4 * KIB);
    assert_int_equal(pages.resident_bytes, 6140 * KIB);
    assert_int_equal(pages.thp_bytes, 2048 * KIB);
    assert_int_equal(pages.hugetlb_bytes, 0);
}

static void test_probe_sees_hugetlb_pages(void **state)
{
    struct memory_pages pages;

    (void)state;
    assert_int_equal(memory_probe_pages(path, at(0x7f0000800000), 0x400000, &pages), 0);
    assert_int_equal(pages.page_bytes, 2048 * KIB);
    assert_int_equal(pages.hugetlb_bytes, 4096 * KIB);
    assert_int_equal(pages.thp_bytes, 0);
}

static void test_probe_of_no_mapping_changes_nothing(void **state)
{
    struct memory_pages pages = {.page_bytes = 5};

    (void)state;
    assert_int_equal(memory_probe_pages(path, at(0x1000), 0x1000, &pages), -ENOENT);
    assert_int_equal(memory_probe_pages("/nowhere/smaps", at(0x1000), 0x1000, &pages), -ENOENT);
    assert_int_equal(pages.page_bytes, 5);
}

static void test_probe_of_this_process_counts_touched_pages_only(void **state)
{
    struct memory_pages pages;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    /* Between two of another kind, so that the mapping is one of its own. */
    char *map = mmap(NULL, 18 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, 16 * page, PROT_READ | PROT_WRITE), 0);
    map[page] = map[5 * page] = map[16 * page] = 1;
    assert_int_equal(memory_probe_pages("/proc/self/smaps", map + page, 16 * page, &pages), 0);
    assert_int_equal(pages.page_bytes, page);
    assert_int_equal(pages.resident_bytes, 3 * page);
    assert_in_range(memory_probe_node(map + page), 0, 1023);
    munmap(map, 18 * page);
    assert_int_equal(memory_probe_node(map + page), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_probe_sums_over_the_mappings_of_the_range),
        TEST(test_probe_sees_hugetlb_pages),
        TEST(test_probe_of_no_mapping_changes_nothing),
        TEST(test_probe_of_this_process_counts_touched_pages_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
