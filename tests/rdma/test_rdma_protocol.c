/* What two rdma backends say to each other is laid out as docs/wire-rdma.md has it, and nothing
 * else is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "rdma/credit.h"
#include "rdma/protocol.h"

static const struct rdma_hello sample = {
    .link_id = 0x1122334455667788,
    .lane = 2,
    .lanes = 3,
    .path_mtu = 5,
    .receive_depth = 0x0100,
    .message_bytes = 0x0800,
};

static void test_rdma_hello_has_the_documented_layout(void **state)
{
    static const uint8_t expected[RDMA_HELLO_BYTES] = {
        'E',  'M',  'B',  'R',  1,    0, 0, 5, 0x88, 0x77, 0x66,
        0x55, 0x44, 0x33, 0x22, 0x11, 2, 3, 0, 1,    0,    8};
    uint8_t data[RDMA_HELLO_BYTES];
    struct rdma_hello got;

    (void)state;
    rdma_hello_pack(&sample, data);
    assert_memory_equal(data, expected, sizeof(expected));
    assert_int_equal(rdma_hello_unpack(data, sizeof(data), &got), 0);
    assert_int_equal(got.link_id, sample.link_id);
    assert_int_equal(got.lane, sample.lane);
    assert_int_equal(got.lanes, sample.lanes);
    assert_int_equal(got.path_mtu, sample.path_mtu);
    assert_int_equal(got.receive_depth, sample.receive_depth);
    assert_int_equal(got.message_bytes, sample.message_bytes);
}

static void test_rdma_hello_fits_into_what_the_cm_carries(void **state)
{
    uint8_t padded[56] = {0};
    struct rdma_hello got;

    (void)state;
    assert_true(RDMA_HELLO_BYTES <= 56);
    rdma_hello_pack(&sample, padded);
    assert_int_equal(rdma_hello_unpack(padded, sizeof(padded), &got), 0);
}

static void refuse_changed(size_t offset, uint8_t value, int error)
{
    uint8_t data[RDMA_HELLO_BYTES];
    struct rdma_hello got = {.link_id = 77};

    rdma_hello_pack(&sample, data);
    data[offset] = value;
    assert_int_equal(rdma_hello_unpack(data, sizeof(data), &got), error);
    assert_int_equal(got.link_id, 77); /* written on success only */
}

static void test_rdma_hello_with_a_field_out_of_range_is_refused(void **state)
{
    (void)state;
    refuse_changed(0, 'X', -EPROTO);
    refuse_changed(4, 2, -EPROTONOSUPPORT);
    refuse_changed(6, 2, -EPROTO);  /* unknown flag */
    refuse_changed(7, 0, -EPROTO);  /* MTU */
    refuse_changed(7, 6, -EPROTO);  /* MTU */
    refuse_changed(16, 3, -EPROTO); /* lane of lanes */
    refuse_changed(17, 0, -EPROTO); /* no lanes */
    refuse_changed(17, RDMA_LANES_MAX + 1, -EPROTO);
    refuse_changed(19, 0, -EPROTO);    /* receives: 0 */
    refuse_changed(19, 0x41, -EPROTO); /* receives: above RDMA_RECEIVES_MAX */
    refuse_changed(21, 3, -EPROTO);    /* messages below 1024 bytes */
}

static void test_rdma_hello_cut_anywhere_is_refused(void **state)
{
    uint8_t data[RDMA_HELLO_BYTES];
    struct rdma_hello got;

    (void)state;
    rdma_hello_pack(&sample, data);
    for (size_t len = 0; len < 22; len++)
        assert_int_equal(rdma_hello_unpack(data, len, &got), -EPROTO);
}

static void test_rdma_rejection_carries_its_text(void **state)
{
    char text[RDMA_REJECT_TEXT_BYTES + 1], got[RDMA_REJECT_TEXT_BYTES + 1];
    uint8_t data[RDMA_REJECT_BYTES];
    size_t len;

    (void)state;
    for (size_t n = 0; n <= RDMA_REJECT_TEXT_BYTES; n += 70) {
        memset(text, 'r', n);
        text[n] = '\0';
        len = rdma_reject_pack(text, data);
        assert_int_equal(len, 8 + n);
        assert_int_equal(rdma_reject_unpack(data, len, got, sizeof(got)), 0);
        assert_string_equal(got, text);
        if (n > 0)
            assert_int_equal(rdma_reject_unpack(data, len - 1, got, sizeof(got)), -EPROTO);
    }
    data[0] ^= 1;
    assert_int_equal(rdma_reject_unpack(data, sizeof(data), got, sizeof(got)), -EPROTO);
}

