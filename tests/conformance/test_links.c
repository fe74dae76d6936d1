/*
 * Conformance: how links begin, are refused, end and are closed. Runs on the test's one thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conformance/tests.h"

static void test_capabilities_are_the_expected_ones(void **state)
{
    struct world *world = *state;
    const struct embar_transport_caps *caps = embar_transport_caps(world->client.transport);

    assert_string_equal(caps->name, subject.backend);
    assert_int_equal(caps->flags, subject.expected_caps);
    assert_true(caps->max_writes >= 16);
    assert_true(caps->max_write_bytes >= (size_t)2 << 20);
    assert_true(caps->max_send_bytes >= 1024);
}

static void test_port_0_becomes_a_port_of_its_own(void **state)
{
    struct world *world = *state;
    struct embar_listener *second = NULL;

    assert_string_not_equal(world->address, subject.address);
    assert_int_equal(embar_listen(world->server.transport, subject.address, &second, NULL), 0);
    assert_string_not_equal(embar_listener_address(second), world->address);
    assert_int_equal(embar_listener_close(second), 0);
}

static void test_listening_twice_on_an_address_is_refused(void **state)
{
    struct world *world = *state;
    struct embar_listener *second = NULL;
    struct embar_diag diag = {0};

    assert_int_equal(embar_listen(world->client.transport, world->address, &second, &diag),
                     -EADDRINUSE);
    assert_null(second);
    assert_int_equal(diag.error, EADDRINUSE);
    assert_non_null(strstr(diag.text, world->address));
}

static void test_a_bad_address_is_refused_with_a_sentence(void **state)
{
    static const char *const bad[] = {"nonsense", "127.0.0.1:99999", "127.0.0.1:", "[::1:9400", ""};
    struct world *world = *state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct embar_listener *listener = NULL;
        struct embar_link *link = NULL;
        struct embar_diag diag = {0};

        assert_int_equal(embar_connect(world->client.transport, bad[i], &link, &diag), -EINVAL);
        assert_null(link);
        assert_int_equal(diag.error, EINVAL);
        assert_non_null(strchr(diag.text, ' '));
        diag = (struct embar_diag){0};
        assert_int_equal(embar_listen(world->client.transport, bad[i], &listener, &diag), -EINVAL);
        assert_null(listener);
        assert_non_null(strchr(diag.text, ' '));
    }
}

static void test_a_request_names_listener_and_peer(void **state)
{
    struct world *world = *state;
    struct end *client = world_connect(world);
    struct end *server = world_request(world);

    assert_ptr_equal(server->listener, world->listener);
    assert_non_null(strchr(embar_link_peer(server->link), ':'));
    assert_string_equal(embar_link_peer(client->link), world->address);
    assert_ptr_equal(embar_link_transport(server->link), world->server.transport);
    assert_int_not_equal(embar_link_id(server->link), embar_link_id(client->link));
    assert_false(server->up);
    assert_false(client->up);
}

static void test_an_accepted_link_comes_up_at_both_ends(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);

    assert_int_equal(embar_accept(joined.server->link), -EINVAL);
    assert_int_equal(embar_reject(joined.server->link, "too late"), -EINVAL);
    world_settle(world);
    assert_false(joined.client->down);
    assert_false(joined.server->down);
}

static void reject_with(struct world *world, const char *reason)
{
    struct end *client = world_connect(world);
    struct end *server = world_request(world);

    assert_int_equal(embar_reject(server->link, reason), 0);
    world_until(world, client->down && server->down);
    assert_false(client->up);
    assert_int_equal(client->down_status, -ECONNREFUSED);
    assert_int_equal(server->down_status, 0);
    assert_non_null(strstr(client->reason, reason));
    end_close(client);
    end_close(server);
}

static void test_the_reason_of_a_rejection_reaches_the_peer(void **state)
{
    char longest[256];

    memset(longest, 'x', 255);
    longest[255] = '\0';
    reject_with(*state, "stream 'prices' is not published here");
    reject_with(*state, longest);
    reject_with(*state, "");
}

static void test_a_reason_of_256_bytes_is_refused(void **state)
{
    struct world *world = *state;
    struct end *client = world_connect(world);
    struct end *server = world_request(world);
    char reason[257];

    memset(reason, 'x', 256);
    reason[256] = '\0';
    assert_int_equal(embar_reject(server->link, reason), -EINVAL);
    assert_int_equal(embar_accept(server->link), 0); /* still unanswered */
    world_until(world, client->up && server->up);
}

