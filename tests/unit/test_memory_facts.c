/* What the kernel's files say, from fixtures of hosts that this one is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/memory_facts.h"
#include "support/fixture_root.h"

#define KIB ((uint64_t)1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

static struct fixture_root root;
static struct memory_facts facts;

static int set_up(void **state)
{
    (void)state;
    fixture_root_create(&root);
    fixture_root_put(
        &root, "/proc/meminfo",
        "MemTotal:       24684092 kB\nMemFree:        1000 kB\nMemAvailable:    2000 kB\n"
        "SwapFree:        500 kB\nHugePages_Total:       9\nHugepagesize:       2048 kB\n");
    fixture_root_put(&root, "/proc/self/status",
                     "Name:\tx\nVmSize:\t    3760 kB\nVmLck:\t      16 kB\nVmPin:\t    4096 kB\n"
                     "THP_enabled:\t1\nCapEff:\t000001fffeffffff\nMems_allowed_list:\t0-1\n");
    fixture_root_put(
        &root, "/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max locked memory         8388608              unlimited            bytes     \n"
        "Max address space         unlimited            unlimited            bytes     \n");
    fixture_root_put(&root, "/proc/self/uid_map", "         0          0 4294967295\n");
    fixture_root_put(&root, "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "40\n");
    fixture_root_put(&root, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "30\n");
    fixture_root_put(&root, "/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "7\n");
    fixture_root_put(&root, "/sys/kernel/mm/transparent_hugepage/enabled",
                     "always [madvise] never\n");
    fixture_root_put(&root, "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_root_destroy(&root);
    return 0;
}

static void read_facts(size_t size, int node)
{
    memory_facts_read(&facts, root.path, size, node);
}

static void test_facts_of_the_pool_and_the_system(void **state)
{
    (void)state;
    read_facts(256 * MIB, -1);
    assert_int_equal(facts.huge_bytes, 2 * MIB);
    assert_true(facts.huge_is_default);
    assert_int_equal(facts.pool_total, 40);
    assert_int_equal(facts.pool_free, 30);
    assert_int_equal(facts.pool_reserved, 7);
    assert_int_equal(facts.available_bytes, 2500 * KIB);
    assert_true(facts.address_limit_bytes == MEMORY_NO_LIMIT);
    assert_int_equal(facts.address_used_bytes, 3760 * KIB);
    assert_true(facts.hugetlb.limit_bytes == MEMORY_NO_LIMIT);
    assert_true(facts.memory.limit_bytes == MEMORY_NO_LIMIT);
}

static void test_facts_of_a_host_without_any_of_the_files(void **state)
{
    (void)state;
    memory_facts_read(&facts, "/nowhere-at-all", 256 * MIB, 0);
    assert_int_equal(facts.huge_bytes, 0);
    assert_false(facts.node_exists);
    assert_int_equal(facts.thp_mode, MEMORY_THP_ABSENT);
    assert_true(facts.available_bytes == MEMORY_NO_LIMIT);
    assert_true(facts.address_limit_bytes == MEMORY_NO_LIMIT);
}

static void put_pool_of_1_gib(void)
{
    fixture_root_put(&root, "/proc/meminfo", "Hugepagesize:    1048576 kB\n");
    fixture_root_put(&root, "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "2\n");
    fixture_root_put(&root, "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "1\n");
}

static void test_facts_prefer_pages_that_are_not_larger_than_the_buffer(void **state)
{
    (void)state;
    put_pool_of_1_gib();
    read_facts(256 * MIB, -1);
    assert_int_equal(facts.huge_bytes, 2 * MIB);
    assert_false(facts.huge_is_default);
    assert_int_equal(facts.pool_total, 40);
    read_facts(GIB, -1);
    assert_int_equal(facts.huge_bytes, GIB);
    assert_true(facts.huge_is_default);
    assert_int_equal(facts.pool_total, 2);
    /* Smaller than all of them: the default, rounded up to. */
    read_facts(4096, -1);
    assert_int_equal(facts.huge_bytes, GIB);
}

