/* Fields on the wire are little-endian whatever the host is, and no cursor passes its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "common/wire.h"

static void test_wire_packs_little_endian(void **state)
{
    static const uint8_t expected[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0F,
                                       0x0E, 0x0D, 0x0C, 0x0B, 0x0A, 0x09, 0x08};
    uint8_t bytes[sizeof(expected)];
    struct wire_writer w = wire_writer(bytes, sizeof(bytes));

    (void)state;
    wire_put_u8(&w, 0x01);
    wire_put_u16(&w, 0x0203);
    wire_put_u32(&w, 0x04050607);
    wire_put_u64(&w, 0x08090A0B0C0D0E0F);
    assert_false(w.overrun);
    assert_int_equal(w.pos, sizeof(expected));
    assert_memory_equal(bytes, expected, sizeof(expected));

    struct wire_reader r = wire_reader(bytes, sizeof(bytes));
    assert_int_equal(wire_get_u8(&r), 0x01);
    assert_int_equal(wire_get_u16(&r), 0x0203);
    assert_int_equal(wire_get_u32(&r), 0x04050607);
    assert_int_equal(wire_get_u64(&r), 0x08090A0B0C0D0E0F);
    assert_false(r.overrun);
    assert_int_equal(r.pos, sizeof(expected));
}

static void test_wire_read_past_the_end_gives_zero_and_sticks(void **state)
{
    static const uint8_t bytes[] = {0xFF, 0xFF, 0xFF};
    struct wire_reader r = wire_reader(bytes, sizeof(bytes));

    (void)state;
    assert_int_equal(wire_get_u32(&r), 0);
    assert_true(r.overrun);
    /* There would be room for this one: but a parser that is off must stay off. */
    assert_int_equal(wire_get_u8(&r), 0);
    assert_int_equal(wire_get_u16(&r), 0);
    assert_int_equal(wire_get_u64(&r), 0);
    assert_null(wire_get_bytes(&r, 0));
    assert_int_equal(r.pos, 0);
}

static void test_wire_write_past_the_end_writes_nothing_and_sticks(void **state)
{
    uint8_t bytes[4] = {9, 9, 9, 9};
    struct wire_writer w = wire_writer(bytes, 3);

    (void)state;
    wire_put_u16(&w, 0x0201);
    wire_put_u16(&w, 0x0403);
    assert_true(w.overrun);
    wire_put_u8(&w, 5);
    assert_int_equal(w.pos, 2);
    assert_memory_equal(bytes, "\x01\x02\x09\x09", 4);
}

static void test_wire_length_near_the_largest_does_not_wrap(void **state)
{
    uint8_t bytes[8] = {0};
    struct wire_reader r = wire_reader(bytes, sizeof(bytes));
    struct wire_writer w = wire_writer(bytes, sizeof(bytes));

    (void)state;
    wire_get_u32(&r);
    assert_null(wire_get_bytes(&r, SIZE_MAX - 2));
    assert_true(r.overrun);
    wire_put_u32(&w, 0);
    wire_put_bytes(&w, bytes, SIZE_MAX - 2);
    assert_true(w.overrun);
}

static void test_wire_bytes_are_borrowed_in_place(void **state)
{
    static const uint8_t bytes[] = "abcdef";
    struct wire_reader r = wire_reader(bytes, 6);

    (void)state;
    assert_ptr_equal(wire_get_bytes(&r, 2), bytes);
    assert_ptr_equal(wire_get_bytes(&r, 4), bytes + 2);
    assert_non_null(wire_get_bytes(&r, 0));
    assert_false(r.overrun);
}

static void test_wire_string_comes_back(void **state)
{
    uint8_t bytes[32];
    char text[8] = "unset";
    struct wire_writer w = wire_writer(bytes, sizeof(bytes));

    (void)state;
    wire_put_string(&w, "stream");
    wire_put_string(&w, "");
    assert_int_equal(w.pos, 2 + 6 + 2);
    struct wire_reader r = wire_reader(bytes, w.pos);
    wire_get_string(&r, text, sizeof(text));
    assert_string_equal(text, "stream");
    wire_get_string(&r, text, sizeof(text));
    assert_string_equal(text, "");
    assert_false(r.overrun);
}

static void read_bad_string(const char *bytes, size_t len)
{
    /* On the heap and of just its size, so that a sanitizer sees a read past it. */
    uint8_t *copy = malloc(len);
    char text[4] = "old";

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    struct wire_reader r = wire_reader(copy, len);
    wire_get_string(&r, text, sizeof(text));
    assert_true(r.overrun);
    assert_string_equal(text, "");
    free(copy);
}

static void test_wire_string_that_does_not_fit_is_an_overrun(void **state)
{
    (void)state;
    read_bad_string("\x04\x00"
                    "abcd",
                    6); /* longer than the room for it */
    read_bad_string("\x03\x00"
                    "ab",
                    4); /* longer than what there is */
    read_bad_string("\x03\x00"
                    "a\0c",
                    5);             /* a NUL within */
    read_bad_string("\xFF\xFF", 2); /* much longer */
    read_bad_string("\x01", 1);     /* half a length */
}

static void test_wire_string_is_written_whole_or_not_at_all(void **state)
{
    uint8_t bytes[8] = {0};
    struct wire_writer w = wire_writer(bytes, 7);

    (void)state;
    wire_put_string(&w, "abcdef");
    assert_true(w.overrun);
    assert_int_equal(w.pos, 0);
    assert_int_equal(bytes[0], 0);
}

static void test_wire_string_longer_than_its_length_field_is_an_overrun(void **state)
{
    size_t len = UINT16_MAX + 1;
    char *text = malloc(len + 1);
    uint8_t *bytes = malloc(len + 16);

    (void)state;
    assert_non_null(text);
    assert_non_null(bytes);
    memset(text, 'a', len);
    text[len] = '\0';
    struct wire_writer w = wire_writer(bytes, len + 16);
    wire_put_string(&w, text);
    assert_true(w.overrun);
    free(text);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_packs_little_endian),
        cmocka_unit_test(test_wire_read_past_the_end_gives_zero_and_sticks),
        cmocka_unit_test(test_wire_write_past_the_end_writes_nothing_and_sticks),
        cmocka_unit_test(test_wire_length_near_the_largest_does_not_wrap),
        cmocka_unit_test(test_wire_bytes_are_borrowed_in_place),
        cmocka_unit_test(test_wire_string_comes_back),
        cmocka_unit_test(test_wire_string_that_does_not_fit_is_an_overrun),
        cmocka_unit_test(test_wire_string_is_written_whole_or_not_at_all),
        cmocka_unit_test(test_wire_string_longer_than_its_length_field_is_an_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