static void test_connecting_to_nobody_ends_down_with_a_sentence(void **state)
{
    struct world *world = *state;
    struct end *client;

    assert_int_equal(embar_listener_close(world->listener), 0);
    world->listener = NULL;
    client = world_connect(world);
    world_until(world, client->down);
    assert_false(client->up);
    assert_true(client->down_status < 0);
    assert_non_null(strstr(client->reason, world->address));
    assert_non_null(strchr(client->reason, ' '));
}

static void test_a_disconnect_ends_both_ends_in_order(void **state)
{
    struct world *world = *state;

    for (int by_server = 0; by_server < 2; by_server++) {
        struct joined joined = world_join(world);

        assert_int_equal(
            embar_link_disconnect(by_server ? joined.server->link : joined.client->link), 0);
        world_until(world, joined.client->down && joined.server->down);
        assert_int_equal(joined.client->down_status, 0);
        assert_int_equal(joined.server->down_status, 0);
    }
}

static void test_disconnecting_again_is_harmless(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);

    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    world_until(world, joined.client->down && joined.server->down);
    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    assert_int_equal(embar_link_disconnect(joined.server->link), 0);
    world_settle(world); /* a second LINK_DOWN would fail in it */
}

static void test_both_ends_may_disconnect_at_once(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);

    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    assert_int_equal(embar_link_disconnect(joined.server->link), 0);
    world_until(world, joined.client->down && joined.server->down);
    assert_int_equal(joined.client->down_status, 0);
    assert_int_equal(joined.server->down_status, 0);
}

static void test_an_aborted_link_is_broken_for_the_peer(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);

    assert_int_equal(embar_link_abort(joined.client->link), 0);
    assert_int_equal(embar_link_abort(joined.client->link), 0);
    side_poll(&world->client); /* at once: nothing is waited for */
    assert_true(joined.client->down);
    world_until(world, joined.server->down);
    assert_true(joined.server->down_status < 0);
}

static void test_an_abort_ends_a_disconnect_that_takes_too_long(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);

    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    assert_int_equal(embar_link_abort(joined.client->link), 0);
    side_poll(&world->client);
    assert_true(joined.client->down);
    world_until(world, joined.server->down);
}

static void test_a_connect_may_be_given_up(void **state)
{
    struct world *world = *state;
    struct end *client = world_connect(world);

    assert_int_equal(embar_link_disconnect(client->link), 0);
    world_until(world, client->down);
    assert_false(client->up);
    world_settle(world); /* a request may have reached the server all the same: it then goes down */
    for (struct end *end = world->server.ends; end != NULL; end = end->next)
        world_until(world, end->down);
}

static void test_a_request_whose_peer_gave_up_goes_down(void **state)
{
    struct world *world = *state;
    struct end *client = world_connect(world);
    struct end *server = world_request(world);

    assert_int_equal(embar_link_abort(client->link), 0);
    world_until(world, client->down && server->down);
    assert_int_equal(embar_accept(server->link), -ENOTCONN);
    assert_int_equal(embar_reject(server->link, "late"), -ENOTCONN);
}

static void test_a_request_may_be_disconnected_instead_of_rejected(void **state)
{
    struct world *world = *state;
    struct end *client = world_connect(world);
    struct end *server = world_request(world);

    assert_int_equal(embar_link_disconnect(server->link), 0);
    world_until(world, client->down && server->down);
    assert_true(client->down_status < 0);
}

static void test_closing_a_listener_rejects_what_is_unanswered(void **state)
{
    struct world *world = *state;
    struct joined kept = world_join(world);
    struct end *client = world_connect(world);
    struct end *server = world_request(world);

    assert_int_equal(embar_listener_close(world->listener), 0);
    world->listener = NULL;
    world_until(world, client->down && server->down);
    assert_true(client->down_status < 0);
    assert_false(kept.client->down);
    assert_false(kept.server->down);
    world_send(world, kept.client, "on", 2);
    world_until(world, kept.server->message_count == 1);
}

static void test_a_listener_with_unseen_requests_may_be_closed(void **state)
{
    struct world *world = *state;
    struct end *clients[3];

    for (int i = 0; i < 3; i++)
        clients[i] = world_connect(world);
    for (int i = 0; i < 20; i++) /* the server does not look */
        side_poll(&world->client);
    assert_int_equal(embar_listener_close(world->listener), 0);
    world->listener = NULL;
    world_until(world, clients[0]->down && clients[1]->down && clients[2]->down);
    for (int i = 0; i < 3; i++)
        assert_true(clients[i]->down_status < 0);
    assert_null(world->server.ends);
}

