/*
 * Memory when the kernel refuses: each step of the chain is made to fail by a system call filter in
 * a process of its own, which changes nothing for the rest of the host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "common/memory.h"
#include "common/memory_facts.h"
#include "common/memory_map.h"
#include "common/memory_probe.h"
#include "common/memory_share.h"
#include "support/child.h"

#define MIB ((size_t)1 << 20)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* From now on `action` is taken on the call when the 32 bits at `offset` of its seccomp_data,
 * masked, are `value`. */
static int filter_call(int call, size_t offset, uint32_t mask, uint32_t value, uint32_t action)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* The call returns -`error` (0: does nothing and returns 0) when `argument`, masked, is `value`. */
static int fail_call(int call, unsigned argument, uint32_t mask, uint32_t value, int error)
{
    size_t low_half = offsetof(struct seccomp_data, args) + 8 * argument;

    return filter_call(call, low_half, mask, value, SECCOMP_RET_ERRNO | (uint32_t)error);
}

static int fail_hugetlb_map(void)
{
    return fail_call(SYS_mmap, 3, MAP_HUGETLB, MAP_HUGETLB, ENOMEM);
}

static int fail_advice(uint32_t advice, int error)
{
    return fail_call(SYS_madvise, 2, UINT32_MAX, advice, error);
}

static uint64_t mapped_bytes(void)
{
    struct memory_facts facts;

    memory_facts_read(&facts, "", MIB, -1);
    return facts.address_used_bytes;
}

/* ---- prefer -----------------------------------------------------------------------------------
 */

static int get_thp(void *unused)
{
    struct memory memory;
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(fail_hugetlb_map() == 0);
    CHILD_CHECK(memory_alloc(7 * MIB, EMBAR_HUGEPAGES_PREFER, -1, &memory, &diag) == 0);
    CHILD_CHECK(memory.kind == EMBAR_PAGES_THP);
    CHILD_CHECK(memory.page_bytes == 2 * MIB && memory.page_count == 4);
    CHILD_CHECK(memory.size_bytes == 8 * MIB);
    CHILD_CHECK((uintptr_t)memory.addr % (2 * MIB) == 0);
    CHILD_CHECK(strncmp(memory.reason, "no hugetlb pages: ", 18) == 0);
    CHILD_CHECK(!strstr(memory.reason, "no transparent"));
    memset(memory.addr, 1, memory.size_bytes);
    memory_free(&memory);
    return 0;
}

static void test_memory_without_hugetlb_comes_in_transparent_huge_pages(void **state)
{
    (void)state;
    assert_true(child_succeeds(get_thp, NULL));
}

/* The advice before the first touch is lost, as on a host that was short of huge pages just then.
 */
static int get_thp_by_collapse(void *unused)
{
    struct memory memory;
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(fail_hugetlb_map() == 0);
    CHILD_CHECK(fail_advice(MADV_HUGEPAGE, 0) == 0);
    CHILD_CHECK(memory_alloc(8 * MIB, EMBAR_HUGEPAGES_PREFER, -1, &memory, &diag) == 0);
    CHILD_CHECK(memory.kind == EMBAR_PAGES_THP && memory.page_count == 4);
    memory_free(&memory);
    return 0;
}

static void test_memory_that_came_small_is_collapsed_into_huge_pages(void **state)
{
    (void)state;
    assert_true(child_succeeds(get_thp_by_collapse, NULL));
}

