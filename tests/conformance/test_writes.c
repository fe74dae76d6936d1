/*
 * Conformance: one-sided writes place just the bytes asked for, just where they were asked for, and
 * end once; what they are not allowed to do is refused at the call. Runs on the test's one thread.
 */
#include <errno.h>
#include <string.h>

#include "conformance/tests.h"

#define MIB ((size_t)1 << 20)

static bool ordered(const struct world *world)
{
    return (embar_transport_caps(world->client.transport)->flags & EMBAR_CAP_ORDERED) != 0;
}

/* Writes `len` bytes from `offset` to `remote_offset` and checks everything around it. */
static void write_and_check(struct world *world, struct joined *joined, struct window *window,
                            size_t len, size_t offset, size_t remote_offset, uint32_t seed)
{
    unsigned char *source = buffer_bytes(window->source) + offset;
    unsigned char *target = buffer_bytes(window->target) + remote_offset;
    size_t arrivals = joined->server->arrival_count, dones = joined->client->done_count;
    const struct embar_write write = {.buffer = window->source,
                                      .offset = offset,
                                      .len_bytes = len,
                                      .key = window->key,
                                      .remote_offset = remote_offset,
                                      .immediate = 0xfeed0000u + seed};

    fill_pattern(source, len, seed);
    memset(target - 1, 0x5a, len + 2);
    world_write(world, joined->client, &write);
    world_until(world, joined->server->arrival_count > arrivals);
    world_until(world, joined->client->done_count > dones);
    assert_int_equal(joined->server->arrival_count, arrivals + 1);
    assert_int_equal(joined->server->arrivals[arrivals].immediate, 0xfeed0000u + seed);
    assert_int_equal(joined->server->arrivals[arrivals].len_bytes, len);
    assert_int_equal(joined->client->dones[dones].status, 0);
    assert_true(has_pattern(target, len, seed));
    assert_int_equal(target[-1], 0x5a);
    assert_int_equal(target[len], 0x5a);
    assert_true(has_pattern(source, len, seed));
}

static void test_writes_of_every_size_and_odd_offset_place_their_bytes(void **state)
{
    static const size_t sizes[] = {1,       2,    3,       63,          64,     65,
                                   1000,    4095, 65535,   65536,       65537,  256 * 1024,
                                   MIB - 1, MIB,  MIB + 1, 2 * MIB - 1, 2 * MIB};
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 2 * MIB + 4096);
    uint32_t seed = 0;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        write_and_check(world, &joined, &window, sizes[i], 1 + 2 * i, 4091 - 2 * i, ++seed);
    for (size_t odd = 1; odd < 64; odd += 2) {
        write_and_check(world, &joined, &window, 1, odd, 65 - odd, ++seed);
        write_and_check(world, &joined, &window, 4096 + odd, odd, 2 * odd + 1, ++seed);
    }
}

static void test_writes_reach_the_first_and_the_last_byte(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 65536);
    unsigned char *target = buffer_bytes(window.target);
    struct embar_write write = {.buffer = window.source, .len_bytes = 1, .key = window.key};

    memset(buffer_bytes(window.source), 0xa5, 65536);
    write.immediate = 0;
    world_write(world, joined.client, &write);
    write.offset = write.remote_offset = 65535;
    write.immediate = UINT32_MAX;
    world_write(world, joined.client, &write);
    world_until(world, joined.server->arrival_count == 2);
    assert_int_equal(target[0], 0xa5);
    assert_int_equal(target[65535], 0xa5);
    assert_true(all_bytes_are(target + 1, 65534, 0));
    if (ordered(world))
        assert_int_equal(joined.server->arrivals[1].immediate, UINT32_MAX);
    world_until(world, joined.client->done_count == 2);
    write.offset = write.remote_offset = 0;
    write.len_bytes = 65536; /* all of it */
    world_write(world, joined.client, &write);
    world_until(world, joined.server->arrival_count == 3);
    assert_true(all_bytes_are(target, 65536, 0xa5));
}

