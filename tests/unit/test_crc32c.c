/* The checksum is CRC32C of RFC 3720, in one piece or in several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>

#include "common/crc32c.h"

static void test_crc32c_of_the_check_string(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(0, "", 0), 0);
}

/* RFC 3720, appendix B.4. */
static void test_crc32c_of_the_rfc_examples(void **state)
{
    uint8_t bytes[32];

    (void)state;
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8A9136AA);
    memset(bytes, 0xFF, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62A8AB43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46DD794E);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x113FDB5C);
}

/* Bit by bit from the polynomial's definition (reflected). */
static uint32_t slow_crc32c(uint32_t crc, const uint8_t *data, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

static void test_crc32c_agrees_with_its_definition_at_every_length_and_alignment(void **state)
{
    uint8_t bytes[600];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 167 + 13);
    for (size_t from = 0; from < 16; from++)
        for (size_t len = 0; len + from <= sizeof(bytes); len++)
            assert_int_equal(crc32c(0, bytes + from, len), slow_crc32c(0, bytes + from, len));
}

static void test_crc32c_goes_on_from_where_it_was(void **state)
{
    static const char text[] = "a batch is a header and the messages";
    uint32_t whole = crc32c(0, text, sizeof(text));

    (void)state;
    for (size_t cut = 0; cut <= sizeof(text); cut++)
        assert_int_equal(crc32c(crc32c(0, text, cut), text + cut, sizeof(text) - cut), whole);
}

static void test_crc32c_of_more_than_an_int_counts(void **state)
{
    /* Longer than the library below can be told at once. Pages never written to cost no memory. */
    size_t len = ((size_t)1 << 32) + 4097;
    uint8_t *bytes =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    (void)state;
    assert_true(bytes != MAP_FAILED);
    madvise(bytes, len, MADV_HUGEPAGE); /* for speed: fewer faults, where there is such a thing */
    bytes[len - 1] = 1;
    uint32_t halves = crc32c(crc32c(0, bytes, len / 3), bytes + len / 3, len - len / 3);
    assert_int_equal(crc32c(0, bytes, len), halves);
    assert_int_not_equal(crc32c(0, bytes, len - 1), halves);
    munmap(bytes, len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_of_the_check_string),
        cmocka_unit_test(test_crc32c_of_the_rfc_examples),
        cmocka_unit_test(test_crc32c_agrees_with_its_definition_at_every_length_and_alignment),
        cmocka_unit_test(test_crc32c_goes_on_from_where_it_was),
        cmocka_unit_test(test_crc32c_of_more_than_an_int_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