static int get_ordinary(void *unused)
{
    struct memory memory;
    struct memory_pages pages;
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(fail_hugetlb_map() == 0);
    CHILD_CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    CHILD_CHECK(memory_alloc(3 * MIB, EMBAR_HUGEPAGES_PREFER, -1, &memory, &diag) == 0);
    CHILD_CHECK(memory.kind == EMBAR_PAGES_ORDINARY);
    CHILD_CHECK(memory.size_bytes == 3 * MIB);
    CHILD_CHECK(memory.page_count == memory.size_bytes / memory.page_bytes);
    CHILD_CHECK(strncmp(memory.reason, "no hugetlb pages: ", 18) == 0);
    CHILD_CHECK_SAYS(memory.reason,
                     "no transparent huge pages: they are disabled for this process");
    /* Rounded up for huge pages that did not come: the rest went back. */
    CHILD_CHECK(memory_probe_pages("/proc/self/smaps", memory.map_addr, memory.map_bytes, &pages) ==
                0);
    CHILD_CHECK(pages.resident_bytes == 3 * MIB);
    memset(memory.addr, 1, memory.size_bytes);
    memory_free(&memory);
    return 0;
}

static void test_memory_without_huge_pages_of_any_kind_names_both_reasons(void **state)
{
    (void)state;
    assert_true(child_succeeds(get_ordinary, NULL));
}

/* ---- lendable ------------------------------------------------------------------------------- */

/* A sandbox without memfds: there is nothing to lend, and as good memory as ever. */
static int get_private(void *unused)
{
    struct memory memory;
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(fail_call(SYS_memfd_create, 0, 0, 0, EPERM) == 0);
    CHILD_CHECK(memory_alloc_lendable(4 * MIB, EMBAR_HUGEPAGES_NEVER, -1, &memory, &diag) == 0);
    CHILD_CHECK(!memory.shareable && memory.kind == EMBAR_PAGES_ORDINARY);
    memory_free(&memory);
    CHILD_CHECK(memory_alloc_shareable(4 * MIB, EMBAR_HUGEPAGES_NEVER, -1, &memory, &diag) < 0);
    CHILD_CHECK(!strstr(diag.text, "NUMA"));
    CHILD_CHECK(fail_hugetlb_map() == 0);
    CHILD_CHECK(memory_alloc_lendable(8 * MIB, EMBAR_HUGEPAGES_PREFER, -1, &memory, &diag) == 0);
    CHILD_CHECK(!memory.shareable && memory.kind == EMBAR_PAGES_THP);
    memset(memory.addr, 1, memory.size_bytes);
    memory_free(&memory);
    return 0;
}

static void test_lendable_memory_is_private_where_nothing_can_be_shared(void **state)
{
    (void)state;
    assert_true(child_succeeds(get_private, NULL));
}

/* Without huge pages of any kind there is no reason not to share. */
static int get_shareable(void *unused)
{
    uint64_t before = mapped_bytes();
    struct memory memory;
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(fail_hugetlb_map() == 0);
    CHILD_CHECK(fail_call(SYS_memfd_create, 1, MFD_HUGETLB, MFD_HUGETLB, ENOMEM) == 0);
    CHILD_CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    CHILD_CHECK(memory_alloc_lendable(3 * MIB, EMBAR_HUGEPAGES_PREFER, -1, &memory, &diag) == 0);
    CHILD_CHECK(memory.shareable && memory.kind == EMBAR_PAGES_ORDINARY);
    CHILD_CHECK_SAYS(memory.reason, "no transparent huge pages: ");
    CHILD_CHECK(memory_share_is_read_only(memory.fd));
    memory_free(&memory);
    CHILD_CHECK(mapped_bytes() <= before + MIB);
    return 0;
}

static void test_lendable_memory_in_ordinary_pages_is_shared(void **state)
{
    (void)state;
    assert_true(child_succeeds(get_shareable, NULL));
}

/* ---- without transparent huge pages ---------------------------------------------------------- */