static void test_rdma_header_has_the_documented_layout(void **state)
{
    static const uint8_t expected[] = {1, 0, 0x34, 0x12, 5, 0, 0, 0};
    struct rdma_header header = {.kind = RDMA_MESSAGE, .credits = 0x1234, .len_bytes = 5}, got;
    uint8_t data[RDMA_HEADER_BYTES];

    (void)state;
    rdma_header_pack(&header, data);
    assert_memory_equal(data, expected, sizeof(expected));
    assert_int_equal(rdma_header_unpack(data, RDMA_HEADER_BYTES + 5, &got), 0);
    assert_int_equal(got.kind, RDMA_MESSAGE);
    assert_int_equal(got.credits, 0x1234);
    assert_int_equal(got.len_bytes, 5);
}

static void test_rdma_header_must_fit_its_kind_and_what_arrived(void **state)
{
    static const struct {
        uint8_t kind;
        uint32_t shortest, longest;
    } kinds[] = {{RDMA_MESSAGE, 1, RDMA_MESSAGE_BYTES},
                 {RDMA_CREDITS, 0, 0},
                 {RDMA_GOODBYE, 0, 0},
                 {RDMA_KEYS, 12, RDMA_KEYS_BYTES},
                 {RDMA_ARRIVED, RDMA_ARRIVED_BYTES, RDMA_ARRIVED_BYTES},
                 {RDMA_REFUSED, 0, RDMA_REASON_BYTES}};
    static uint8_t data[RDMA_HEADER_BYTES + 4096];
    struct rdma_header got;

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (uint32_t len = 0; len < 4096; len++) {
            struct rdma_header header = {.kind = (enum rdma_kind)kinds[i].kind, .len_bytes = len};
            bool fits = len >= kinds[i].shortest && len <= kinds[i].longest;
            rdma_header_pack(&header, data);
            assert_int_equal(rdma_header_unpack(data, RDMA_HEADER_BYTES + len, &got),
                             fits ? 0 : -EPROTO);
            assert_int_equal(rdma_header_unpack(data, RDMA_HEADER_BYTES + len + 1, &got), -EPROTO);
        }
    }
    for (size_t len = 0; len < RDMA_HEADER_BYTES; len++)
        assert_int_equal(rdma_header_unpack(data, len, &got), -EPROTO);
    rdma_header_pack(&(struct rdma_header){.kind = (enum rdma_kind)0}, data);
    assert_int_equal(rdma_header_unpack(data, RDMA_HEADER_BYTES, &got), -EPROTO);
    rdma_header_pack(&(struct rdma_header){.kind = (enum rdma_kind)7}, data);
    assert_int_equal(rdma_header_unpack(data, RDMA_HEADER_BYTES, &got), -EPROTO);
    rdma_header_pack(&(struct rdma_header){.kind = RDMA_CREDITS}, data);
    data[1] = 1; /* reserved */
    assert_int_equal(rdma_header_unpack(data, RDMA_HEADER_BYTES, &got), -EPROTO);
}

static void test_rdma_keys_come_one_for_each_lane(void **state)
{
    struct rdma_keys keys = {.id = 9, .lanes = 3, .rkeys = {10, 11, 12}}, got = {.lanes = 3};
    uint8_t data[RDMA_KEYS_BYTES];
    size_t len = rdma_keys_pack(&keys, data);

    (void)state;
    assert_int_equal(len, 20);
    assert_int_equal(rdma_keys_unpack(data, len, &got), 0);
    assert_int_equal(got.id, 9);
    assert_int_equal(got.rkeys[2], 12);
    got.lanes = 2;
    assert_int_equal(rdma_keys_unpack(data, len, &got), -EPROTO);
    got.lanes = 4;
    assert_int_equal(rdma_keys_unpack(data, len, &got), -EPROTO);
}

static void test_rdma_arrival_carries_immediate_and_length(void **state)
{
    struct rdma_arrived arrived = {.immediate = 0xAABBCCDD, .len_bytes = 1ull << 33}, got;
    uint8_t data[RDMA_ARRIVED_BYTES];

    (void)state;
    rdma_arrived_pack(&arrived, data);
    assert_int_equal(rdma_arrived_unpack(data, sizeof(data), &got), 0);
    assert_int_equal(got.immediate, arrived.immediate);
    assert_int_equal(got.len_bytes, arrived.len_bytes);
    assert_int_equal(rdma_arrived_unpack(data, sizeof(data) - 1, &got), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rdma_hello_has_the_documented_layout),
        cmocka_unit_test(test_rdma_hello_fits_into_what_the_cm_carries),
        cmocka_unit_test(test_rdma_hello_with_a_field_out_of_range_is_refused),
        cmocka_unit_test(test_rdma_hello_cut_anywhere_is_refused),
        cmocka_unit_test(test_rdma_rejection_carries_its_text),
        cmocka_unit_test(test_rdma_header_has_the_documented_layout),
        cmocka_unit_test(test_rdma_header_must_fit_its_kind_and_what_arrived),
        cmocka_unit_test(test_rdma_keys_come_one_for_each_lane),
        cmocka_unit_test(test_rdma_arrival_carries_immediate_and_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
