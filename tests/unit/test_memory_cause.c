/* From facts to the cause and the command that fixes it, for hosts of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "common/memory_cause.h"

#define KIB ((uint64_t)1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

static char text[MEMORY_CAUSE_BYTES];

/* A host on which nothing speaks against 256 MiB. */
static struct memory_facts plenty(void)
{
    return (struct memory_facts){
        .huge_bytes = 2 * MIB,
        .huge_is_default = true,
        .pool_total = 200,
        .pool_free = 180,
        .node = -1,
        .node_count = 1,
        .node_available_bytes = MEMORY_NO_LIMIT,
        .allowed_free = 180,
        .allowed_nodes = "0",
        .hugetlb = {.limit_bytes = MEMORY_NO_LIMIT},
        .memory = {.limit_bytes = MEMORY_NO_LIMIT},
        .thp_mode = MEMORY_THP_MADVISE,
        .thp_bytes = 2 * MIB,
        .available_bytes = 8 * GIB,
        .address_limit_bytes = MEMORY_NO_LIMIT,
    };
}

static void hugetlb_cause(const struct memory_facts *facts, uint64_t size, enum memory_cause cause,
                          const char *words)
{
    assert_int_equal(memory_cause_hugetlb(facts, size, ENOMEM, text, sizeof(text)), cause);
    assert_string_equal(text, words);
}

static void test_cause_pool_short_says_how_large_it_must_be(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.pool_total = 10;
    facts.pool_free = 4;
    hugetlb_cause(&facts, 256 * MIB, MEMORY_CAUSE_POOL,
                  "the pool has 4 of the 128 free pages of 2 MiB that are needed; run: sysctl -w "
                  "vm.nr_hugepages=134");
}

static void test_cause_pool_counts_reserved_pages_as_taken(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.pool_total = 128;
    facts.pool_free = 128;
    facts.pool_reserved = 28;
    hugetlb_cause(&facts, 256 * MIB, MEMORY_CAUSE_POOL,
                  "the pool has 100 of the 128 free pages of 2 MiB that are needed; run: sysctl -w "
                  "vm.nr_hugepages=156");
}

static void test_cause_pool_of_another_size_has_its_own_file(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.huge_is_default = false;
    facts.pool_total = facts.pool_free = 0;
    hugetlb_cause(&facts, 2 * MIB + 1, MEMORY_CAUSE_POOL,
                  "the pool has 0 of the 2 free pages of 2 MiB that are needed; run: echo 2 > "
                  "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages");
}

static void test_cause_kernel_without_hugetlb(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.huge_bytes = 0;
    hugetlb_cause(&facts, 256 * MIB, MEMORY_CAUSE_NO_HUGETLB,
                  "this kernel has no hugetlb pages; use one with CONFIG_HUGETLBFS");
}

static void test_cause_cgroup_limit_names_its_file(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.hugetlb = (struct memory_cgroup){256 * MIB, 2 * MIB, "/cg/a/hugetlb.2MB.max"};
    hugetlb_cause(&facts, 256 * MIB, MEMORY_CAUSE_CGROUP,
                  "the cgroup allows 256 MiB, has 2 MiB in use, and 256 MiB are needed; run: echo "
                  "270532608 > /cg/a/hugetlb.2MB.max");
    facts.hugetlb.used_bytes = 0;
    assert_int_equal(memory_cause_hugetlb(&facts, 256 * MIB, EFAULT, text, sizeof(text)),
                     MEMORY_CAUSE_UNKNOWN);
    facts.hugetlb.limit_bytes = 0;
    facts.hugetlb.used_bytes = 4 * MIB; /* lowered while in use */
    assert_int_equal(memory_cause_hugetlb(&facts, 2 * MIB, EFAULT, text, sizeof(text)),
                     MEMORY_CAUSE_CGROUP);
}

static void test_cause_node_short_names_its_file(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.node = 1;
    facts.node_exists = true;
    facts.node_total = 72;
    facts.node_free = 3;
    hugetlb_cause(
        &facts, 256 * MIB, MEMORY_CAUSE_NODE,
        "NUMA node 1 has 3 of the 128 free pages of 2 MiB that are needed; run: echo 197 > "
        "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages");
}

