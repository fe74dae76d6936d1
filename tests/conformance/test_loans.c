/*
 * Conformance: a buffer that is lent is read by the peer where it lies, where EMBAR_CAP_MAPPED
 * promises it, until the peer has closed its link. Where it is not promised the loan is refused.
 * Runs on the test's one thread.
 */
#include <errno.h>
#include <string.h>

#include "conformance/tests.h"

#define MIB ((size_t)1 << 20)

static struct embar_loan *lend(struct world *world, const struct joined *joined,
                               struct embar_buffer *source)
{
    struct embar_loan *loan = NULL;
    struct embar_diag diag = {0};
    int rc = embar_lend(joined->client->link, source, &loan, &diag);

    if (!world_can_map(world)) {
        assert_int_equal(rc, -ENOTSUP);
        assert_non_null(strchr(diag.text, ' '));
        assert_null(loan);
        return NULL;
    }
    if (rc < 0)
        fail_msg("no loan: %s", diag.text);
    world_until(world, embar_loan_state(loan) == EMBAR_LOAN_TAKEN);
    return loan;
}

static void test_what_is_lent_is_read_where_it_lies(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct embar_buffer *source = side_buffer(&world->client, MIB, EMBAR_ACCESS_LOCAL);
    struct embar_loan *loan = lend(world, &joined, source);
    struct embar_write write = {.buffer = source, .loan = loan, .offset = 777, .len_bytes = 5000};

    if (!loan)
        return;
    for (uint32_t i = 0; i < 300; i++) { /* more than are in flight at once */
        fill_pattern(buffer_bytes(source) + 777, 5000, i);
        write.immediate = i;
        world_write(world, joined.client, &write);
        world_until(world, joined.server->arrival_count == i + 1);
        assert_int_equal(joined.server->arrivals[i].immediate, i);
        assert_int_equal(joined.server->arrivals[i].len_bytes, 5000);
        assert_non_null(joined.server->arrivals[i].lent);
        assert_true(has_pattern(joined.server->arrivals[i].lent, 5000, i));
    }
    world_until(world, joined.client->done_count == 300);
    assert_int_equal(joined.client->dones[299].status, 0);
    assert_int_equal(embar_loan_state(loan), EMBAR_LOAN_TAKEN);
    world_part(world, &joined);
    embar_loan_close(loan);
}

static void test_a_loan_lasts_until_the_peer_has_closed_its_link(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct embar_buffer *source = side_buffer(&world->client, MIB, EMBAR_ACCESS_LOCAL);
    struct embar_loan *loan = lend(world, &joined, source);
    const struct embar_write write = {.buffer = source, .loan = loan, .len_bytes = MIB};
    const unsigned char *lent;

    if (!loan)
        return;
    fill_pattern(buffer_bytes(source), MIB, 9);
    world_write(world, joined.client, &write);
    world_until(world, joined.server->arrival_count == 1 && joined.client->done_count == 1);
    lent = joined.server->arrivals[0].lent;
    assert_int_equal(embar_link_abort(joined.client->link), 0);
    world_until(world, joined.client->down && joined.server->down);
    end_close(joined.client);
    side_free(&world->client, source);
    assert_int_equal(embar_loan_state(loan), EMBAR_LOAN_TAKEN);
    assert_true(has_pattern(lent, MIB, 9)); /* the lender's buffer is gone, the memory is not */
    end_close(joined.server);
    assert_int_equal(embar_loan_state(loan), EMBAR_LOAN_OVER);
    embar_loan_close(loan);
}

static void test_a_loan_is_for_one_link_and_one_buffer(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world), other = world_join(world);
    struct embar_buffer *source = side_buffer(&world->client, MIB, EMBAR_ACCESS_LOCAL);
    struct embar_buffer *second = side_buffer(&world->client, MIB, EMBAR_ACCESS_LOCAL);
    struct embar_buffer *both = side_buffer(&world->client, MIB, 0);
    struct embar_loan *loan = lend(world, &joined, source), *none = NULL;
    struct embar_write write = {.buffer = source, .loan = loan, .len_bytes = MIB};
    struct embar_diag diag = {0};

    if (!loan)
        return;
    assert_int_equal(end_write(other.client, &write), -EINVAL);
    write.buffer = second;
    assert_int_equal(end_write(joined.client, &write), -EINVAL);
    write.buffer = NULL;
    assert_int_equal(end_write(joined.client, &write), -EINVAL);
    write.buffer = source;
    write.offset = 1; /* the last byte is beyond the buffer */
    assert_int_equal(end_write(joined.client, &write), -EINVAL);
    assert_int_equal(embar_lend(joined.client->link, source, &none, &diag), -EBUSY);
    assert_int_equal(embar_lend(other.client->link, both, &none, &diag), -EINVAL);
    assert_int_equal(embar_link_disconnect(other.client->link), 0);
    assert_int_equal(embar_lend(other.client->link, source, &none, &diag), -ENOTCONN);
    assert_null(none);
    world_until(world, other.client->down && other.server->down);
    embar_loan_close(loan); /* while its link is up: nothing can be written with it any more */
    embar_loan_close(NULL);
}

static void test_adopted_memory_is_not_lent(void **state)
{
    static _Alignas(4096) unsigned char memory[4096];
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct embar_loan *loan = NULL;
    struct embar_diag diag = {0};
    struct embar_buffer *source;

    assert_int_equal(embar_buffer_adopt(world->client.transport, memory, sizeof(memory),
                                        EMBAR_ACCESS_LOCAL, &source, NULL),
                     0);
    assert_int_equal(embar_lend(joined.client->link, source, &loan, &diag), -ENOTSUP);
    assert_non_null(strchr(diag.text, ' '));
    assert_null(loan);
    assert_int_equal(embar_buffer_free(source), 0);
}

const struct CMUnitTest loan_tests[] = {
    WORLD_TEST(test_what_is_lent_is_read_where_it_lies),
    WORLD_TEST(test_a_loan_lasts_until_the_peer_has_closed_its_link),
    WORLD_TEST(test_a_loan_is_for_one_link_and_one_buffer),
    WORLD_TEST(test_adopted_memory_is_not_lent),
};
const size_t loan_test_count = sizeof(loan_tests) / sizeof(loan_tests[0]);