static int get_ordinary_without_thp_kernel(void *unused)
{
    struct memory memory;
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(fail_hugetlb_map() == 0);
    /* What a kernel without CONFIG_TRANSPARENT_HUGEPAGE says to both. */
    CHILD_CHECK(fail_advice(MADV_HUGEPAGE, EINVAL) == 0);
    CHILD_CHECK(fail_advice(MADV_NOHUGEPAGE, EINVAL) == 0);
    uint64_t before = mapped_bytes();
    CHILD_CHECK(memory_alloc(3 * MIB, EMBAR_HUGEPAGES_PREFER, -1, &memory, &diag) == 0);
    CHILD_CHECK(memory.size_bytes == 3 * MIB);
    CHILD_CHECK_SAYS(memory.reason,
                     "no transparent huge pages: the kernel says 'Invalid argument'");
    memory_free(&memory);
    CHILD_CHECK(mapped_bytes() <= before + MIB);
    return 0;
}

static void test_memory_on_a_kernel_without_thp_is_ordinary(void **state)
{
    (void)state;
    assert_true(child_succeeds(get_ordinary_without_thp_kernel, NULL));
}

/* ---- require ----------------------------------------------------------------------------------
 */

static int require_refused(void *unused)
{
    struct memory memory = {.size_bytes = 7};
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(fail_hugetlb_map() == 0);
    CHILD_CHECK(memory_alloc(2 * MIB, EMBAR_HUGEPAGES_REQUIRE, -1, &memory, &diag) == -ENOMEM);
    CHILD_CHECK(diag.error == ENOMEM && memory.size_bytes == 7);
    CHILD_CHECK_SAYS(diag.text, "cannot allocate 2 MiB of hugetlb pages: ");
    return 0;
}

static void test_memory_required_takes_no_other_pages(void **state)
{
    (void)state;
    assert_true(child_succeeds(require_refused, NULL));
}

/* A mapping that the pool has granted but that cannot be filled: the limit of a cgroup, or the pool
 * of the node that it is bound to. The kernel says EFAULT for what a write would get as SIGBUS. */
static int populate_refused(void *how)
{
    struct memory memory;
    struct embar_diag diag = {0};
    uint64_t before;

    CHILD_CHECK(fail_advice(MADV_POPULATE_WRITE, EFAULT) == 0);
    before = mapped_bytes();
    for (int i = 0; i < 50; i++)
        CHILD_CHECK(memory_alloc(8 * MIB, *(enum embar_hugepages *)how, -1, &memory, &diag) ==
                    -ENOMEM);
    CHILD_CHECK(diag.error == ENOMEM);
    /* 50 x 8 MiB would show. */
    CHILD_CHECK(mapped_bytes() < before + 64 * MIB);
    return 0;
}

static void test_memory_that_cannot_be_filled_is_an_error_and_leaves_nothing_mapped(void **state)
{
    (void)state;
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER; how++)
        assert_true(child_succeeds(populate_refused, &how));
}

/* A kernel that overcommits maps more than there is, and its out-of-memory killer comes at
 * populating: such a size must not even be mapped. */
static int never_map_1_pib(void *unused)
{
    struct memory memory = {.size_bytes = 7};
    struct embar_diag diag = {0};
    size_t pib = (size_t)1 << 50, length_high = offsetof(struct seccomp_data, args) + 8 + 4;

    (void)unused;
    CHILD_CHECK(filter_call(SYS_mmap, length_high, UINT32_MAX, (uint32_t)(pib >> 32),
                            SECCOMP_RET_KILL_PROCESS) == 0);
    CHILD_CHECK(memory_alloc(pib, EMBAR_HUGEPAGES_NEVER, -1, &memory, &diag) == -ENOMEM);
    CHILD_CHECK_SAYS(diag.text, "of memory available and 1048576 GiB are needed");
    CHILD_CHECK(memory.size_bytes == 7);
    return 0;
}

static void test_memory_beyond_what_the_system_has_is_an_error_before_it_is_mapped(void **state)
{
    (void)state;
    assert_true(child_succeeds(never_map_1_pib, NULL));
}

/* ---- kernels of before, and containers ---------------------------------------------------------
 */