static void put_nodes(void)
{
    fixture_root_put(&root, "/sys/devices/system/node/has_memory", "0,2-3\n");
    fixture_root_put(&root,
                     "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/"
                     "nr_hugepages",
                     "20\n");
    fixture_root_put(&root,
                     "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/"
                     "free_hugepages",
                     "11\n");
    fixture_root_put(&root,
                     "/sys/devices/system/node/node2/hugepages/hugepages-2048kB/"
                     "nr_hugepages",
                     "12\n");
    fixture_root_put(&root,
                     "/sys/devices/system/node/node2/hugepages/hugepages-2048kB/"
                     "free_hugepages",
                     "5\n");
    fixture_root_put(&root, "/sys/devices/system/node/node2/meminfo",
                     "Node 2 MemTotal:  99 kB\nNode 2 MemFree:  10 kB\nNode 2 Active(file): 20 kB\n"
                     "Node 2 Inactive(file): 30 kB\nNode 2 SReclaimable: 40 kB\n");
}

static void test_facts_of_a_node(void **state)
{
    (void)state;
    put_nodes();
    read_facts(256 * MIB, 2);
    assert_true(facts.node_exists);
    assert_false(facts.node_allowed);
    assert_int_equal(facts.node_count, 3);
    assert_int_equal(facts.node_total, 12);
    assert_int_equal(facts.node_free, 5);
    assert_int_equal(facts.node_available_bytes, 100 * KIB);
    read_facts(256 * MIB, 0);
    assert_true(facts.node_exists && facts.node_allowed);
    assert_int_equal(facts.node_total, 20);
    read_facts(256 * MIB, 1); /* between two that exist */
    assert_false(facts.node_exists);
    read_facts(256 * MIB, -1);
    assert_false(facts.node_exists);
}

static void test_facts_count_free_pages_of_the_nodes_that_the_process_may_use(void **state)
{
    (void)state;
    put_nodes();
    read_facts(256 * MIB, -1);
    assert_string_equal(facts.allowed_nodes, "0-1");
    assert_int_equal(facts.allowed_free, 11);
    fixture_root_put(&root, "/proc/self/status", "Mems_allowed_list:\t0,2-9\n");
    read_facts(256 * MIB, -1);
    assert_int_equal(facts.allowed_free, 16);
}

static void test_facts_of_transparent_huge_pages(void **state)
{
    static const struct {
        const char *text;
        enum memory_thp_mode mode;
    } modes[] = {
        {"[always] madvise never\n", MEMORY_THP_ALWAYS},
        {"always [madvise] never\n", MEMORY_THP_MADVISE},
        {"always madvise [never]\n", MEMORY_THP_NEVER},
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fixture_root_put(&root, "/sys/kernel/mm/transparent_hugepage/enabled", modes[i].text);
        read_facts(256 * MIB, -1);
        assert_int_equal(facts.thp_mode, modes[i].mode);
        assert_int_equal(facts.thp_bytes, 2 * MIB);
        assert_false(facts.thp_off_for_process);
    }
}

static void test_facts_of_transparent_huge_pages_heed_the_setting_of_their_size(void **state)
{
    const char *path = "/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled";

    (void)state;
    fixture_root_put(&root, path, "always [inherit] madvise never\n");
    read_facts(256 * MIB, -1);
    assert_int_equal(facts.thp_mode, MEMORY_THP_MADVISE);
    fixture_root_put(&root, path, "always inherit madvise [never]\n");
    read_facts(256 * MIB, -1);
    assert_int_equal(facts.thp_mode, MEMORY_THP_NEVER);
}

static void test_facts_see_that_the_process_switched_thp_off(void **state)
{
    (void)state;
    fixture_root_put(&root, "/proc/self/status", "THP_enabled:\t0\n");
    read_facts(256 * MIB, -1);
    assert_true(facts.thp_off_for_process);
}

/* ---- cgroups ----------------------------------------------------------------------------------
 */

#define V2_MOUNT "41 31 0:37 / /cg rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

static void check_hugetlb_limit(uint64_t limit, uint64_t used, const char *file)
{
    read_facts(256 * MIB, -1);
    assert_true(facts.hugetlb.limit_bytes == limit);
    assert_int_equal(facts.hugetlb.used_bytes, used);
    assert_string_equal(facts.hugetlb.file, file);
}