static void check_arrivals(const struct world *world, const struct end *end, uint32_t count)
{
    uint32_t seen[256] = {0};

    assert_int_equal(end->arrival_count, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t immediate = end->arrivals[i].immediate;

        assert_true(immediate < count && immediate < 256);
        assert_int_equal(seen[immediate]++, 0);
        if (ordered(world))
            assert_int_equal(immediate, i);
    }
}

static void test_as_many_writes_as_promised_are_taken_and_each_ends_once(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    uint32_t max_writes = embar_transport_caps(world->client.transport)->max_writes;
    struct window window = world_window(world, &joined, (max_writes + 1) * 4096);
    struct embar_write write = {.buffer = window.source, .len_bytes = 4096, .key = window.key};
    uint32_t accepted = 0;

    for (uint32_t i = 0; i <= max_writes; i++)
        fill_pattern(buffer_bytes(window.source) + i * 4096, 4096, i);
    while (end_write(joined.client, &write) == 0) { /* nobody polls */
        accepted++;
        write.offset = write.remote_offset = accepted * 4096;
        write.immediate = accepted;
        assert_true(accepted <= max_writes);
    }
    assert_int_equal(accepted, max_writes);
    assert_int_equal(end_write(joined.client, &write), -EAGAIN);
    world_until(world, joined.client->done_count == max_writes);
    world_until(world, joined.server->arrival_count == max_writes);
    world_write(world, joined.client, &write); /* there is room again */
    world_until(world, joined.server->arrival_count == max_writes + 1);
    world_until(world, joined.client->done_count == max_writes + 1);
    world_settle(world); /* one more WRITE_DONE would fail in it */
    if (max_writes < 256)
        check_arrivals(world, joined.server, max_writes + 1);
    for (uint32_t i = 0; i <= max_writes; i++) {
        assert_int_equal(joined.client->dones[i].status, 0);
        assert_true(has_pattern(buffer_bytes(window.target) + i * 4096, 4096, i));
    }
}

static void test_messages_and_arrivals_keep_their_order_where_promised(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 8 * 65536);
    struct embar_write write = {.buffer = window.source, .len_bytes = 65536, .key = window.key};
    struct embar_event events[1];
    uint32_t arrivals = 0, messages = 0;

    for (uint32_t i = 0; i < 8; i++) {
        write.immediate = i;
        write.remote_offset = i * 65536; /* two at one place would be a race */
        assert_int_equal(end_write(joined.client, &write), 0);
        assert_int_equal(embar_send(joined.client->link, &i, sizeof(i)), 0);
    }
    while (arrivals < 8 || messages < 8) {
        side_poll(&world->client);
        if (embar_poll(world->server.transport, events, 1) < 1)
            continue;
        if (events[0].type == EMBAR_EVENT_ARRIVAL) {
            assert_true(!ordered(world) || messages == arrivals);
            arrivals++;
        } else {
            assert_int_equal(events[0].type, EMBAR_EVENT_MESSAGE);
            assert_true(!ordered(world) || messages + 1 == arrivals);
            assert_memory_equal(events[0].data, &messages, sizeof(messages));
            messages++;
        }
    }
    world_until(world, joined.client->done_count == 8);
}

static void test_writes_go_both_ways_at_once(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window there = world_window(world, &joined, 8 * MIB), back = {0};
    struct embar_write write;

    back.source = side_buffer(&world->server, MIB, EMBAR_ACCESS_LOCAL);
    back.target = side_buffer(&world->client, 8 * MIB, EMBAR_ACCESS_REMOTE);
    assert_int_equal(embar_buffer_expose(back.target, joined.client->link, &back.key, NULL), 0);
    fill_pattern(buffer_bytes(there.source), MIB, 1);
    fill_pattern(buffer_bytes(back.source), MIB, 2);
    for (uint64_t i = 0; i < 8; i++) {
        write = (struct embar_write){
            .buffer = there.source, .len_bytes = MIB, .key = there.key, .remote_offset = i * MIB};
        world_write(world, joined.client, &write);
        write = (struct embar_write){
            .buffer = back.source, .len_bytes = MIB, .key = back.key, .remote_offset = i * MIB};
        world_write(world, joined.server, &write);
    }
    world_until(world, joined.client->done_count == 8 && joined.server->done_count == 8);
    world_until(world, joined.client->arrival_count == 8 && joined.server->arrival_count == 8);
    for (size_t i = 0; i < 8; i++) {
        assert_true(has_pattern(buffer_bytes(there.target) + i * MIB, MIB, 1));
        assert_true(has_pattern(buffer_bytes(back.target) + i * MIB, MIB, 2));
    }
}

