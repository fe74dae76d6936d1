/*
 * Conformance: a thread that arms and sleeps on the descriptor is woken for all that happens, from
 * the same thread and from another. A lost wake-up shows as a sleep that lasts until the bound. The
 * second thread's half never calls cmocka: it hands its verdict back.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "conformance/tests.h"

#define BOUND_MS 60000
#define ROUNDS   1000u

/* Sleeps until the transport has work. 0, or -ETIMEDOUT for a lost wake-up. */
static int sleep_until_work(struct embar_transport *transport)
{
    struct pollfd fd = {.fd = embar_fd(transport), .events = POLLIN};
    int rc = embar_arm(transport);

    if (rc == -EAGAIN)
        return 0;
    if (rc < 0)
        return rc;
    rc = poll(&fd, 1, BOUND_MS);
    return rc == 1 ? 0 : rc == 0 ? -ETIMEDOUT : -errno;
}

static void sleep_and_poll(struct side *side)
{
    assert_int_equal(sleep_until_work(side->transport), 0);
    side_poll(side);
}

/* For what takes several steps of both sides: sleeps until either has work, then polls both. */
static void sleep_and_poll_both(struct world *world)
{
    struct embar_transport *transports[] = {world->client.transport, world->server.transport};
    struct pollfd fds[2];
    bool asleep = true;

    for (int i = 0; i < 2; i++) {
        int rc = embar_arm(transports[i]);

        assert_true(rc == 0 || rc == -EAGAIN);
        asleep &= rc == 0;
        fds[i] = (struct pollfd){.fd = embar_fd(transports[i]), .events = POLLIN};
    }
    if (asleep)
        assert_true(poll(fds, 2, BOUND_MS) > 0);
    world_poll(world);
}

static void test_a_sleeper_is_woken_by_messages_and_writes(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 65536);
    struct embar_write write = {.buffer = window.source, .len_bytes = 65536, .key = window.key};

    for (unsigned i = 1; i <= 200; i++) {
        if (i <= 3)
            world_settle(world); /* takes long; from now on both could sleep */
        assert_int_equal(end_write(joined.client, &write), 0);
        while (joined.server->arrival_count < i) {
            side_poll(&world->client);
            sleep_and_poll(&world->server);
        }
        assert_int_equal(embar_send(joined.server->link, "ok", 2), 0);
        while (joined.client->message_count < i || joined.client->done_count < i) {
            side_poll(&world->server);
            sleep_and_poll(&world->client);
        }
    }
}

static void test_a_sleeper_is_woken_by_requests_and_ends(void **state)
{
    struct world *world = *state;
    struct end *client = world_connect(world), *server;

    while (world->server.ends == NULL)
        sleep_and_poll_both(world);
    server = world_request(world);
    assert_int_equal(embar_accept(server->link), 0);
    while (!client->up || !server->up)
        sleep_and_poll_both(world);
    assert_int_equal(embar_link_disconnect(client->link), 0);
    while (!client->down || !server->down)
        sleep_and_poll_both(world);
}

static void test_arming_is_refused_while_events_wait(void **state)
{
    struct world *world = *state;
    struct joined joined = world_join(world);
    struct embar_event event;
    unsigned taken = 0;

    for (unsigned char i = 0; i < 20; i++)
        assert_int_equal(embar_send(joined.client->link, &i, 1), 0);
    while (taken < 20) { /* one event per wake-up: the rest must not be slept on */
        side_poll(&world->client);
        assert_int_equal(sleep_until_work(world->server.transport), 0);
        if (embar_poll(world->server.transport, &event, 1) == 0)
            continue;
        assert_int_equal(event.type, EMBAR_EVENT_MESSAGE);
        assert_int_equal(*(const unsigned char *)event.data, taken);
        taken++;
    }
}

/* ---- two threads -------------------------------------------------------------------------- */

/* Half of a conversation in a thread of its own: writes a numbered pattern into the peer's buffer,
 * the peer checks it and answers with a message. */
struct half {
    struct world *world;
    struct joined joined;
    struct window window;
    bool spin; /* instead of sleeping */
    const char *failure;
};