static void test_cause_node_short_comes_before_a_pool_that_is_short_as_well(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.pool_total = facts.pool_free = facts.node_total = facts.node_free = 3;
    facts.node = 1;
    facts.node_exists = true;
    hugetlb_cause(
        &facts, 256 * MIB, MEMORY_CAUSE_NODE,
        "NUMA node 1 has 3 of the 128 free pages of 2 MiB that are needed; run: echo 128 > "
        "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages");
}

static void test_cause_allowed_nodes_short(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.allowed_free = 20;
    facts.node_count = 2;
    hugetlb_cause(&facts, 256 * MIB, MEMORY_CAUSE_ALLOWED_NODES,
                  "the NUMA nodes that this process may use (0) have 20 of the 128 free pages of "
                  "2 MiB that are needed; widen cpuset.mems, or the nodes' pools");
}

static void test_cause_address_space(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.address_limit_bytes = 300 * MIB;
    facts.address_used_bytes = 100 * MIB;
    hugetlb_cause(&facts, 256 * MIB, MEMORY_CAUSE_ADDRESS_SPACE,
                  "the limit on the process's address space (RLIMIT_AS) is 307200 KiB, of which "
                  "102400 are in use; run: ulimit -v unlimited");
    assert_int_equal(memory_cause_ordinary(&facts, 256 * MIB, 0, text, sizeof(text)),
                     MEMORY_CAUSE_ADDRESS_SPACE);
    assert_int_equal(memory_cause_ordinary(&facts, 200 * MIB, 0, text, sizeof(text)),
                     MEMORY_CAUSE_UNKNOWN);
}

static void test_cause_that_the_facts_do_not_show_is_not_made_up(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    hugetlb_cause(
        &facts, 256 * MIB, MEMORY_CAUSE_UNKNOWN,
        "the kernel says 'Cannot allocate memory', though 180 pages of 2 MiB are free and "
        "128 are needed; try again, another process may have held them");
}

