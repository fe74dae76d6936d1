/* Memory for another process: what it is made of, and what is refused when a peer hands it over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/memory_probe.h"
#include "common/memory_share.h"

#define MIB ((size_t)1 << 20)

static struct memory alloc(size_t size, enum embar_hugepages hugepages)
{
    struct memory memory = {0};
    struct embar_diag diag = {0};

    if (memory_alloc_shareable(size, hugepages, -1, &memory, &diag) != 0)
        fail_msg("%s", diag.text);
    assert_true(memory.shareable);
    assert_int_equal(memory_share_check(memory.fd, memory.size_bytes), 0);
    return memory;
}

static void check_measured(const struct memory *memory)
{
    struct memory_pages pages;

    assert_int_equal(
        memory_probe_pages("/proc/self/smaps", memory->addr, memory->size_bytes, &pages), 0);
    assert_int_equal(pages.resident_bytes + pages.hugetlb_bytes, memory->size_bytes);
    if (memory->kind == EMBAR_PAGES_HUGETLB)
        assert_int_equal(pages.hugetlb_bytes, memory->page_count * memory->page_bytes);
    else if (memory->kind == EMBAR_PAGES_THP)
        assert_int_equal(pages.thp_bytes, memory->page_count * memory->page_bytes);
    else
        assert_int_equal(pages.thp_bytes, 0);
}

static void test_shareable_memory_is_the_same_in_a_second_mapping(void **state)
{
    (void)state;
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER; how++) {
        struct memory memory;
        unsigned char *second;

        if (how == EMBAR_HUGEPAGES_REQUIRE)
            continue;
        memory = alloc(8 * MIB, how);
        second = mmap(NULL, memory.size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
        assert_ptr_not_equal(second, MAP_FAILED);
        check_measured(&memory);
        assert_int_equal(memory.kind == EMBAR_PAGES_HUGETLB || how == EMBAR_HUGEPAGES_NEVER,
                         memory.reason[0] == '\0');
        second[8 * MIB - 1] = 0x5a;
        assert_int_equal(((unsigned char *)memory.addr)[8 * MIB - 1], 0x5a);
        munmap(second, memory.size_bytes);
        memory_free(&memory);
        assert_false(memory.shareable);
    }
}

static void test_shareable_memory_never_is_ordinary_and_as_large_as_asked(void **state)
{
    struct memory memory = alloc(3 * MIB + 1, EMBAR_HUGEPAGES_NEVER);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    assert_int_equal(memory.kind, EMBAR_PAGES_ORDINARY);
    assert_int_equal(memory.size_bytes, 3 * MIB + page);
    assert_int_equal(memory.page_count, memory.size_bytes / page);
    memory_free(&memory);
}

static void test_shareable_memory_cannot_be_truncated(void **state)
{
    struct memory memory = alloc(MIB, EMBAR_HUGEPAGES_NEVER);

    (void)state;
    assert_int_equal(ftruncate(memory.fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(memory.fd, (off_t)(2 * MIB)), -1);
    assert_int_equal(fcntl(memory.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    memory_free(&memory);
}

static void test_lendable_memory_is_readable_for_others_and_no_more(void **state)
{
    (void)state;
    for (enum embar_hugepages how = EMBAR_HUGEPAGES_PREFER; how <= EMBAR_HUGEPAGES_NEVER; how++) {
        struct memory memory = {0}, private = {0};
        unsigned char *second;

        if (how == EMBAR_HUGEPAGES_REQUIRE)
            continue;
        assert_int_equal(memory_alloc_lendable(8 * MIB, how, -1, &memory, NULL), 0);
        assert_int_equal(memory_alloc(8 * MIB, how, -1, &private, NULL), 0);
        assert_int_equal(memory.page_bytes, private.page_bytes); /* sharing costs no page size */
        memory_free(&private);
        check_measured(&memory);
        memset(memory.addr, 0x5a, memory.size_bytes); /* its own mapping stays writable */
        if (!memory.shareable) {                      /* the kernel gathers no pages of a memfd */
            assert_int_equal(how, EMBAR_HUGEPAGES_PREFER);
            memory_free(&memory);
            continue;
        }
        assert_int_equal(memory_share_check(memory.fd, memory.size_bytes), 0);
        assert_ptr_equal(
            mmap(NULL, memory.size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0),
            MAP_FAILED);
        assert_int_equal(fcntl(memory.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
        second = mmap(NULL, memory.size_bytes, PROT_READ, MAP_SHARED, memory.fd, 0);
        assert_ptr_not_equal(second, MAP_FAILED);
        assert_int_equal(second[memory.size_bytes - 1], 0x5a);
        munmap(second, memory.size_bytes);
        memory_free(&memory);
    }
}

static void test_freed_shareable_memory_leaves_no_descriptor(void **state)
{
    struct memory memory = alloc(MIB, EMBAR_HUGEPAGES_NEVER);
    int fd = memory.fd;

    (void)state;
    memory_free(&memory);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    memory_free(&memory); /* harmless */
}

static void test_a_memfd_that_could_end_in_a_fault_is_refused(void **state)
{
    int sparse = memory_share_create("test", MIB, 0);
    int unsealed = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
    struct memory memory = alloc(MIB, EMBAR_HUGEPAGES_NEVER);

    (void)state;
    assert_int_equal(memory_share_check(sparse, MIB), -ENOMEM);
    assert_int_equal(fallocate(unsealed, 0, 0, (off_t)MIB), 0);
    assert_int_equal(memory_share_check(unsealed, MIB), -EPERM);
    assert_int_equal(memory_share_check(zero, MIB), -EPERM);
    assert_int_equal(memory_share_check(memory.fd, 2 * MIB), -EINVAL);
    assert_int_equal(memory_share_check(memory.fd, MIB / 2), -EINVAL);
    memory_free(&memory);
    close(sparse);
    close(unsealed);
    close(zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shareable_memory_is_the_same_in_a_second_mapping),
        cmocka_unit_test(test_shareable_memory_never_is_ordinary_and_as_large_as_asked),
        cmocka_unit_test(test_shareable_memory_cannot_be_truncated),
        cmocka_unit_test(test_lendable_memory_is_readable_for_others_and_no_more),
        cmocka_unit_test(test_freed_shareable_memory_leaves_no_descriptor),
        cmocka_unit_test(test_a_memfd_that_could_end_in_a_fault_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