static void test_closing_a_parent_with_children_is_busy(void **state)
{
    struct world *world = *state;
    struct embar_transport *lone = subject_open();
    struct embar_listener *listener = NULL;
    struct embar_buffer *buffer = NULL;
    struct joined joined;

    assert_int_equal(embar_listen(lone, subject.address, &listener, NULL), 0);
    assert_int_equal(embar_transport_close(lone), -EBUSY);
    assert_int_equal(embar_listener_close(listener), 0);
    assert_int_equal(embar_buffer_alloc(lone, 4096, NULL, &buffer, NULL), 0);
    assert_int_equal(embar_transport_close(lone), -EBUSY);
    assert_int_equal(embar_buffer_free(buffer), 0);
    assert_int_equal(embar_transport_close(lone), 0);

    joined = world_join(world);
    assert_int_equal(embar_transport_close(world->client.transport), -EBUSY);
    assert_int_equal(embar_link_close(joined.client->link), -EBUSY);
    assert_int_equal(embar_link_disconnect(joined.client->link), 0);
    assert_int_equal(embar_link_close(joined.client->link), -EBUSY); /* LINK_DOWN not polled */
    world_until(world, joined.client->down && joined.server->down);
    assert_int_equal(embar_transport_close(world->client.transport), -EBUSY);
    end_close(joined.client);
    end_close(joined.server);
}

static void test_several_links_do_not_disturb_each_other(void **state)
{
    struct world *world = *state;
    struct joined joined[8];
    char text[32];

    for (int i = 0; i < 8; i++)
        joined[i] = world_join(world);
    for (int i = 0; i < 8; i++) {
        snprintf(text, sizeof(text), "link %d", i);
        world_send(world, joined[i].client, text, strlen(text) + 1);
    }
    world_part(world, &joined[3]);
    for (int i = 0; i < 8; i++) {
        if (i == 3)
            continue;
        world_until(world, joined[i].server->message_count == 1);
        snprintf(text, sizeof(text), "link %d", i);
        assert_string_equal(joined[i].server->messages[0].data, text);
        world_send(world, joined[i].server, "answer", 6);
        world_until(world, joined[i].client->message_count == 1);
    }
}

static void test_user_pointer_is_kept(void **state)
{
    struct world *world = *state;
    struct end *client = world_connect(world);

    assert_ptr_equal(embar_link_user(client->link), client);
}

const struct CMUnitTest link_tests[] = {
    WORLD_TEST(test_capabilities_are_the_expected_ones),
    WORLD_TEST(test_port_0_becomes_a_port_of_its_own),
    WORLD_TEST(test_listening_twice_on_an_address_is_refused),
    WORLD_TEST(test_a_bad_address_is_refused_with_a_sentence),
    WORLD_TEST(test_a_request_names_listener_and_peer),
    WORLD_TEST(test_an_accepted_link_comes_up_at_both_ends),
    WORLD_TEST(test_the_reason_of_a_rejection_reaches_the_peer),
    WORLD_TEST(test_a_reason_of_256_bytes_is_refused),
    WORLD_TEST(test_connecting_to_nobody_ends_down_with_a_sentence),
    WORLD_TEST(test_a_disconnect_ends_both_ends_in_order),
    WORLD_TEST(test_disconnecting_again_is_harmless),
    WORLD_TEST(test_both_ends_may_disconnect_at_once),
    WORLD_TEST(test_an_aborted_link_is_broken_for_the_peer),
    WORLD_TEST(test_an_abort_ends_a_disconnect_that_takes_too_long),
    WORLD_TEST(test_a_connect_may_be_given_up),
    WORLD_TEST(test_a_request_whose_peer_gave_up_goes_down),
    WORLD_TEST(test_a_request_may_be_disconnected_instead_of_rejected),
    WORLD_TEST(test_closing_a_listener_rejects_what_is_unanswered),
    WORLD_TEST(test_a_listener_with_unseen_requests_may_be_closed),
    WORLD_TEST(test_closing_a_parent_with_children_is_busy),
    WORLD_TEST(test_several_links_do_not_disturb_each_other),
    WORLD_TEST(test_user_pointer_is_kept),
};
const size_t link_test_count = sizeof(link_tests) / sizeof(link_tests[0]);