static void test_cause_of_missing_transparent_huge_pages(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    assert_int_equal(memory_cause_thp(&facts, 3, 128, text, sizeof(text)), MEMORY_CAUSE_FRAGMENTED);
    assert_string_equal(text,
                        "3 of 128 came, memory is fragmented; run: sysctl -w vm.compact_memory=1");
    facts.thp_mode = MEMORY_THP_NEVER;
    assert_int_equal(memory_cause_thp(&facts, 0, 128, text, sizeof(text)), MEMORY_CAUSE_THP_NEVER);
    assert_string_equal(
        text, "they are off; run: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
    facts.thp_off_for_process = true;
    assert_int_equal(memory_cause_thp(&facts, 0, 128, text, sizeof(text)),
                     MEMORY_CAUSE_THP_PROCESS);
    assert_string_equal(text, "they are disabled for this process (prctl PR_SET_THP_DISABLE)");
    facts.thp_mode = MEMORY_THP_ABSENT;
    assert_int_equal(memory_cause_thp(&facts, 0, 0, text, sizeof(text)), MEMORY_CAUSE_THP_ABSENT);
    assert_string_equal(text, "this kernel has none");
}

static void test_cause_of_too_little_memory(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.available_bytes = 100 * MIB;
    assert_int_equal(memory_cause_ordinary(&facts, 256 * MIB, 0, text, sizeof(text)),
                     MEMORY_CAUSE_NO_MEMORY);
    assert_string_equal(text, "the system has 100 MiB of memory available and 256 MiB are needed; "
                              "make the buffer smaller or free memory");
}

static void test_cause_of_a_memory_cgroup_below_the_size(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.memory = (struct memory_cgroup){128 * MIB, 100 * MIB, "/cg/a/memory.max"};
    assert_int_equal(memory_cause_ordinary(&facts, 256 * MIB, 0, text, sizeof(text)),
                     MEMORY_CAUSE_CGROUP);
    assert_string_equal(text, "the cgroup allows 128 MiB, has 100 MiB in use, and 256 MiB are "
                              "needed; run: echo 373293056 > /cg/a/memory.max");
    /* What is in use may be cache that it can give up. */
    assert_int_equal(memory_cause_ordinary(&facts, 64 * MIB, 0, text, sizeof(text)),
                     MEMORY_CAUSE_UNKNOWN);
}

static void test_cause_of_a_node_with_too_little_memory(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    facts.node = 1;
    facts.node_available_bytes = MIB;
    assert_int_equal(memory_cause_ordinary(&facts, 256 * MIB, 0, text, sizeof(text)),
                     MEMORY_CAUSE_UNKNOWN); /* the only node: its memory is the system's */
    facts.node_count = 2;
    assert_int_equal(memory_cause_ordinary(&facts, 256 * MIB, 0, text, sizeof(text)),
                     MEMORY_CAUSE_NODE);
    assert_string_equal(text, "NUMA node 1 has 1 MiB of memory available and 256 MiB are needed; "
                              "choose another node or free memory there");
}

static void test_cause_unknown_to_us_is_in_the_kernels_words(void **state)
{
    struct memory_facts facts = plenty();

    (void)state;
    assert_int_equal(memory_cause_ordinary(&facts, 256 * MIB, EAGAIN, text, sizeof(text)),
                     MEMORY_CAUSE_UNKNOWN);
    assert_string_equal(text, "the kernel says 'Resource temporarily unavailable' for 256 MiB");
}

static void test_cause_lock_limit(void **state)
{
    struct memory_lock_facts facts = {8 * MIB, 8 * MIB, MIB, false};

    (void)state;
    assert_int_equal(memory_cause_lock(&facts, 7 * MIB, text, sizeof(text)), MEMORY_CAUSE_UNKNOWN);
    assert_int_equal(memory_cause_lock(&facts, 7 * MIB + 1, text, sizeof(text)),
                     MEMORY_CAUSE_LOCK_LIMIT);
    assert_string_equal(text, "RLIMIT_MEMLOCK is 8192 KiB, of which 1024 are in use, and 7169 more "
                              "are needed; as root set 'memlock' to 8193 in "
                              "/etc/security/limits.conf, or LimitMEMLOCK=infinity in the systemd "
                              "unit, or grant CAP_IPC_LOCK");
    facts.hard_bytes = MEMORY_NO_LIMIT;
    assert_int_equal(memory_cause_lock(&facts, 256 * MIB, text, sizeof(text)),
                     MEMORY_CAUSE_LOCK_LIMIT);
    assert_string_equal(text, "RLIMIT_MEMLOCK is 8192 KiB, of which 1024 are in use, and 262144 "
                              "more are needed; run: ulimit -l 263168");
    facts.may_exceed = true;
    assert_int_equal(memory_cause_lock(&facts, GIB, text, sizeof(text)), MEMORY_CAUSE_UNKNOWN);
    facts = (struct memory_lock_facts){MEMORY_NO_LIMIT, MEMORY_NO_LIMIT, 9 * MIB, false};
    assert_int_equal(memory_cause_lock(&facts, GIB, text, sizeof(text)), MEMORY_CAUSE_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cause_pool_short_says_how_large_it_must_be),
        cmocka_unit_test(test_cause_pool_counts_reserved_pages_as_taken),
        cmocka_unit_test(test_cause_pool_of_another_size_has_its_own_file),
        cmocka_unit_test(test_cause_kernel_without_hugetlb),
        cmocka_unit_test(test_cause_cgroup_limit_names_its_file),
        cmocka_unit_test(test_cause_node_short_names_its_file),
        cmocka_unit_test(test_cause_node_short_comes_before_a_pool_that_is_short_as_well),
        cmocka_unit_test(test_cause_allowed_nodes_short),
        cmocka_unit_test(test_cause_address_space),
        cmocka_unit_test(test_cause_that_the_facts_do_not_show_is_not_made_up),
        cmocka_unit_test(test_cause_of_missing_transparent_huge_pages),
        cmocka_unit_test(test_cause_of_too_little_memory),
        cmocka_unit_test(test_cause_of_a_memory_cgroup_below_the_size),
        cmocka_unit_test(test_cause_of_a_node_with_too_little_memory),
        cmocka_unit_test(test_cause_unknown_to_us_is_in_the_kernels_words),
        cmocka_unit_test(test_cause_lock_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
