/* Frame headers go over the wire as documented, and no header that breaks a rule passes the checks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "tcp/frame.h"

static const unsigned any = ~0u;

static uint8_t memory[4096];
static const struct tcp_window window = {.addr = memory, .size_bytes = 4096, .key = 77};

static struct tcp_frame a_write(uint64_t offset, uint32_t len)
{
    return (struct tcp_frame){
        .type = TCP_FRAME_WRITE, .key = 77, .offset = offset, .immediate = 5, .len_bytes = len};
}

static void test_frame_lies_on_the_wire_as_documented(void **state)
{
    static const uint8_t expected[TCP_FRAME_BYTES] = {
        0x45, 0x42, 1,    4,    0,    0,    0,    0,    0x08, 0x07, 0x06,
        0x05, 0x04, 0x03, 0x02, 0x01, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13,
        0x12, 0x11, 0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31,
    };
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE,
                              .key = 0x0102030405060708,
                              .offset = 0x1112131415161718,
                              .immediate = 0x21222324,
                              .len_bytes = 0x31323334};
    struct tcp_frame back = {0};
    uint8_t bytes[TCP_FRAME_BYTES];

    (void)state;
    tcp_frame_pack(&frame, bytes);
    assert_memory_equal(bytes, expected, sizeof(expected));
    assert_int_equal(tcp_frame_unpack(bytes, &back, NULL), 0);
    assert_int_equal(back.type, frame.type);
    assert_int_equal(back.key, frame.key);
    assert_int_equal(back.offset, frame.offset);
    assert_int_equal(back.immediate, frame.immediate);
    assert_int_equal(back.len_bytes, frame.len_bytes);
}

static void test_frame_with_any_altered_byte_of_its_preamble_is_refused(void **state)
{
    struct tcp_frame frame = a_write(0, 1), back;
    uint8_t bytes[TCP_FRAME_BYTES];

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct embar_diag why = {0};

        tcp_frame_pack(&frame, bytes);
        bytes[i] ^= 0x80;
        /* Another version is not an error of the peer: it is to be told so. */
        assert_int_equal(tcp_frame_unpack(bytes, &back, &why), i == 2 ? -EPROTONOSUPPORT : -EPROTO);
        assert_true(why.text[0] != '\0');
    }
}

static void test_frame_of_an_unknown_type_is_refused(void **state)
{
    struct tcp_frame frame = a_write(0, 1), back;
    uint8_t bytes[TCP_FRAME_BYTES];

    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        tcp_frame_pack(&frame, bytes);
        bytes[3] = (uint8_t)type;
        assert_int_equal(tcp_frame_unpack(bytes, &back, NULL),
                         type >= 1 && type <= 7 ? 0 : -EPROTO);
    }
}

static void test_only_a_write_may_say_that_it_was_spliced(void **state)
{
    struct tcp_frame frame = a_write(0, 1), back;
    uint8_t bytes[TCP_FRAME_BYTES];

    (void)state;
    for (unsigned type = TCP_FRAME_REQUEST; type <= TCP_FRAME_PLACED; type++) {
        frame.type = (enum tcp_frame_type)type;
        frame.flags = 0;
        tcp_frame_pack(&frame, bytes);
        assert_int_equal(tcp_frame_unpack(bytes, &back, NULL), 0);
        assert_int_equal(back.flags, 0);
        tcp_frame_set_flags(bytes, TCP_FLAG_SPLICED);
        assert_int_equal(tcp_frame_unpack(bytes, &back, NULL),
                         type == TCP_FRAME_WRITE ? 0 : -EPROTO);
    }
    assert_int_equal(bytes[4], 1);
    for (unsigned flags = 2; flags < 0x10000; flags <<= 1) {
        frame = a_write(0, 1);
        frame.flags = (uint16_t)flags;
        tcp_frame_pack(&frame, bytes);
        assert_int_equal(tcp_frame_unpack(bytes, &back, NULL), -EPROTO);
    }
}

static void test_frame_is_refused_in_a_state_that_does_not_allow_its_type(void **state)
{
    static const struct tcp_frame frames[] = {
        {.type = TCP_FRAME_REQUEST, .key = 1, .offset = UINT64_C(1) << 32},
        {.type = TCP_FRAME_ACCEPT},
        {.type = TCP_FRAME_REJECT, .len_bytes = 255},
        {.type = TCP_FRAME_WRITE, .key = 77, .len_bytes = 1},
        {.type = TCP_FRAME_SEND, .len_bytes = TCP_MAX_SEND_BYTES},
        {.type = TCP_FRAME_BYE, .immediate = TCP_BYE_REFUSED},
        {.type = TCP_FRAME_PLACED, .offset = UINT64_MAX},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        unsigned own = TCP_FRAME_BIT(frames[i].type);

        assert_int_equal(tcp_frame_check(&frames[i], own, &window, NULL), 0);
        assert_int_equal(tcp_frame_check(&frames[i], ~own, &window, NULL), -EPROTO);
    }
}