static void test_bad_writes_are_refused_at_the_call(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 65536);
    struct embar_buffer *remote_only = side_buffer(&world->client, 4096, EMBAR_ACCESS_REMOTE);
    struct embar_buffer *foreign = side_buffer(&world->server, 4096, 0);
    const struct embar_write good = {.buffer = window.source, .len_bytes = 16, .key = window.key};
    const size_t max = embar_transport_caps(world->client.transport)->max_write_bytes;
    struct embar_write bad[] = {good, good, good, good, good, good, good, good, good, good, good};

    bad[0].len_bytes = 0;
    bad[1].len_bytes = 65537;
    bad[2].offset = 65536 - 15;
    bad[3].offset = SIZE_MAX - 7; /* offset + length overflows */
    bad[4].len_bytes = SIZE_MAX;
    bad[5].remote_offset = 65536 - 15;
    bad[6].remote_offset = UINT64_MAX - 7;
    bad[7].key.size = 15;
    bad[8].buffer = NULL;
    bad[9].buffer = foreign; /* of another transport */
    bad[10].buffer = remote_only;
    if (world_can_map(world)) /* there, a write without a buffer has a meaning */
        bad[8].key.size = 15;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(end_write(joined.client, &bad[i]), -EINVAL);
    if (max < SIZE_MAX) {
        struct embar_write large = good;
        large.len_bytes = max + 1;
        assert_int_equal(end_write(joined.client, &large), -EINVAL);
    }
    world_write(world, joined.client, &good); /* the link has taken no harm */
    world_until(world, joined.server->arrival_count == 1 && joined.client->done_count == 1);
}

static void test_writes_need_a_link_that_is_up(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 4096);
    const struct embar_write write = {.buffer = window.source, .len_bytes = 16, .key = window.key};
    struct end *waiting = world_connect(world);

    assert_int_equal(end_write(waiting, &write), -ENOTCONN);
    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    assert_int_equal(end_write(joined.client, &write), -ENOTCONN);
    world_until(world, joined.client->down && joined.server->down);
    assert_int_equal(end_write(joined.client, &write), -ENOTCONN);
}

static void test_buffers_are_exposed_by_the_rules(void **state)
{
    struct world *world = *state;
    struct joined first = world_join(world), second = world_join(world);
    struct embar_buffer *buffer = side_buffer(&world->server, 4096, EMBAR_ACCESS_REMOTE);
    struct embar_buffer *other = side_buffer(&world->server, 4096, 0);
    struct embar_buffer *local = side_buffer(&world->server, 4096, EMBAR_ACCESS_LOCAL);
    struct embar_key key = {0}, untouched = {1, 2, 3};
    struct embar_diag diag = {0};

    assert_int_equal(embar_buffer_unexpose(buffer), 0); /* not exposed */
    assert_int_equal(embar_buffer_expose(local, first.server->link, &untouched, &diag), -EACCES);
    assert_non_null(strchr(diag.text, ' '));
    assert_int_equal(embar_buffer_expose(buffer, first.server->link, &key, NULL), 0);
    assert_true(key.size >= 4096);
    assert_int_equal(embar_buffer_expose(buffer, second.server->link, &untouched, &diag), -EBUSY);
    assert_int_equal(embar_buffer_expose(other, first.server->link, &untouched, &diag), -EBUSY);
    assert_int_equal(embar_buffer_free(buffer), -EBUSY);
    assert_int_equal(embar_buffer_unexpose(buffer), 0);
    assert_int_equal(embar_buffer_expose(buffer, second.server->link, &key, NULL), 0);
    world_part(world, &second); /* which voids the exposure */
    side_free(&world->server, buffer);
    assert_int_equal(embar_link_disconnect(first.server->link), 0);
    assert_int_equal(embar_buffer_expose(other, first.server->link, &untouched, &diag), -ENOTCONN);
    assert_int_equal(untouched.id, 1);
    assert_int_equal(untouched.base, 2);
    assert_int_equal(untouched.size, 3);
}

