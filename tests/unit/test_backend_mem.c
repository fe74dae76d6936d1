/*
 * What the in-memory backend adds to the contract for tests: cutting, holding, corrupting, and
 * schedules that a seed decides.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/backend_mem.h"

#define POLLS 2000

struct half {
    struct embar_transport *transport;
    struct embar_link *link;
    struct embar_buffer *buffer;
    struct embar_event events[64];
    int count; /* kept so far */
};

struct scene {
    struct half server, client;
    struct embar_listener *listener;
    struct embar_key key;
};

/* Polls once and keeps what comes. */
static void poll_half(struct half *half)
{
    int room = 64 - half->count;
    int count = room > 0 ? embar_poll(half->transport, half->events + half->count, room) : 0;

    assert_true(count >= 0);
    half->count += count;
}

static void poll_both(struct scene *scene, int times)
{
    for (int i = 0; i < times; i++) {
        poll_half(&scene->client);
        poll_half(&scene->server);
    }
}

static void open_scene(struct scene *scene, const char *const *settings)
{
    *scene = (struct scene){0};
    backend_mem_add();
    assert_int_equal(embar_transport_open("mem", settings, &scene->server.transport, NULL), 0);
    assert_int_equal(embar_transport_open("mem", settings, &scene->client.transport, NULL), 0);
    assert_int_equal(embar_listen(scene->server.transport, "127.0.0.1:0", &scene->listener, NULL),
                     0);
    assert_int_equal(embar_connect(scene->client.transport, embar_listener_address(scene->listener),
                                   &scene->client.link, NULL),
                     0);
    poll_both(scene, POLLS);
    scene->server.link = scene->server.events[0].link;
    assert_int_equal(embar_accept(scene->server.link), 0);
    poll_both(scene, POLLS);
    assert_int_equal(
        embar_buffer_alloc(scene->server.transport, 65536, NULL, &scene->server.buffer, NULL), 0);
    assert_int_equal(
        embar_buffer_alloc(scene->client.transport, 65536, NULL, &scene->client.buffer, NULL), 0);
    assert_int_equal(
        embar_buffer_expose(scene->server.buffer, scene->server.link, &scene->key, NULL), 0);
    scene->client.count = scene->server.count = 0;
}

static void close_scene(struct scene *scene)
{
    backend_mem_hold(scene->server.transport, false);
    backend_mem_hold(scene->client.transport, false);
    embar_link_abort(scene->client.link);
    embar_link_abort(scene->server.link);
    scene->client.count = scene->server.count = 0;
    poll_both(scene, POLLS);
    assert_int_equal(embar_link_close(scene->client.link), 0);
    assert_int_equal(embar_link_close(scene->server.link), 0);
    assert_int_equal(embar_buffer_free(scene->client.buffer), 0);
    assert_int_equal(embar_buffer_free(scene->server.buffer), 0);
    assert_int_equal(embar_listener_close(scene->listener), 0);
    assert_int_equal(embar_transport_close(scene->client.transport), 0);
    assert_int_equal(embar_transport_close(scene->server.transport), 0);
}

static void post(struct scene *scene, uint32_t number)
{
    const struct embar_write write = {.buffer = scene->client.buffer,
                                      .len_bytes = 512,
                                      .key = scene->key,
                                      .immediate = number,
                                      .token = number};

    assert_int_equal(embar_write(scene->client.link, &write), 0);
}

static int count_type(const struct half *half, enum embar_event_type type)
{
    int count = 0;

    for (int i = 0; i < half->count; i++)
        count += half->events[i].type == type;
    return count;
}

static void test_a_cut_fails_the_writes_in_flight_and_then_both_ends(void **state)
{
    struct scene scene;

    (void)state;
    open_scene(&scene, NULL);
    for (uint32_t i = 0; i < 5; i++)
        post(&scene, i);
    assert_int_equal(embar_send(scene.server.link, "lost", 4), 0);
    backend_mem_cut(scene.server.link);
    poll_both(&scene, 3);
    assert_int_equal(scene.client.count, 6);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(scene.client.events[i].type, EMBAR_EVENT_WRITE_DONE);
        assert_int_equal(scene.client.events[i].status, -ECONNRESET);
    }
    assert_int_equal(scene.client.events[5].type, EMBAR_EVENT_LINK_DOWN);
    assert_int_equal(scene.client.events[5].status, -ECONNRESET);
    assert_int_equal(scene.server.count, 1);
    assert_int_equal(scene.server.events[0].type, EMBAR_EVENT_LINK_DOWN);
    assert_int_equal(scene.server.events[0].status, -ECONNRESET);
    close_scene(&scene);
}

static void test_a_held_transport_makes_no_progress_until_it_is_let_go(void **state)
{
    struct scene scene;

    (void)state;
    open_scene(&scene, NULL);
    backend_mem_hold(scene.server.transport, true);
    post(&scene, 1);
    poll_both(&scene, POLLS);
    assert_int_equal(scene.server.count, 0);
    assert_int_equal(scene.client.count, 0); /* nobody has taken the bytes */
    assert_int_equal(embar_arm(scene.server.transport), 0);
    backend_mem_hold(scene.server.transport, false);
    assert_int_equal(embar_arm(scene.server.transport), -EAGAIN);
    poll_both(&scene, 3);
    assert_int_equal(count_type(&scene.server, EMBAR_EVENT_ARRIVAL), 1);
    assert_int_equal(count_type(&scene.client, EMBAR_EVENT_WRITE_DONE), 1);
    close_scene(&scene);
}

