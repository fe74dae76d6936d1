/*
 * Conformance: the peer's buffer is mapped where EMBAR_CAP_MAPPED promises it, for as long as the
 * link, and a write of what was built there only tells. Where it is not promised both are refused.
 * Runs on the test's one thread.
 */
#include <errno.h>
#include <string.h>

#include "conformance/tests.h"

#define MIB ((size_t)1 << 20)

static void test_the_peers_buffer_is_mapped_where_promised(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 2 * MIB);
    struct embar_key forged = window.key;
    struct embar_diag diag = {0};
    void *addr = NULL;

    if (!world_can_map(world)) {
        assert_int_equal(embar_map(joined.client->link, &window.key, &addr, &diag), -ENOTSUP);
        assert_non_null(strchr(diag.text, ' '));
        assert_null(addr);
        return;
    }
    forged.id ^= 1;
    assert_int_equal(embar_map(joined.client->link, &forged, &addr, &diag), -EINVAL);
    forged = window.key;
    forged.size++;
    assert_int_equal(embar_map(joined.client->link, &forged, &addr, &diag), -EINVAL);
    assert_null(addr);
    assert_int_equal(embar_map(joined.client->link, &window.key, &addr, &diag), 0);
    fill_pattern(addr, 2 * MIB, 3);
    assert_true(has_pattern(buffer_bytes(window.target), 2 * MIB, 3));
    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    assert_int_equal(embar_map(joined.client->link, &window.key, &addr, &diag), -ENOTCONN);
    assert_int_equal(embar_buffer_unexpose(window.target), 0);
    fill_pattern(addr, 4096, 4); /* stays mapped until the link is closed */
}

static void test_a_write_built_in_place_only_tells_the_peer(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, MIB);
    struct embar_write write = {.len_bytes = 5000, .key = window.key, .remote_offset = 777};
    void *addr;

    if (!world_can_map(world)) {
        assert_int_equal(end_write(joined.client, &write), -EINVAL);
        return;
    }
    assert_int_equal(embar_map(joined.client->link, &window.key, &addr, NULL), 0);
    for (uint32_t i = 0; i < 300; i++) { /* more than are in flight at once */
        fill_pattern((unsigned char *)addr + 777, 5000, i);
        write.immediate = i;
        world_write(world, joined.client, &write);
        world_until(world, joined.server->arrival_count == i + 1);
        assert_int_equal(joined.server->arrivals[i].immediate, i);
        assert_int_equal(joined.server->arrivals[i].len_bytes, 5000);
        assert_true(has_pattern(buffer_bytes(window.target) + 777, 5000, i));
    }
    world_until(world, joined.client->done_count == 300);
    assert_int_equal(joined.client->dones[299].status, 0);
    write.remote_offset = MIB - 4999; /* the last byte is beyond the key */
    assert_int_equal(end_write(joined.client, &write), -EINVAL);
}

static void test_a_write_built_in_place_ends_with_its_link(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 4096);
    const struct embar_write write = {.len_bytes = 4096, .key = window.key};

    assert_int_equal(end_write(joined.client, &write), world_can_map(world) ? 0 : -EINVAL);
    if (!world_can_map(world))
        return;
    assert_int_equal(embar_link_abort(joined.client->link), 0);
    world_until(world, joined.client->down && joined.server->down);
    assert_int_equal(joined.client->done_count, 1);
}

const struct CMUnitTest mapping_tests[] = {
    WORLD_TEST(test_the_peers_buffer_is_mapped_where_promised),
    WORLD_TEST(test_a_write_built_in_place_only_tells_the_peer),
    WORLD_TEST(test_a_write_built_in_place_ends_with_its_link),
};
const size_t mapping_test_count = sizeof(mapping_tests) / sizeof(mapping_tests[0]);
