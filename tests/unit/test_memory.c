/* Memory for buffers on this very host: what is asked for, what comes, what is said of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/memory_probe.h"
#include "support/child.h"
#include "support/huge_pool.h"

#define MIB ((size_t)1 << 20)

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t huge_bytes(void)
{
    struct memory_facts facts;

    memory_facts_read(&facts, "", SIZE_MAX, -1);
    return facts.huge_bytes;
}

static struct memory alloc(size_t size, enum embar_hugepages hugepages)
{
    struct memory memory = {0};
    struct embar_diag diag = {0};

    if (memory_alloc(size, hugepages, -1, &memory, &diag) != 0)
        fail_msg("%s", diag.text);
    return memory;
}

static void test_memory_ordinary_is_rounded_up_to_a_page_and_ordinary(void **state)
{
    struct memory memory = alloc(3 * MIB + 1, EMBAR_HUGEPAGES_NEVER);

    (void)state;
    assert_int_equal(memory.size_bytes, 3 * MIB + page_bytes());
    assert_int_equal(memory.kind, EMBAR_PAGES_ORDINARY);
    assert_int_equal(memory.page_bytes, page_bytes());
    assert_int_equal(memory.page_count, memory.size_bytes / page_bytes());
    assert_string_equal(memory.reason, "");
    assert_int_equal((uintptr_t)memory.addr % page_bytes(), 0);
    memory_free(&memory);
}

static void test_memory_ordinary_has_no_huge_page_even_where_one_would_fit(void **state)
{
    struct memory memory = alloc(16 * MIB, EMBAR_HUGEPAGES_NEVER);
    struct memory_pages pages;

    (void)state;
    assert_int_equal(memory_probe_pages("/proc/self/smaps", memory.addr, memory.size_bytes, &pages),
                     0);
    assert_int_equal(pages.thp_bytes, 0);
    assert_int_equal(pages.resident_bytes, memory.size_bytes);
    memory_free(&memory);
}

static void test_memory_is_populated_and_zero(void **state)
{
    (void)state;
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER; how++) {
        struct memory_pages pages;
        if (how == EMBAR_HUGEPAGES_REQUIRE)
            continue; /* has a test of its own */
        struct memory memory = alloc(4 * MIB, how);
        assert_int_equal(
            memory_probe_pages("/proc/self/smaps", memory.addr, memory.size_bytes, &pages), 0);
        assert_int_equal(pages.resident_bytes + pages.hugetlb_bytes, memory.size_bytes);
        const unsigned char *bytes = memory.addr;
        assert_int_equal(bytes[0], 0);
        assert_memory_equal(bytes, bytes + 1, memory.size_bytes - 1);
        memory_free(&memory);
    }
}

static void test_memory_required_comes_in_hugetlb_pages_or_says_the_pool_is_short(void **state)
{
    struct memory memory = {0};
    struct embar_diag diag = {0};
    uint64_t added = 0;
    bool can = huge_pool_lock() && huge_pool_reserve(2, &added);
    int rc = memory_alloc(huge_bytes() + 1, EMBAR_HUGEPAGES_REQUIRE, -1, &memory, &diag);

    (void)state;
    if (can) {
        assert_int_equal(rc, 0);
        assert_int_equal(memory.kind, EMBAR_PAGES_HUGETLB);
        assert_int_equal(memory.page_bytes, huge_bytes());
        assert_int_equal(memory.page_count, 2);
        assert_int_equal(memory.size_bytes, 2 * huge_bytes());
        assert_string_equal(memory.reason, "");
        memset(memory.addr, 0xA5, memory.size_bytes);
        memory_free(&memory);
    } else {
        assert_int_equal(rc, -ENOMEM);
        assert_non_null(strstr(diag.text, "the pool has"));
    }
    huge_pool_release(added);
}

static void test_memory_preferred_says_why_it_is_not_hugetlb(void **state)
{
    struct memory memory = alloc(8 * MIB, EMBAR_HUGEPAGES_PREFER);

    (void)state;
    assert_int_equal(memory.kind == EMBAR_PAGES_HUGETLB, memory.reason[0] == '\0');
    assert_true(memory.size_bytes >= 8 * MIB);
    assert_true(memory.page_count > 0);
    memory_free(&memory);
}

/* What a child does to memory that must not be there for it. */
static int touch(void *addr)
{
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    *(volatile char *)addr = 1;
    return 0;
}