static void test_facts_find_the_cgroup_v2_limit(void **state)
{
    (void)state;
    fixture_root_put(&root, "/proc/self/mountinfo",
                     "23 1 0:21 / / rw - ext4 /dev/vda rw\n" V2_MOUNT);
    fixture_root_put(&root, "/proc/self/cgroup", "1:name=systemd:/elsewhere\n0::/app/web\n");
    fixture_root_put(&root, "/cg/app/web/hugetlb.2MB.max", "67108864\n");
    fixture_root_put(&root, "/cg/app/web/hugetlb.2MB.current", "2097152\n");
    fixture_root_put(&root, "/cg/app/web/memory.max", "134217728\n");
    fixture_root_put(&root, "/cg/app/web/memory.current", "4096\n");
    check_hugetlb_limit(64 * MIB, 2 * MIB, "/cg/app/web/hugetlb.2MB.max");
    assert_int_equal(facts.memory.limit_bytes, 128 * MIB);
    assert_string_equal(facts.memory.file, "/cg/app/web/memory.max");
}

static void test_facts_take_the_tightest_cgroup_of_all_above(void **state)
{
    (void)state;
    fixture_root_put(&root, "/proc/self/mountinfo", V2_MOUNT);
    fixture_root_put(&root, "/proc/self/cgroup", "0::/app/web\n");
    fixture_root_put(&root, "/cg/app/web/hugetlb.2MB.max", "max\n");
    fixture_root_put(&root, "/cg/app/hugetlb.2MB.max", "67108864\n");
    fixture_root_put(&root, "/cg/app/hugetlb.2MB.current", "0\n");
    check_hugetlb_limit(64 * MIB, 0, "/cg/app/hugetlb.2MB.max");
    /* A larger limit with less of it left. */
    fixture_root_put(&root, "/cg/hugetlb.2MB.max", "134217728\n");
    fixture_root_put(&root, "/cg/hugetlb.2MB.current", "132120576\n");
    check_hugetlb_limit(128 * MIB, 126 * MIB, "/cg/hugetlb.2MB.max");
}

static void test_facts_take_the_limit_on_reservations_too(void **state)
{
    (void)state;
    fixture_root_put(&root, "/proc/self/mountinfo", V2_MOUNT);
    fixture_root_put(&root, "/proc/self/cgroup", "0::/a\n");
    fixture_root_put(&root, "/cg/a/hugetlb.2MB.max", "67108864\n");
    fixture_root_put(&root, "/cg/a/hugetlb.2MB.rsvd.max", "4194304\n");
    fixture_root_put(&root, "/cg/a/hugetlb.2MB.rsvd.current", "2097152\n");
    check_hugetlb_limit(4 * MIB, 2 * MIB, "/cg/a/hugetlb.2MB.rsvd.max");
}

static void test_facts_take_the_largest_number_for_no_limit(void **state)
{
    (void)state;
    fixture_root_put(&root, "/proc/self/mountinfo", V2_MOUNT);
    fixture_root_put(&root, "/proc/self/cgroup", "0::/a\n");
    fixture_root_put(&root, "/cg/a/hugetlb.2MB.max", "9223372036854771712\n");
    check_hugetlb_limit(MEMORY_NO_LIMIT, 0, "");
}

static void test_facts_find_the_cgroup_v1_limit(void **state)
{
    (void)state;
    fixture_root_put(&root, "/proc/self/mountinfo",
                     "34 31 0:31 / /cg1/wrong rw - cgroup cgroup rw,memory_recursiveprot\n"
                     "35 31 0:32 / /cg1/memory rw - cgroup cgroup rw,memory\n"
                     "36 31 0:33 / /cg1/huge rw - cgroup cgroup rw,hugetlb\n" V2_MOUNT);
    fixture_root_put(&root, "/proc/self/cgroup", "5:hugetlb:/box\n4:cpu,memory:/other\n0::/app\n");
    fixture_root_put(&root, "/cg1/huge/box/hugetlb.2MB.limit_in_bytes", "8388608\n");
    fixture_root_put(&root, "/cg1/huge/box/hugetlb.2MB.usage_in_bytes", "2097152\n");
    fixture_root_put(&root, "/cg1/memory/other/memory.limit_in_bytes", "1048576\n");
    check_hugetlb_limit(8 * MIB, 2 * MIB, "/cg1/huge/box/hugetlb.2MB.limit_in_bytes");
    assert_int_equal(facts.memory.limit_bytes, MIB);
}