static void test_write_within_the_window_passes_up_to_its_last_byte(void **state)
{
    struct tcp_frame whole = a_write(0, 4096), last = a_write(4095, 1);

    (void)state;
    assert_int_equal(tcp_frame_check(&whole, any, &window, NULL), 0);
    assert_int_equal(tcp_frame_check(&last, any, &window, NULL), 0);
}

static void test_write_that_leaves_the_window_by_one_byte_is_refused(void **state)
{
    struct tcp_frame frames[] = {a_write(0, 4097), a_write(1, 4096), a_write(4096, 1),
                                 a_write(UINT64_MAX, 1), a_write(UINT64_MAX - 4095, 4096)};

    (void)state;
    for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct embar_diag why = {0};

        assert_int_equal(tcp_frame_check(&frames[i], any, &window, &why), -EACCES);
        assert_non_null(strstr(why.text, "outside"));
    }
}

static void test_write_with_another_key_or_without_a_window_is_refused(void **state)
{
    struct tcp_window nothing = {0};
    struct tcp_frame other = a_write(0, 1), zero = a_write(0, 1);

    (void)state;
    other.key = 78;
    zero.key = 0;
    assert_int_equal(tcp_frame_check(&other, any, &window, NULL), -EACCES);
    assert_int_equal(tcp_frame_check(&zero, any, &nothing, NULL), -EACCES);
}

static void test_the_key_is_not_told_to_whoever_guesses_at_it(void **state)
{
    struct tcp_frame other = a_write(0, 1);
    struct embar_diag why = {0};

    (void)state;
    other.key = 78;
    tcp_frame_check(&other, any, &window, &why);
    assert_null(strstr(why.text, "77"));
}

static void test_lengths_out_of_bounds_are_refused(void **state)
{
    struct tcp_frame frames[] = {
        a_write(0, 0),
        a_write(0, TCP_MAX_WRITE_BYTES + 1),
        {.type = TCP_FRAME_SEND, .len_bytes = 0},
        {.type = TCP_FRAME_SEND, .len_bytes = TCP_MAX_SEND_BYTES + 1},
        {.type = TCP_FRAME_REJECT, .len_bytes = 256},
        {.type = TCP_FRAME_BYE, .len_bytes = 256},
        {.type = TCP_FRAME_ACCEPT, .len_bytes = 1},
        {.type = TCP_FRAME_PLACED, .offset = 1, .len_bytes = 1},
        {.type = TCP_FRAME_REQUEST, .offset = UINT64_C(1) << 32, .len_bytes = 1},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++)
        assert_int_equal(tcp_frame_check(&frames[i], any, &window, NULL), -EPROTO);
}

static void test_fields_that_a_type_does_not_use_must_be_zero(void **state)
{
    struct tcp_frame frames[] = {
        {.type = TCP_FRAME_SEND, .len_bytes = 1, .key = 1},
        {.type = TCP_FRAME_SEND, .len_bytes = 1, .offset = 1},
        {.type = TCP_FRAME_SEND, .len_bytes = 1, .immediate = 1},
        {.type = TCP_FRAME_BYE, .immediate = 2},
        {.type = TCP_FRAME_ACCEPT, .key = 1},
        {.type = TCP_FRAME_PLACED, .offset = 1, .key = 1},
        {.type = TCP_FRAME_PLACED, .offset = 1, .immediate = 1},
        {.type = TCP_FRAME_REQUEST, .offset = UINT64_C(1) << 32, .immediate = 1},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(frames) / sizeof(frames[0]); i++)
        assert_int_equal(tcp_frame_check(&frames[i], any, &window, NULL), -EPROTO);
}

static void test_request_for_a_lane_that_is_not_among_its_lanes_is_refused(void **state)
{
    struct tcp_frame none = {.type = TCP_FRAME_REQUEST, .offset = 0};
    struct tcp_frame beyond = {.type = TCP_FRAME_REQUEST, .offset = (UINT64_C(2) << 32) | 2};

    (void)state;
    assert_int_equal(tcp_frame_check(&none, any, &window, NULL), -EPROTO);
    assert_int_equal(tcp_frame_check(&beyond, any, &window, NULL), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frame_lies_on_the_wire_as_documented),
        cmocka_unit_test(test_frame_with_any_altered_byte_of_its_preamble_is_refused),
        cmocka_unit_test(test_frame_of_an_unknown_type_is_refused),
        cmocka_unit_test(test_only_a_write_may_say_that_it_was_spliced),
        cmocka_unit_test(test_frame_is_refused_in_a_state_that_does_not_allow_its_type),
        cmocka_unit_test(test_write_within_the_window_passes_up_to_its_last_byte),
        cmocka_unit_test(test_write_that_leaves_the_window_by_one_byte_is_refused),
        cmocka_unit_test(test_write_with_another_key_or_without_a_window_is_refused),
        cmocka_unit_test(test_the_key_is_not_told_to_whoever_guesses_at_it),
        cmocka_unit_test(test_lengths_out_of_bounds_are_refused),
        cmocka_unit_test(test_fields_that_a_type_does_not_use_must_be_zero),
        cmocka_unit_test(test_request_for_a_lane_that_is_not_among_its_lanes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