static void test_an_orderly_end_does_not_wait_for_a_held_peer_for_ever(void **state)
{
    struct scene scene;

    (void)state;
    open_scene(&scene, NULL);
    backend_mem_hold(scene.server.transport, true);
    post(&scene, 1);
    assert_int_equal(embar_link_disconnect(scene.client.link), 0);
    poll_both(&scene, 10);
    assert_int_equal(scene.client.count, 0);
    poll_both(&scene, POLLS);
    assert_int_equal(scene.client.count, 2);
    assert_int_equal(scene.client.events[0].status, -ECANCELED);
    assert_int_equal(scene.client.events[1].type, EMBAR_EVENT_LINK_DOWN);
    close_scene(&scene);
}

static void test_only_the_next_write_is_corrupted_and_only_at_the_peer(void **state)
{
    struct scene scene;
    const unsigned char *target;
    struct embar_buffer_info info;
    int wrong = 0;

    (void)state;
    open_scene(&scene, NULL);
    embar_buffer_info(scene.server.buffer, &info);
    target = info.addr;
    backend_mem_corrupt_next(scene.client.link, 512 + 100);
    post(&scene, 1);
    poll_both(&scene, 3);
    for (int i = 0; i < 65536; i++)
        wrong += target[i] != 0;
    assert_int_equal(wrong, 1);
    assert_int_not_equal(target[100], 0);
    assert_int_equal(scene.client.events[0].status, 0); /* the writer notices nothing */
    embar_buffer_info(scene.client.buffer, &info);
    assert_int_equal(((const unsigned char *)info.addr)[100], 0);
    post(&scene, 2);
    poll_both(&scene, 3);
    assert_int_equal(target[100], 0);
    close_scene(&scene);
}

/* Runs one schedule and writes down what the server saw and when. */
static void trace(const char *const *settings, char *text, size_t text_bytes)
{
    struct scene scene;
    size_t used = 0;
    int seen = 0;

    open_scene(&scene, settings);
    for (uint32_t i = 0; i < 12; i++) {
        post(&scene, i);
        assert_int_equal(embar_send(scene.client.link, &i, sizeof(i)), 0);
    }
    for (int step = 0; step < 400; step++) {
        poll_both(&scene, 1);
        for (; seen < scene.server.count; seen++) {
            const struct embar_event *event = &scene.server.events[seen];
            bool arrival = event->type == EMBAR_EVENT_ARRIVAL;
            uint32_t number = event->immediate;

            if (!arrival)
                memcpy(&number, event->data, sizeof(number));
            used += (size_t)snprintf(text + used, text_bytes - used, "%d:%c%u ", step,
                                     arrival ? 'w' : 'm', number);
            assert_true(used < text_bytes);
        }
    }
    assert_int_equal(scene.server.count, 24);
    close_scene(&scene);
}

static void test_a_seed_gives_the_same_schedule_again_and_another_seed_another(void **state)
{
    const char *const three[] = {"mem.seed=3", "mem.reorder=true", "mem.delay=9", NULL};
    const char *const four[] = {"mem.seed=4", "mem.reorder=true", "mem.delay=9", NULL};
    char first[1024], again[1024], other[1024];

    (void)state;
    trace(three, first, sizeof(first));
    trace(three, again, sizeof(again));
    trace(four, other, sizeof(other));
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
}

static void test_delay_alone_keeps_the_order_and_takes_its_time(void **state)
{
    const char *const settings[] = {"mem.seed=3", "mem.delay=9", NULL};
    char text[1024], *at = text;
    int step = 0, last = 0;
    unsigned number;
    char kind;

    (void)state;
    trace(settings, text, sizeof(text));
    for (unsigned i = 0; i < 24; i++) {
        int used = 0;

        assert_int_equal(sscanf(at, "%d:%c%u %n", &step, &kind, &number, &used), 3);
        assert_int_equal(kind, i % 2 ? 'm' : 'w');
        assert_int_equal(number, i / 2);
        assert_true(step >= last);
        last = step;
        at += used;
    }
    assert_true(last > 0);
}

static void test_reordering_overtakes_writes_and_never_messages(void **state)
{
    const char *const settings[] = {"mem.seed=5", "mem.reorder=true", "mem.delay=9", NULL};
    char text[1024], *at = text;
    unsigned messages = 0, arrivals = 0, overtaken = 0, number;
    int step;
    char kind;

    (void)state;
    trace(settings, text, sizeof(text));
    for (unsigned i = 0; i < 24; i++) {
        int used = 0;

        assert_int_equal(sscanf(at, "%d:%c%u %n", &step, &kind, &number, &used), 3);
        if (kind == 'm')
            assert_int_equal(number, messages++);
        else
            overtaken += number != arrivals++;
        at += used;
    }
    assert_int_equal(messages, 12);
    assert_true(overtaken > 0);
}

static void test_a_reordering_transport_does_not_promise_order(void **state)
{
    const char *const settings[] = {"mem.reorder=true", NULL};
    struct embar_transport *transport;

    (void)state;
    backend_mem_add();
    assert_int_equal(embar_transport_open("mem", settings, &transport, NULL), 0);
    assert_int_equal(embar_transport_caps(transport)->flags & EMBAR_CAP_ORDERED, 0);
    assert_int_equal(embar_transport_close(transport), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cut_fails_the_writes_in_flight_and_then_both_ends),
        cmocka_unit_test(test_a_held_transport_makes_no_progress_until_it_is_let_go),
        cmocka_unit_test(test_an_orderly_end_does_not_wait_for_a_held_peer_for_ever),
        cmocka_unit_test(test_only_the_next_write_is_corrupted_and_only_at_the_peer),
        cmocka_unit_test(test_a_seed_gives_the_same_schedule_again_and_another_seed_another),
        cmocka_unit_test(test_delay_alone_keeps_the_order_and_takes_its_time),
        cmocka_unit_test(test_reordering_overtakes_writes_and_never_messages),
        cmocka_unit_test(test_a_reordering_transport_does_not_promise_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
