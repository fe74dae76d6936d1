/* Control messages: what is packed unpacks to the same, and whatever else a peer sends is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "stream/control.h"

static void fill(struct control_message *m, enum control_type type)
{
    static const uint8_t taken[2] = {0x05, 0x02};

    memset(m, 0, sizeof *m);
    m->type = type;
    switch (type) {
    case CONTROL_HELLO:
    case CONTROL_WELCOME:
        m->hello = (struct control_hello){.version = CONTROL_VERSION,
                                          .role = ROLE_PUBLISHER,
                                          .ack = 2,
                                          .instance = 0xfedcba9876543210,
                                          .slot_bytes = 2 << 20,
                                          .in_flight = 8,
                                          .stream = "s"};
        break;
    case CONTROL_REJECT:
        m->reject.code = REJECT_STREAM;
        strcpy(m->reject.reason, "no");
        break;
    case CONTROL_GRANT:
        m->grant = (struct control_grant){.key = {1, 2, 1 << 20},
                                          .slot_bytes = 1 << 16,
                                          .slots = 10,
                                          .next_sequence = ANY_SEQUENCE,
                                          .taken = taken};
        break;
    case CONTROL_START:
        m->start = (struct control_start){3, 4};
        break;
    case CONTROL_CREDIT:
        m->credit = (struct control_credit){.placed_next = 6, .consumed_next = 5, .count = 2};
        m->credit.slots[0] = 9;
        m->credit.slots[1] = 4095;
        break;
    case CONTROL_GAP:
        m->gap = (struct control_gap){7, 8, 9};
        break;
    case CONTROL_FINISH:
    case CONTROL_FINISHED:
        m->totals = (struct control_totals){10, 11, 12};
        break;
    case CONTROL_LEAVE:
        break;
    }
}

static void test_every_type_packs_and_unpacks_to_the_same(void **state)
{
    (void)state;
    for (int type = CONTROL_HELLO; type <= CONTROL_LEAVE; type++) {
        uint8_t packed[CONTROL_BYTES], again[CONTROL_BYTES];
        struct control_message in, out;
        struct embar_diag diag = {0};
        size_t len;

        fill(&in, (enum control_type)type);
        len = control_pack(&in, packed);
        assert_int_equal(control_unpack(packed, len, &out, &diag), 0);
        assert_int_equal(out.type, type);
        assert_int_equal(control_pack(&out, again), len);
        assert_memory_equal(packed, again, len);
    }
}

static void test_every_other_length_is_refused(void **state)
{
    (void)state;
    for (int type = CONTROL_HELLO; type <= CONTROL_LEAVE; type++) {
        uint8_t packed[CONTROL_BYTES + 1] = {0};
        struct control_message m;
        struct embar_diag diag = {0};
        size_t len;

        fill(&m, (enum control_type)type);
        len = control_pack(&m, packed);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(control_unpack(packed, cut, &m, &diag), -EPROTO);
        assert_int_equal(control_unpack(packed, len + 1, &m, &diag), -EPROTO);
    }
}

static void test_an_unknown_type_is_refused(void **state)
{
    struct control_message m;
    struct embar_diag diag = {0};

    (void)state;
    assert_int_equal(control_unpack("\0", 1, &m, &diag), -EPROTO);
    assert_int_equal(control_unpack("\x0b", 1, &m, &diag), -EPROTO);
    assert_non_null(strstr(diag.text, "unknown type 11"));
}

static void expect_refused(const struct control_message *m)
{
    uint8_t packed[CONTROL_BYTES];
    struct control_message out;
    struct embar_diag diag = {0};
    size_t len = control_pack(m, packed);

    assert_int_equal(control_unpack(packed, len, &out, &diag), -EPROTO);
    assert_int_equal(diag.error, EPROTO);
}

static void test_fields_out_of_range_are_refused(void **state)
{
    struct control_message m;

    (void)state;
    fill(&m, CONTROL_HELLO);
    m.hello.ack = 3;
    expect_refused(&m);
    fill(&m, CONTROL_GRANT);
    m.grant.slot_bytes = 1 << 18; /* ten of them do not fit into the key's 1 MiB */
    expect_refused(&m);
    fill(&m, CONTROL_GRANT);
    m.grant.slots = 0;
    expect_refused(&m);
    fill(&m, CONTROL_CREDIT);
    m.credit.consumed_next = 7; /* more than was placed */
    expect_refused(&m);
    fill(&m, CONTROL_GAP);
    m.gap.to_sequence = 7; /* empty */
    expect_refused(&m);
}

static void test_more_slots_than_the_protocol_knows_are_refused(void **state)
{
    uint8_t packed[CONTROL_BYTES];
    struct control_message m;
    struct embar_diag diag = {0};
    size_t len;

    (void)state;
    fill(&m, CONTROL_GRANT);
    m.grant.slot_bytes = 1;
    len = control_pack(&m, packed);
    packed[1 + 4 * 8 + 1] = 0x20; /* slots: 0x200a */
    assert_int_equal(control_unpack(packed, len, &m, &diag), -EPROTO);
}

static void test_a_reason_cannot_steer_a_terminal(void **state)
{
    uint8_t packed[CONTROL_BYTES];
    struct control_message m;
    struct embar_diag diag = {0};
    size_t len;

    (void)state;
    fill(&m, CONTROL_REJECT);
    strcpy(m.reject.reason, "a\x1b[31mb\n");
    len = control_pack(&m, packed);
    assert_int_equal(control_unpack(packed, len, &m, &diag), 0);
    assert_string_equal(m.reject.reason, "a?[31mb?");
}

static void test_a_hello_of_a_later_version_is_read_as_far_as_its_version(void **state)
{
    uint8_t packed[CONTROL_BYTES + 8] = {0};
    struct control_message m;
    struct embar_diag diag = {0};
    size_t len;

    (void)state;
    fill(&m, CONTROL_HELLO);
    m.hello.version = CONTROL_VERSION + 1;
    len = control_pack(&m, packed);
    assert_int_equal(control_unpack(packed, len + 8, &m, &diag), 0);
    assert_int_equal(m.hello.version, CONTROL_VERSION + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_packs_and_unpacks_to_the_same),
        cmocka_unit_test(test_every_other_length_is_refused),
        cmocka_unit_test(test_an_unknown_type_is_refused),
        cmocka_unit_test(test_fields_out_of_range_are_refused),
        cmocka_unit_test(test_more_slots_than_the_protocol_knows_are_refused),
        cmocka_unit_test(test_a_reason_cannot_steer_a_terminal),
        cmocka_unit_test(test_a_hello_of_a_later_version_is_read_as_far_as_its_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