static const char *client_round(struct half *half, uint32_t round)
{
    struct embar_transport *transport = half->world->client.transport;
    struct embar_write write = {.buffer = half->window.source,
                                .len_bytes = 8192,
                                .key = half->window.key,
                                .immediate = round,
                                .token = round};
    bool done = false, answered = false;
    struct embar_event events[4];

    fill_pattern(buffer_bytes(half->window.source), 8192, round);
    if (embar_write(half->joined.client->link, &write) != 0)
        return "a write was refused";
    while (!done || !answered) {
        int count = embar_poll(transport, events, 4);
        if (count < 0)
            return "polling failed";
        for (int i = 0; i < count; i++) {
            done = done || (events[i].type == EMBAR_EVENT_WRITE_DONE && events[i].token == round);
            answered = answered || events[i].type == EMBAR_EVENT_MESSAGE;
            if (events[i].type == EMBAR_EVENT_LINK_DOWN)
                return "the link went down";
        }
        if (count == 0 && !half->spin && sleep_until_work(transport) < 0)
            return "the client was not woken";
    }
    return NULL;
}

static void *client_half(void *arg)
{
    struct half *half = arg;

    for (uint32_t round = 0; round < ROUNDS && half->failure == NULL; round++)
        half->failure = client_round(half, round);
    return NULL;
}

static const char *server_round(struct half *half, uint32_t round)
{
    struct embar_transport *transport = half->world->server.transport;
    struct embar_event event;

    for (;;) {
        int count = embar_poll(transport, &event, 1);
        if (count < 0)
            return "polling failed";
        if (count == 0) {
            if (!half->spin && sleep_until_work(transport) < 0)
                return "the server was not woken";
            continue;
        }
        if (event.type == EMBAR_EVENT_LINK_DOWN)
            return "the link went down";
        if (event.type != EMBAR_EVENT_ARRIVAL)
            continue;
        if (event.immediate != round || event.len_bytes != 8192)
            return "another arrival than was due";
        if (!has_pattern(buffer_bytes(half->window.target), 8192, round))
            return "an arrival came before its bytes";
        if (embar_send(half->joined.server->link, "ok", 2) != 0)
            return "an answer was refused";
        return NULL;
    }
}

static void converse(struct world *world, bool client_spins, bool server_spins)
{
    struct half client = {.world = world, .spin = client_spins}, server;
    const char *failure = NULL;
    pthread_t thread;

    client.joined = world_join(world);
    client.window = world_window(world, &client.joined, 8192);
    server = client;
    server.spin = server_spins;
    assert_int_equal(pthread_create(&thread, NULL, client_half, &client), 0);
    for (uint32_t round = 0; round < ROUNDS && failure == NULL; round++)
        failure = server_round(&server, round);
    while (failure == NULL && pthread_tryjoin_np(thread, NULL) == EBUSY) {
        struct embar_event event; /* the last answer may still need the server's progress */
        if (embar_poll(world->server.transport, &event, 1) < 0)
            failure = "polling failed";
    }
    if (failure != NULL)
        fail_msg("server: %s", failure);
    if (client.failure != NULL)
        fail_msg("client: %s", client.failure);
    world_part(world, &client.joined);
}

static void test_two_threads_converse_asleep(void **state)
{
    converse(*state, false, false);
}

static void test_two_threads_converse_with_one_of_them_spinning(void **state)
{
    converse(*state, true, false);
    converse(*state, false, true);
}

const struct CMUnitTest sleep_tests[] = {
    WORLD_TEST(test_a_sleeper_is_woken_by_messages_and_writes),
    WORLD_TEST(test_a_sleeper_is_woken_by_requests_and_ends),
    WORLD_TEST(test_arming_is_refused_while_events_wait),
    WORLD_TEST(test_two_threads_converse_asleep),
    WORLD_TEST(test_two_threads_converse_with_one_of_them_spinning),
};
const size_t sleep_test_count = sizeof(sleep_tests) / sizeof(sleep_tests[0]);