static void test_memory_ends_at_a_guard_page(void **state)
{
    struct memory memory = alloc(MIB, EMBAR_HUGEPAGES_NEVER);
    char *start = memory.addr;

    (void)state;
    /* Its own ones, and not by luck a hole or a neighbour's. */
    assert_true((char *)memory.map_addr + page_bytes() <= start);
    assert_true((char *)memory.map_addr + memory.map_bytes >=
                start + memory.size_bytes + page_bytes());
    assert_false(child_succeeds(touch, start + memory.size_bytes));
    assert_false(child_succeeds(touch, start - 1));
    memory_free(&memory);
}

static void test_memory_is_not_inherited_across_fork(void **state)
{
    (void)state;
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER;
         how += 2) {
        struct memory memory = alloc(MIB, how);
        assert_false(child_succeeds(touch, memory.addr));
        memory_free(&memory);
    }
}

static void test_memory_freed_is_unmapped_whole(void **state)
{
    (void)state;
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER;
         how += 2) {
        struct memory memory = alloc(2 * MIB, how), copy = memory;
        unsigned char resident;
        memory_free(&memory);
        assert_null(memory.addr);
        for (size_t at = 0; at < copy.map_bytes; at += page_bytes()) {
            assert_int_equal(mincore((char *)copy.map_addr + at, 1, &resident), -1);
            assert_int_equal(errno, ENOMEM);
        }
        memory_free(&memory); /* harmless */
    }
}

static void test_memory_of_no_or_absurd_size_is_refused(void **state)
{
    struct memory memory = {.size_bytes = 7};
    struct embar_diag diag = {0};

    (void)state;
    assert_int_equal(memory_alloc(0, EMBAR_HUGEPAGES_NEVER, -1, &memory, &diag), -EINVAL);
    assert_int_equal(memory_alloc(SIZE_MAX, EMBAR_HUGEPAGES_PREFER, -1, &memory, &diag), -EINVAL);
    assert_int_equal(memory.size_bytes, 7);
}

static void test_memory_bound_to_a_node_lies_there(void **state)
{
    (void)state;
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER;
         how += 2) {
        struct memory memory = {0};
        struct embar_diag diag = {0};
        if (memory_alloc(4 * MIB, how, 0, &memory, &diag) != 0)
            fail_msg("%s", diag.text);
        assert_int_equal(memory.numa_node, 0);
        memory_free(&memory);
    }
}

static void test_memory_on_a_node_that_is_not_there_is_refused(void **state)
{
    struct memory memory;
    struct embar_diag diag = {0};

    (void)state;
    assert_int_equal(memory_alloc(MIB, EMBAR_HUGEPAGES_PREFER, 1000, &memory, &diag), -EINVAL);
    assert_non_null(strstr(diag.text, "no NUMA node 1000"));
}

static char logged[512];
static enum embar_log_level logged_level;

static void take_line(enum embar_log_level level, const char *line, void *user)
{
    (void)user;
    logged_level = level;
    snprintf(logged, sizeof(logged), "%s", line);
}

static void test_memory_logs_what_was_obtained(void **state)
{
    (void)state;
    embar_log_set(EMBAR_LOG_INFO, take_line, NULL);
    struct memory memory = alloc(4 * MIB, EMBAR_HUGEPAGES_NEVER);
    embar_log_set(EMBAR_LOG_INFO, NULL, NULL);
    assert_int_equal(logged_level, EMBAR_LOG_INFO);
    assert_non_null(strstr(logged, "4 MiB in"));
    assert_non_null(strstr(logged, "ordinary pages"));
    memory_free(&memory);
}

/* ---- RLIMIT_MEMLOCK, each in a child -----------------------------------------------------------
 */

static int drop_lock_capability(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) != 0)
        return -1;
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    return (int)syscall(SYS_capset, &header, data);
}

static int set_lock_limit(rlim_t soft)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || soft > limit.rlim_max)
        return -1;
    limit.rlim_cur = soft;
    return setrlimit(RLIMIT_MEMLOCK, &limit);
}

static int check_limit_without_capability(void *unused)
{
    struct embar_diag diag = {0};
    unsigned long long kib = 0;

    (void)unused;
    CHILD_CHECK(drop_lock_capability() == 0);
    CHILD_CHECK(set_lock_limit(64 * 1024) == 0);
    CHILD_CHECK(memory_lock_check(64 * 1024, &diag) == 0);
    CHILD_CHECK(memory_lock_check(64 * 1024 + 1, &diag) == -EPERM);
    CHILD_CHECK(diag.error == EPERM);
    CHILD_CHECK_SAYS(diag.text, "RLIMIT_MEMLOCK is 64 KiB");
    /* The hard limit has room: following the advice is enough. */
    const char *advice = strstr(diag.text, "ulimit -l ");
    CHILD_CHECK(advice && sscanf(advice, "ulimit -l %llu", &kib) == 1);
    CHILD_CHECK(set_lock_limit(kib * 1024) == 0);
    CHILD_CHECK(memory_lock_check(64 * 1024 + 1, &diag) == 0);
    return 0;
}