static void test_facts_find_the_cgroup_inside_of_a_container(void **state)
{
    (void)state;
    /* Mounted is the container's own folder; the path may name it from the host's view. */
    fixture_root_put(&root, "/proc/self/mountinfo",
                     "41 31 0:37 /docker/abc /cg ro - cgroup2 cgroup2 rw\n");
    fixture_root_put(&root, "/proc/self/cgroup", "0::/docker/abc/inner\n");
    fixture_root_put(&root, "/cg/inner/hugetlb.2MB.max", "2097152\n");
    check_hugetlb_limit(2 * MIB, 0, "/cg/inner/hugetlb.2MB.max");
    /* A sibling's name that begins alike is not it: the limit of the mount's root is all one sees.
     */
    fixture_root_put(&root, "/proc/self/cgroup", "0::/docker/abcdef\n");
    fixture_root_put(&root, "/cg/hugetlb.2MB.max", "6291456\n");
    check_hugetlb_limit(6 * MIB, 0, "/cg/hugetlb.2MB.max");
    /* Outside of the cgroup namespace. */
    fixture_root_put(&root, "/proc/self/cgroup", "0::/../../x\n");
    check_hugetlb_limit(6 * MIB, 0, "/cg/hugetlb.2MB.max");
}

static void test_facts_name_sizes_as_the_cgroup_does(void **state)
{
    (void)state;
    put_pool_of_1_gib();
    fixture_root_put(&root, "/proc/self/mountinfo", V2_MOUNT);
    fixture_root_put(&root, "/proc/self/cgroup", "0::/a\n");
    fixture_root_put(&root, "/cg/a/hugetlb.1GB.max", "0\n");
    read_facts(GIB, -1);
    assert_int_equal(facts.hugetlb.limit_bytes, 0);
    assert_string_equal(facts.hugetlb.file, "/cg/a/hugetlb.1GB.max");
}

/* ---- pinning ----------------------------------------------------------------------------------
 */

static void test_lock_facts_of_the_limit_and_what_is_used(void **state)
{
    struct memory_lock_facts lock;

    (void)state;
    memory_lock_facts_read(&lock, root.path);
    assert_int_equal(lock.soft_bytes, 8 * MIB);
    assert_true(lock.hard_bytes == MEMORY_NO_LIMIT);
    assert_int_equal(lock.used_bytes, 4112 * KIB);
    assert_true(lock.may_exceed);
}

static void test_lock_facts_without_the_capability(void **state)
{
    struct memory_lock_facts lock;

    (void)state;
    fixture_root_put(&root, "/proc/self/status", "CapEff:\tffffffffffffbfff\n");
    memory_lock_facts_read(&lock, root.path);
    assert_false(lock.may_exceed);
    fixture_root_put(&root, "/proc/self/status", "CapEff:\t0000000000004000\n");
    memory_lock_facts_read(&lock, root.path);
    assert_true(lock.may_exceed);
}

static void test_lock_facts_do_not_count_the_capability_of_a_user_namespace(void **state)
{
    struct memory_lock_facts lock;

    (void)state;
    fixture_root_put(&root, "/proc/self/uid_map", "         0       1000          1\n");
    memory_lock_facts_read(&lock, root.path);
    assert_false(lock.may_exceed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_facts_of_the_pool_and_the_system),
        TEST(test_facts_of_a_host_without_any_of_the_files),
        TEST(test_facts_prefer_pages_that_are_not_larger_than_the_buffer),
        TEST(test_facts_of_a_node),
        TEST(test_facts_count_free_pages_of_the_nodes_that_the_process_may_use),
        TEST(test_facts_of_transparent_huge_pages),
        TEST(test_facts_of_transparent_huge_pages_heed_the_setting_of_their_size),
        TEST(test_facts_see_that_the_process_switched_thp_off),
        TEST(test_facts_find_the_cgroup_v2_limit),
        TEST(test_facts_take_the_tightest_cgroup_of_all_above),
        TEST(test_facts_take_the_limit_on_reservations_too),
        TEST(test_facts_take_the_largest_number_for_no_limit),
        TEST(test_facts_find_the_cgroup_v1_limit),
        TEST(test_facts_find_the_cgroup_inside_of_a_container),
        TEST(test_facts_name_sizes_as_the_cgroup_does),
        TEST(test_lock_facts_of_the_limit_and_what_is_used),
        TEST(test_lock_facts_without_the_capability),
        TEST(test_lock_facts_do_not_count_the_capability_of_a_user_namespace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