static void test_a_buffer_is_busy_while_a_write_from_it_is_in_flight(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, MIB);
    const struct embar_write write = {.buffer = window.source, .len_bytes = MIB, .key = window.key};

    assert_int_equal(end_write(joined.client, &write), 0);
    assert_int_equal(embar_buffer_free(window.source), -EBUSY);
    world_until(world, joined.client->done_count == 1);
    side_free(&world->client, window.source);
}

static void test_a_buffer_exposed_again_takes_writes_with_its_new_key(void **state)
{
    struct world *world = *state;
    struct joined first = world_join(world), second = world_join(world);
    struct window window = world_window(world, &first, 8192);

    write_and_check(world, &first, &window, 1000, 1, 1, 1);
    assert_int_equal(embar_buffer_unexpose(window.target), 0);
    assert_int_equal(embar_buffer_expose(window.target, second.server->link, &window.key, NULL), 0);
    write_and_check(world, &second, &window, 1000, 2, 3, 2);
    assert_int_equal(first.server->arrival_count, 1);
}

static void test_a_buffer_exposed_again_to_the_same_link_takes_writes(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 8192);

    for (uint32_t i = 1; i <= 100; i++) { /* more often than a backend may want to keep track of */
        write_and_check(world, &joined, &window, 1000, i, 2 * i, i);
        assert_int_equal(embar_buffer_unexpose(window.target), 0);
        assert_int_equal(embar_buffer_expose(window.target, joined.server->link, &window.key, NULL),
                         0);
    }
    assert_false(joined.client->down);
}

static void test_several_buffers_and_links_keep_their_bytes_apart(void **state)
{
    struct world *world = *state;
    struct joined joined[3];
    struct window window[3];

    for (uint32_t i = 0; i < 3; i++) {
        joined[i] = world_join(world);
        window[i] = world_window(world, &joined[i], 256 * 1024);
        fill_pattern(buffer_bytes(window[i].source), 256 * 1024, i);
    }
    for (uint32_t i = 0; i < 9; i++) { /* every source to every target */
        struct embar_write write = {.buffer = window[i / 3].source,
                                    .offset = (i % 3) * 65536,
                                    .len_bytes = 65536,
                                    .key = window[i % 3].key,
                                    .remote_offset = (i / 3) * 65536,
                                    .immediate = i};
        world_write(world, joined[i % 3].client, &write);
    }
    for (uint32_t i = 0; i < 3; i++) {
        world_until(world, joined[i].client->done_count == 3);
        world_until(world, joined[i].server->arrival_count == 3);
        for (uint32_t k = 0; k < 3; k++)
            assert_memory_equal(buffer_bytes(window[i].target) + k * 65536,
                                buffer_bytes(window[k].source) + i * 65536, 65536);
        assert_true(all_bytes_are(buffer_bytes(window[i].target) + 196608, 65536, 0));
    }
}

static void check_ended(const struct end *end)
{
    assert_int_equal(end->done_count, end->posted);
    for (size_t i = 0; i < end->done_count; i++)
        assert_true(end->dones[i].status <= 0);
}

