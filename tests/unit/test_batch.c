/* The batch format: what is sealed opens again, what is damaged or contradicts itself does not, and
 * the iterator never leaves the payload. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include <embar/embar.h>

#include "stream/batch.h"

struct slot {
    uint8_t bytes[256];
    size_t len_bytes;
};

/* A batch of two messages, "ab" and "". */
static struct slot sealed(bool checked)
{
    static const uint8_t payload[] = {2, 0, 0, 0, 'a', 'b', 0, 0, 0, 0};
    struct batch_header header = {.session = 7,
                                  .sequence = 0x1122334455667788,
                                  .first_message = 9,
                                  .published_ns = 11,
                                  .messages = 2,
                                  .payload_bytes = sizeof payload,
                                  .checked = checked};
    struct slot slot = {.len_bytes = BATCH_HEADER_BYTES + sizeof payload};

    memcpy(slot.bytes + BATCH_HEADER_BYTES, payload, sizeof payload);
    batch_seal(slot.bytes, &header);
    return slot;
}

static void test_a_sealed_batch_opens_with_the_same_header(void **state)
{
    struct slot slot = sealed(true);
    struct batch_header header;

    (void)state;
    assert_int_equal(batch_open(slot.bytes, slot.len_bytes, &header, NULL), 0);
    assert_int_equal(header.session, 7);
    assert_int_equal(header.sequence, 0x1122334455667788);
    assert_int_equal(header.first_message, 9);
    assert_int_equal(header.published_ns, 11);
    assert_int_equal(header.messages, 2);
    assert_true(header.checked);
    assert_true(batch_intact(slot.bytes, &header));
}

static void test_the_level_that_is_awaited_survives_the_header(void **state)
{
    (void)state;
    for (enum embar_level level = EMBAR_SENT; level <= EMBAR_CONSUMED; level++)
        for (int checked = 0; checked < 2; checked++) {
            struct batch_header header = {.checked = checked != 0, .awaited = level}, back;
            uint8_t packed[BATCH_HEADER_BYTES];

            batch_seal(packed, &header);
            assert_int_equal(batch_open(packed, sizeof packed, &back, NULL), 0);
            assert_int_equal(back.awaited, level);
            assert_int_equal(back.checked, header.checked);
        }
}

static void test_every_flipped_bit_is_found_by_the_checksum_or_the_header_check(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 8 * sealed(true).len_bytes; bit++) {
        struct slot slot = sealed(true);
        struct batch_header header;

        slot.bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (batch_open(slot.bytes, slot.len_bytes, &header, NULL) == 0 && header.checked)
            assert_false(batch_intact(slot.bytes, &header));
    }
}

static void test_a_batch_without_checksum_is_taken_as_it_is(void **state)
{
    struct slot slot = sealed(false);
    struct batch_header header;

    (void)state;
    slot.bytes[BATCH_HEADER_BYTES + 4] ^= 1;
    assert_int_equal(batch_open(slot.bytes, slot.len_bytes, &header, NULL), 0);
    assert_true(batch_intact(slot.bytes, &header));
}

static void test_a_length_other_than_the_header_says_is_refused_with_a_sentence(void **state)
{
    struct slot slot = sealed(true);
    struct embar_diag diag = {0};
    struct batch_header header;

    (void)state;
    for (size_t len = 0; len < slot.len_bytes; len++)
        assert_int_equal(batch_open(slot.bytes, len, &header, &diag), -EPROTO);
    assert_int_equal(batch_open(slot.bytes, slot.len_bytes + 1, &header, &diag), -EPROTO);
    assert_non_null(strstr(diag.text, "payload bytes"));
}

static void test_more_messages_than_could_fit_are_refused(void **state)
{
    struct slot slot = sealed(false);
    struct batch_header header;

    (void)state;
    slot.bytes[40] = 3; /* messages: three headers do not fit into ten bytes */
    assert_int_equal(batch_open(slot.bytes, slot.len_bytes, &header, NULL), -EPROTO);
}

static struct embar_iter iterate(const uint8_t *payload, size_t len, uint32_t messages)
{
    return (struct embar_iter){.pos = payload, .end = payload + len, .left = messages};
}

static void test_the_iterator_gives_each_message_once_and_then_the_end(void **state)
{
    struct slot slot = sealed(true);
    struct embar_iter iter = iterate(slot.bytes + BATCH_HEADER_BYTES, 10, 2);
    const void *data;
    size_t len;

    (void)state;
    assert_int_equal(embar_iter_next(&iter, &data, &len), 1);
    assert_int_equal(len, 2);
    assert_memory_equal(data, "ab", 2);
    assert_int_equal(embar_iter_next(&iter, &data, &len), 1);
    assert_int_equal(len, 0);
    assert_int_equal(embar_iter_next(&iter, &data, &len), 0);
    assert_int_equal(embar_iter_next(&iter, &data, &len), 0);
}

static void test_the_iterator_refuses_lengths_that_leave_the_payload(void **state)
{
    static const uint8_t long_message[] = {200, 0, 0, 0, 1};
    static const uint8_t huge_message[] = {0xff, 0xff, 0xff, 0xff, 1};
    static const uint8_t short_header[] = {0, 0};
    static const uint8_t left_over[] = {0, 0, 0, 0, 1};
    struct embar_iter iter;
    const void *data;
    size_t len;

    (void)state;
    iter = iterate(long_message, sizeof long_message, 1);
    assert_int_equal(embar_iter_next(&iter, &data, &len), -EBADMSG);
    iter = iterate(huge_message, sizeof huge_message, 1);
    assert_int_equal(embar_iter_next(&iter, &data, &len), -EBADMSG);
    iter = iterate(short_header, sizeof short_header, 1);
    assert_int_equal(embar_iter_next(&iter, &data, &len), -EBADMSG);
    iter = iterate(left_over, sizeof left_over, 1);
    assert_int_equal(embar_iter_next(&iter, &data, &len), 1);
    assert_int_equal(embar_iter_next(&iter, &data, &len), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sealed_batch_opens_with_the_same_header),
        cmocka_unit_test(test_the_level_that_is_awaited_survives_the_header),
        cmocka_unit_test(test_every_flipped_bit_is_found_by_the_checksum_or_the_header_check),
        cmocka_unit_test(test_a_batch_without_checksum_is_taken_as_it_is),
        cmocka_unit_test(test_a_length_other_than_the_header_says_is_refused_with_a_sentence),
        cmocka_unit_test(test_more_messages_than_could_fit_are_refused),
        cmocka_unit_test(test_the_iterator_gives_each_message_once_and_then_the_end),
        cmocka_unit_test(test_the_iterator_refuses_lengths_that_leave_the_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