static int populate_by_old_kernel(void *unused)
{
    (void)unused;
    CHILD_CHECK(fail_advice(MADV_POPULATE_WRITE, EINVAL) == 0);
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER;
         how += 2) {
        struct memory memory;
        struct memory_pages pages;
        struct embar_diag diag = {0};
        CHILD_CHECK(memory_alloc(4 * MIB, how, -1, &memory, &diag) == 0);
        CHILD_CHECK(
            memory_probe_pages("/proc/self/smaps", memory.addr, memory.size_bytes, &pages) == 0);
        CHILD_CHECK(pages.resident_bytes + pages.hugetlb_bytes == memory.size_bytes);
        memory_free(&memory);
    }
    return 0;
}

static void test_memory_is_populated_by_kernels_without_the_advice(void **state)
{
    (void)state;
    assert_true(child_succeeds(populate_by_old_kernel, NULL));
}

static void test_memory_populated_by_the_kernel_fails_where_a_write_would_be_a_signal(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int fd = memfd_create("short", MFD_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    /* Two pages mapped over a file of one: writing into the second is SIGBUS. */
    assert_int_equal(ftruncate(fd, (off_t)page), 0);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(memory_populate_by_kernel(map, page, page), 0);
    assert_int_equal(memory_populate_by_kernel(map, 2 * page, page), -EFAULT);
    munmap(map, 2 * page);
    close(fd);
}

static int bind_refused(void *unused)
{
    struct memory memory;

    (void)unused;
    /* What a container without CAP_SYS_NICE gets. */
    CHILD_CHECK(fail_call(SYS_mbind, 0, 0, 0, EPERM) == 0);
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER;
         how += 2) {
        struct embar_diag diag = {0};
        CHILD_CHECK(memory_alloc(2 * MIB, how, 0, &memory, &diag) == -EPERM);
        CHILD_CHECK_SAYS(diag.text, "CAP_SYS_NICE");
        CHILD_CHECK(memory_alloc(2 * MIB, how, -1, &memory, &diag) == 0);
        memory_free(&memory);
    }
    return 0;
}

static void test_memory_that_may_not_be_bound_is_an_error_and_not_placed_elsewhere(void **state)
{
    (void)state;
    assert_true(child_succeeds(bind_refused, NULL));
}

static int node_unknown(void *unused)
{
    struct memory memory;
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(fail_call(SYS_get_mempolicy, 0, 0, 0, EPERM) == 0);
    CHILD_CHECK(memory_alloc(2 * MIB, EMBAR_HUGEPAGES_NEVER, -1, &memory, &diag) == 0);
    CHILD_CHECK(memory.numa_node == -1);
    memory_free(&memory);
    return 0;
}

static void test_memory_whose_node_the_kernel_hides_says_unknown(void **state)
{
    (void)state;
    assert_true(child_succeeds(node_unknown, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_without_hugetlb_comes_in_transparent_huge_pages),
        cmocka_unit_test(test_memory_that_came_small_is_collapsed_into_huge_pages),
        cmocka_unit_test(test_memory_without_huge_pages_of_any_kind_names_both_reasons),
        cmocka_unit_test(test_lendable_memory_is_private_where_nothing_can_be_shared),
        cmocka_unit_test(test_lendable_memory_in_ordinary_pages_is_shared),
        cmocka_unit_test(test_memory_on_a_kernel_without_thp_is_ordinary),
        cmocka_unit_test(test_memory_required_takes_no_other_pages),
        cmocka_unit_test(test_memory_that_cannot_be_filled_is_an_error_and_leaves_nothing_mapped),
        cmocka_unit_test(test_memory_beyond_what_the_system_has_is_an_error_before_it_is_mapped),
        cmocka_unit_test(test_memory_is_populated_by_kernels_without_the_advice),
        cmocka_unit_test(test_memory_populated_by_the_kernel_fails_where_a_write_would_be_a_signal),
        cmocka_unit_test(test_memory_that_may_not_be_bound_is_an_error_and_not_placed_elsewhere),
        cmocka_unit_test(test_memory_whose_node_the_kernel_hides_says_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