static void test_memory_lock_check_holds_to_the_limit(void **state)
{
    (void)state;
    assert_true(child_succeeds(check_limit_without_capability, NULL));
}

static int check_hard_limit(void *unused)
{
    struct rlimit limit = {64 * 1024, 64 * 1024};
    struct embar_diag diag = {0};

    (void)unused;
    CHILD_CHECK(drop_lock_capability() == 0);
    CHILD_CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    CHILD_CHECK(memory_lock_check(256 * MIB, &diag) == -EPERM);
    CHILD_CHECK_SAYS(diag.text, "'memlock' to 262144 in /etc/security/limits.conf");
    CHILD_CHECK_SAYS(diag.text, "LimitMEMLOCK=infinity");
    CHILD_CHECK(memory_lock_check(256 * MIB, NULL) == -EPERM);
    return 0;
}

static void test_memory_lock_check_beyond_the_hard_limit_names_where_it_is_set(void **state)
{
    (void)state;
    assert_true(child_succeeds(check_hard_limit, NULL));
}

static int check_locked_already(void *unused)
{
    struct embar_diag diag = {0};
    size_t locked = 8 * page_bytes();
    void *addr = mmap(NULL, locked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)unused;
    CHILD_CHECK(addr != MAP_FAILED);
    CHILD_CHECK(drop_lock_capability() == 0);
    CHILD_CHECK(set_lock_limit(2 * locked) == 0);
    /* The system call itself: a sanitizer's mlock(3) does nothing. */
    CHILD_CHECK(syscall(SYS_mlock, addr, locked) == 0);
    CHILD_CHECK(memory_lock_check(locked, &diag) == 0);
    CHILD_CHECK(memory_lock_check(locked + page_bytes(), &diag) == -EPERM);
    return 0;
}

static void test_memory_lock_check_counts_what_is_locked_already(void **state)
{
    (void)state;
    assert_true(child_succeeds(check_locked_already, NULL));
}

static int check_capability(void *unused)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    (void)unused;
    CHILD_CHECK(syscall(SYS_capget, &header, data) == 0);
    bool has = data[0].effective & 1u << CAP_IPC_LOCK;
    CHILD_CHECK(set_lock_limit(0) == 0);
    CHILD_CHECK(memory_lock_check(256 * MIB, NULL) == (has ? 0 : -EPERM));
    return 0;
}

static void test_memory_lock_check_lets_the_capability_exceed_the_limit(void **state)
{
    (void)state;
    assert_true(child_succeeds(check_capability, NULL));
}

static void test_memory_kinds_have_names(void **state)
{
    (void)state;
    assert_string_equal(memory_kind_name(EMBAR_PAGES_HUGETLB), "hugetlb");
    assert_string_equal(memory_kind_name(EMBAR_PAGES_THP), "thp");
    assert_string_equal(memory_kind_name(EMBAR_PAGES_ORDINARY), "ordinary");
    assert_string_equal(memory_kind_name(EMBAR_PAGES_ADOPTED), "adopted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_ordinary_is_rounded_up_to_a_page_and_ordinary),
        cmocka_unit_test(test_memory_ordinary_has_no_huge_page_even_where_one_would_fit),
        cmocka_unit_test(test_memory_is_populated_and_zero),
        cmocka_unit_test(test_memory_required_comes_in_hugetlb_pages_or_says_the_pool_is_short),
        cmocka_unit_test(test_memory_preferred_says_why_it_is_not_hugetlb),
        cmocka_unit_test(test_memory_ends_at_a_guard_page),
        cmocka_unit_test(test_memory_is_not_inherited_across_fork),
        cmocka_unit_test(test_memory_freed_is_unmapped_whole),
        cmocka_unit_test(test_memory_of_no_or_absurd_size_is_refused),
        cmocka_unit_test(test_memory_bound_to_a_node_lies_there),
        cmocka_unit_test(test_memory_on_a_node_that_is_not_there_is_refused),
        cmocka_unit_test(test_memory_logs_what_was_obtained),
        cmocka_unit_test(test_memory_lock_check_holds_to_the_limit),
        cmocka_unit_test(test_memory_lock_check_beyond_the_hard_limit_names_where_it_is_set),
        cmocka_unit_test(test_memory_lock_check_counts_what_is_locked_already),
        cmocka_unit_test(test_memory_lock_check_lets_the_capability_exceed_the_limit),
        cmocka_unit_test(test_memory_kinds_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