/* Posts large writes and ends the link under them in one of four ways, after some polls. */
static void end_under_writes(struct world *world, int way, int polls)
{
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 12 * MIB);
    struct embar_write write = {.buffer = window.source, .len_bytes = MIB, .key = window.key};

    for (; write.remote_offset < 12 * MIB; write.remote_offset += MIB)
        assert_int_equal(end_write(joined.client, &write), 0);
    for (int i = 0; i < polls; i++)
        world_poll(world); /* some of it gets under way */
    if (way == 0)
        assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    else if (way == 1)
        assert_int_equal(embar_link_disconnect(joined.server->link), 0);
    else if (way == 2)
        assert_int_equal(embar_link_abort(joined.client->link), 0);
    else
        assert_int_equal(embar_link_abort(joined.server->link), 0);
    world_until(world, joined.client->down && joined.server->down);
    check_ended(joined.client);
    for (size_t i = 0; way == 0 && i < joined.client->done_count; i++)
        assert_true(joined.client->dones[i].status == 0 ||
                    joined.client->dones[i].status == -ECANCELED);
    side_free(&world->client, window.source); /* nothing holds them any more */
    side_free(&world->server, window.target);
}

static void test_every_write_in_flight_ends_when_the_link_does(void **state)
{
    for (int way = 0; way < 4; way++) {
        for (int polls = 0; polls < 4; polls++)
            end_under_writes(*state, way, polls);
    }
}

static void test_stats_count_what_has_happened(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 65536);
    struct embar_write write = {.buffer = window.source, .len_bytes = 10000, .key = window.key};
    struct embar_link_stats client, server;

    for (unsigned i = 0; i < 5; i++) {
        write.remote_offset = i * 10000;
        world_write(world, joined.client, &write);
    }
    for (int i = 0; i < 3; i++)
        world_send(world, joined.client, "abc", 3);
    world_send(world, joined.server, "d", 1);
    world_until(world, joined.client->done_count == 5 && joined.server->arrival_count == 5);
    world_until(world, joined.server->message_count == 3 && joined.client->message_count == 1);
    embar_link_stats(joined.client->link, &client);
    embar_link_stats(joined.server->link, &server);
    assert_int_equal(client.writes, 5);
    assert_int_equal(client.write_bytes, 50000);
    assert_int_equal(client.arrivals, 0);
    assert_int_equal(client.messages_sent, 3);
    assert_int_equal(client.messages_received, 1);
    assert_int_equal(server.writes, 0);
    assert_int_equal(server.arrivals, 5);
    assert_int_equal(server.arrival_bytes, 50000);
    assert_int_equal(server.messages_sent, 1);
    assert_int_equal(server.messages_received, 3);
    assert_true(client.send_calls > 0);
    assert_true(server.receive_calls > 0);
    assert_true(client.lanes >= 1);
    assert_int_equal(client.receiver_not_ready, 0);
    assert_int_equal(server.receiver_not_ready, 0);
    assert_int_equal(client.registrations, 0);
    assert_true(client.zerocopy_copied <= client.zerocopy_sends);
    assert_true(strlen(client.send_mode) > 0);
}

const struct CMUnitTest write_tests[] = {
    WORLD_TEST(test_writes_of_every_size_and_odd_offset_place_their_bytes),
    WORLD_TEST(test_writes_reach_the_first_and_the_last_byte),
    WORLD_TEST(test_as_many_writes_as_promised_are_taken_and_each_ends_once),
    WORLD_TEST(test_messages_and_arrivals_keep_their_order_where_promised),
    WORLD_TEST(test_writes_go_both_ways_at_once),
    WORLD_TEST(test_bad_writes_are_refused_at_the_call),
    WORLD_TEST(test_writes_need_a_link_that_is_up),
    WORLD_TEST(test_buffers_are_exposed_by_the_rules),
    WORLD_TEST(test_a_buffer_is_busy_while_a_write_from_it_is_in_flight),
    WORLD_TEST(test_a_buffer_exposed_again_takes_writes_with_its_new_key),
    WORLD_TEST(test_a_buffer_exposed_again_to_the_same_link_takes_writes),
    WORLD_TEST(test_several_buffers_and_links_keep_their_bytes_apart),
    WORLD_TEST(test_every_write_in_flight_ends_when_the_link_does),
    WORLD_TEST(test_stats_count_what_has_happened),
};
const size_t write_test_count = sizeof(write_tests) / sizeof(write_tests[0]);
