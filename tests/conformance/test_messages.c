/*
 * Conformance: control messages arrive in order, whole and once, and say -EAGAIN before they are
 * lost. Runs on the test's one thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conformance/tests.h"

static size_t max_send(const struct world *world)
{
    return embar_transport_caps(world->client.transport)->max_send_bytes;
}

static size_t length_of(const struct world *world, unsigned i)
{
    static const size_t lengths[] = {1, 64, 7, 0 /* the largest */, 2, 333, 1024};
    size_t len = lengths[i % (sizeof(lengths) / sizeof(lengths[0]))];

    return len > 0 ? len : max_send(world);
}

static void send_numbered(struct world *world, struct end *end, unsigned i)
{
    size_t len = length_of(world, i);
    unsigned char *bytes = malloc(len);

    assert_non_null(bytes);
    fill_pattern(bytes, len, i);
    world_send(world, end, bytes, len);
    memset(bytes, 0xee, len); /* the bytes have been copied */
    free(bytes);
}

static void check_numbered(const struct world *world, const struct end *end, unsigned count)
{
    assert_int_equal(end->message_count, count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(end->messages[i].len_bytes, length_of(world, i));
        assert_true(has_pattern(end->messages[i].data, end->messages[i].len_bytes, i));
    }
}

static void test_messages_of_all_sizes_arrive_in_order_both_ways(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    const unsigned count = 500;

    for (unsigned i = 0; i < count; i++) {
        send_numbered(world, joined.client, i);
        send_numbered(world, joined.server, i);
    }
    world_until(world, joined.server->message_count >= count);
    world_until(world, joined.client->message_count >= count);
    check_numbered(world, joined.server, count);
    check_numbered(world, joined.client, count);
}

static void test_message_sizes_are_checked(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    unsigned char *bytes = calloc(1, max_send(world) + 1);

    assert_non_null(bytes);
    assert_int_equal(embar_send(joined.client->link, bytes, 0), -EMSGSIZE);
    assert_int_equal(embar_send(joined.client->link, bytes, max_send(world) + 1), -EMSGSIZE);
    assert_int_equal(embar_send(joined.client->link, bytes, max_send(world)), 0);
    free(bytes);
    world_until(world, joined.server->message_count == 1);
    assert_int_equal(joined.server->messages[0].len_bytes, max_send(world));
}

static void test_messages_need_a_link_that_is_up(void **state)
{
    struct world *world = *state;
    struct end *client = world_connect(world);
    struct end *server;

    assert_int_equal(embar_send(client->link, "x", 1), -ENOTCONN);
    server = world_request(world);
    assert_int_equal(embar_send(server->link, "x", 1), -ENOTCONN);
    assert_int_equal(embar_accept(server->link), 0);
    world_until(world, client->up && server->up);
    assert_int_equal(embar_link_disconnect(client->link), 0);
    assert_int_equal(embar_send(client->link, "x", 1), -ENOTCONN);
    world_until(world, client->down && server->down);
    assert_int_equal(embar_send(server->link, "x", 1), -ENOTCONN);
}

static void test_a_peer_that_does_not_poll_pushes_back_and_nothing_is_lost(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    unsigned accepted = 0, refusals = 0;

    while (refusals < 100) { /* in a row: the client's own progress makes no more room */
        size_t len = length_of(world, accepted);
        unsigned char *bytes = malloc(len);
        int rc;

        assert_non_null(bytes);
        fill_pattern(bytes, len, accepted);
        rc = embar_send(joined.client->link, bytes, len);
        free(bytes);
        assert_true(rc == 0 || rc == -EAGAIN);
        accepted += rc == 0;
        refusals = rc == 0 ? 0 : refusals + 1;
        side_poll(&world->client);
        assert_true(accepted < 1000000);
    }
    world_until(world, joined.server->message_count >= accepted);
    send_numbered(world, joined.client, accepted); /* there is room again */
    world_until(world, joined.server->message_count >= accepted + 1);
    check_numbered(world, joined.server, accepted + 1);
}

static void test_messages_accepted_before_a_disconnect_are_delivered(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    unsigned accepted = 0;
    unsigned char bytes[100];

    for (; accepted < 20; accepted++) {
        fill_pattern(bytes, sizeof(bytes), accepted);
        if (embar_send(joined.client->link, bytes, sizeof(bytes)) != 0)
            break;
    }
    assert_true(accepted > 0);
    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    world_until(world, joined.client->down && joined.server->down);
    assert_int_equal(joined.server->message_count, accepted);
    for (unsigned i = 0; i < accepted; i++)
        assert_true(has_pattern(joined.server->messages[i].data, sizeof(bytes), i));
}

static void test_a_message_stays_valid_until_the_next_poll(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct embar_event events[4];
    unsigned char bytes[100];
    int count = 0, taken = 0;

    for (unsigned i = 0; i < 4; i++) {
        fill_pattern(bytes, sizeof(bytes), i);
        world_send(world, joined.client, bytes, sizeof(bytes));
    }
    taken = (int)joined.server->message_count; /* world_send may have polled */
    while (taken < 4) {
        side_poll(&world->client);
        count = embar_poll(world->server.transport, events, 4);
        for (int i = 0; i < count; i++) /* all of one poll at once */
            assert_true(has_pattern(events[i].data, sizeof(bytes), (uint32_t)(taken + i)));
        taken += count;
    }
    assert_int_equal(taken, 4);
}

const struct CMUnitTest message_tests[] = {
    WORLD_TEST(test_messages_of_all_sizes_arrive_in_order_both_ways),
    WORLD_TEST(test_message_sizes_are_checked),
    WORLD_TEST(test_messages_need_a_link_that_is_up),
    WORLD_TEST(test_a_peer_that_does_not_poll_pushes_back_and_nothing_is_lost),
    WORLD_TEST(test_messages_accepted_before_a_disconnect_are_delivered),
    WORLD_TEST(test_a_message_stays_valid_until_the_next_poll),
};
const size_t message_test_count = sizeof(message_tests) / sizeof(message_tests[0]);
