/*
 * Core against a backend that fails: what the application sees of it, and that every accepted
 * operation still ends in one terminal event.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/puppet.h"
#include "transport/registry.h"

/* A transport of the puppet, a listener, one link that is up and a buffer. */
struct scene {
    struct embar_transport *transport;
    struct embar_listener *listener;
    struct embar_link *link;
    struct embar_buffer *buffer;
};

static struct scene scene;
static struct embar_event events[32];

static void report_up(void *user)
{
    core_link_up(user);
}

static int poll_with(void (*report)(void *user), void *user)
{
    int count;

    puppet.in_progress = report;
    puppet.user = user;
    count = embar_poll(scene.transport, events, 32);
    puppet.in_progress = NULL;
    return count;
}

static int setup(void **state)
{
    (void)state;
    puppet_reset();
    scene = (struct scene){0};
    assert_int_equal(embar_transport_open("puppet", NULL, &scene.transport, NULL), 0);
    assert_int_equal(embar_listen(scene.transport, "here:1", &scene.listener, NULL), 0);
    assert_int_equal(embar_connect(scene.transport, "there:1", &scene.link, NULL), 0);
    assert_int_equal(embar_buffer_alloc(scene.transport, 4096, NULL, &scene.buffer, NULL), 0);
    assert_int_equal(poll_with(report_up, scene.link), 1);
    assert_int_equal(events[0].type, EMBAR_EVENT_LINK_UP);
    return 0;
}

/* Closes what the test has left open; everything must be closable then. */
static int teardown(void **state)
{
    (void)state;
    puppet.in_accept = NULL;
    puppet.in_abort = NULL;
    if (scene.link != NULL) {
        assert_int_equal(embar_link_abort(scene.link), 0);
        assert_true(embar_poll(scene.transport, events, 32) >= -EIO);
        assert_int_equal(embar_link_close(scene.link), 0);
    }
    if (scene.buffer != NULL)
        assert_int_equal(embar_buffer_free(scene.buffer), 0);
    if (scene.listener != NULL)
        assert_int_equal(embar_listener_close(scene.listener), 0);
    assert_int_equal(embar_transport_close(scene.transport), 0);
    assert_int_equal(puppet.closes, 1);
    return 0;
}

static int post(uint64_t token)
{
    const struct embar_write write = {
        .buffer = scene.buffer, .len_bytes = 8, .key = {.id = 1, .size = 8}, .token = token};

    return embar_write(scene.link, &write);
}

static struct embar_link *requested;

static void report_request(void *user)
{
    requested = core_link_requested(user);
}

static void report_down(void *user)
{
    core_link_down(user, -ECONNRESET, "cut by the puppet, no. %d", 7);
}

static void report_message(void *user)
{
    core_message(user, "hello", 5);
}

static void test_a_lost_transport_ends_everything_and_then_says_so(void **state)
{
    struct embar_key key;

    (void)state;
    assert_int_equal(post(100), 0);
    assert_int_equal(post(101), 0);
    assert_int_equal(embar_buffer_expose(scene.buffer, scene.link, &key, NULL), 0);
    puppet.progress_rc = -EIO;
    assert_int_equal(embar_poll(scene.transport, events, 32), 3);
    assert_int_equal(events[0].type, EMBAR_EVENT_WRITE_DONE);
    assert_int_equal(events[0].token + events[1].token, 201);
    assert_int_equal(events[0].status, -ECANCELED);
    assert_int_equal(events[1].status, -ECANCELED);
    assert_int_equal(events[2].type, EMBAR_EVENT_LINK_DOWN);
    assert_int_equal(events[2].status, -EIO);
    assert_true(strlen(events[2].reason) > 0);
    assert_int_equal(puppet.unexposes, 1);
    assert_int_equal(embar_poll(scene.transport, events, 32), -EIO);
    assert_int_equal(embar_arm(scene.transport), -EAGAIN); /* there is something to be told */
    assert_int_equal(puppet.progresses, 2);                /* and it is not called again */
    assert_int_equal(embar_connect(scene.transport, "there:1", &requested, NULL), -EIO);
    assert_int_equal(embar_listen(scene.transport, "here:2", &(struct embar_listener *){0}, NULL),
                     -EIO);
    assert_int_equal(post(102), -ENOTCONN);
}

static void test_a_failed_accept_leaves_the_request_to_be_answered_again(void **state)
{
    (void)state;
    assert_int_equal(poll_with(report_request, scene.listener), 1);
    puppet.accept_rc = -ENOMEM;
    assert_int_equal(embar_accept(requested), -ENOMEM);
    puppet.accept_rc = 0;
    puppet.reject_rc = -ENOMEM;
    assert_int_equal(embar_reject(requested, "no"), -ENOMEM);
    assert_int_equal(embar_accept(requested), 0);
    assert_int_equal(poll_with(report_down, requested), 1);
    assert_string_equal(events[0].reason, "cut by the puppet, no. 7");
    assert_int_equal(embar_link_close(requested), 0);
}

static void up_in_accept(struct embar_link *link)
{
    core_link_up(link);
}

static void test_a_link_may_come_up_within_accept(void **state)
{
    (void)state;
    assert_int_equal(poll_with(report_request, scene.listener), 1);
    puppet.in_accept = up_in_accept;
    assert_int_equal(embar_accept(requested), 0);
    assert_int_equal(embar_arm(scene.transport), -EAGAIN); /* the event waits */
    assert_int_equal(embar_poll(scene.transport, events, 32), 1);
    assert_int_equal(events[0].type, EMBAR_EVENT_LINK_UP);
    assert_int_equal(embar_link_disconnect(requested), 0);
    assert_int_equal(poll_with(report_down, requested), 1);
    assert_int_equal(embar_link_close(requested), 0);
}

static void test_closing_a_listener_rejects_a_seen_request_and_hides_an_unseen_one(void **state)
{
    struct embar_link *seen;

    (void)state;
    assert_int_equal(poll_with(report_request, scene.listener), 1);
    seen = requested;
    report_request(scene.listener); /* waits in the queue */
    assert_int_equal(embar_listener_close(scene.listener), 0);
    scene.listener = NULL;
    assert_int_equal(puppet.rejects, 2);
    assert_string_equal(puppet.reject_reason, "the listener has closed");
    assert_int_equal(embar_poll(scene.transport, events, 32), 0); /* no LINK_REQUEST */
    assert_int_equal(poll_with(report_down, requested), 0);       /* and no LINK_DOWN */
    assert_int_equal(puppet.destroys, 1);
    assert_int_equal(poll_with(report_down, seen), 1);
    assert_ptr_equal(events[0].link, seen);
    assert_int_equal(embar_link_close(seen), 0);
    assert_int_equal(puppet.destroys, 2);
}

static void test_an_unseen_request_that_went_down_is_hidden_too(void **state)
{
    (void)state;
    report_request(scene.listener);
    report_down(requested);
    assert_int_equal(embar_listener_close(scene.listener), 0);
    scene.listener = NULL;
    assert_int_equal(embar_poll(scene.transport, events, 32), 0);
    assert_int_equal(puppet.destroys, 1);
    assert_int_equal(puppet.rejects, 0);
}

static void test_an_unseen_request_does_not_keep_a_transport_open(void **state)
{
    (void)state;
    assert_int_equal(embar_link_abort(scene.link), 0);
    assert_int_equal(embar_poll(scene.transport, events, 32), 1);
    assert_int_equal(embar_link_close(scene.link), 0);
    scene.link = NULL;
    report_request(scene.listener);
    assert_int_equal(embar_listener_close(scene.listener), 0);
    scene.listener = NULL; /* the teardown closes the transport without another poll */
}

static void cancel_and_down(struct embar_link *link)
{
    core_write_done(link, puppet.tokens[0], 8, -ECANCELED);
    core_link_down(link, -ECONNABORTED, "aborted");
}

static void test_an_abort_ends_the_writes_that_the_backend_leaves_to_core(void **state)
{
    (void)state;
    assert_int_equal(post(5), 0);
    assert_int_equal(post(6), 0);
    puppet.in_abort = cancel_and_down;
    assert_int_equal(embar_link_abort(scene.link), 0);
    assert_int_equal(embar_poll(scene.transport, events, 32), 3);
    assert_int_equal(events[0].token, 5);
    assert_int_equal(events[1].token, 6);
    assert_int_equal(events[1].status, -ECANCELED);
    assert_int_equal(events[2].type, EMBAR_EVENT_LINK_DOWN);
    assert_string_equal(events[2].reason, "aborted");
    assert_int_equal(embar_link_abort(scene.link), 0);
    assert_int_equal(puppet.aborts, 1);
}

static void test_what_a_backend_refuses_is_not_in_flight(void **state)
{
    (void)state;
    puppet.write_rc = -EAGAIN;
    for (unsigned i = 0; i < 3 * PUPPET_MAX_WRITES; i++)
        assert_int_equal(post(i), -EAGAIN);
    puppet.write_rc = 0;
    for (unsigned i = 0; i < PUPPET_MAX_WRITES; i++)
        assert_int_equal(post(i), 0);
    assert_int_equal(post(9), -EAGAIN);
    assert_int_equal(puppet.writes, PUPPET_MAX_WRITES); /* core did not ask for one too many */
}

static void test_failures_of_a_backend_leave_nothing_behind(void **state)
{
    struct embar_listener *listener = NULL;
    struct embar_buffer *buffer = NULL;
    struct embar_link *link = NULL;
    struct embar_key key = {.id = 99};
    struct embar_diag diag = {0};

    (void)state;
    puppet.listen_rc = puppet.connect_rc = puppet.reg_rc = puppet.expose_rc = -EPERM;
    assert_int_equal(embar_listen(scene.transport, "here:3", &listener, &diag), -EPERM);
    assert_int_equal(embar_connect(scene.transport, "there:3", &link, &diag), -EPERM);
    assert_int_equal(embar_buffer_alloc(scene.transport, 4096, NULL, &buffer, &diag), -EPERM);
    assert_int_equal(embar_buffer_expose(scene.buffer, scene.link, &key, &diag), -EPERM);
    assert_null(listener);
    assert_null(link);
    assert_null(buffer);
    assert_int_equal(key.id, 99);
    assert_int_equal(puppet.destroys, 0);
    assert_int_equal(puppet.unregs, 0);
    puppet.expose_rc = 0;
    assert_int_equal(embar_buffer_expose(scene.buffer, scene.link, &key, &diag), 0);
}

static void test_the_exposure_is_void_before_link_down_can_be_polled(void **state)
{
    struct embar_key key;

    (void)state;
    assert_int_equal(embar_buffer_expose(scene.buffer, scene.link, &key, NULL), 0);
    report_down(scene.link);
    assert_int_equal(puppet.unexposes, 1); /* nothing has been polled */
    assert_null(link_exposed_buffer(scene.link));
    assert_int_equal(embar_buffer_free(scene.buffer), 0);
    scene.buffer = NULL;
}

static void test_progress_is_made_only_when_there_is_room_for_events(void **state)
{
    unsigned before = puppet.progresses;

    (void)state;
    report_message(scene.link);
    report_message(scene.link);
    assert_int_equal(embar_poll(scene.transport, events, 1), 1);
    assert_int_equal(puppet.progresses, before);
    assert_int_equal(embar_poll(scene.transport, events, 2), 1);
    assert_int_equal(puppet.progresses, before + 1);
    assert_int_equal(embar_poll(scene.transport, events, 0), -EINVAL);
}

static void test_a_link_stays_until_its_link_down_has_been_polled(void **state)
{
    (void)state;
    report_message(scene.link);
    report_down(scene.link);
    assert_int_equal(embar_link_close(scene.link), -EBUSY);
    assert_int_equal(embar_poll(scene.transport, events, 1), 1); /* the message */
    assert_int_equal(embar_link_close(scene.link), -EBUSY);
    assert_int_equal(embar_poll(scene.transport, events, 1), 1);
    assert_int_equal(events[0].type, EMBAR_EVENT_LINK_DOWN);
    assert_int_equal(embar_link_close(scene.link), 0);
    scene.link = NULL;
}

static void test_polling_gives_the_cells_of_messages_back(void **state)
{
    const void *first[2] = {NULL, NULL};

    (void)state;
    for (unsigned round = 0; round < 100; round++) {
        assert_int_equal(poll_with(report_message, scene.link), 1);
        assert_memory_equal(events[0].data, "hello", 5);
        if (round < 2)
            first[round] = events[0].data;
        else
            assert_true(events[0].data == first[0] || events[0].data == first[1]);
    }
}

static void test_descriptor_and_arm_are_the_backends(void **state)
{
    (void)state;
    assert_int_equal(embar_fd(scene.transport), 12345);
    assert_int_equal(embar_arm(scene.transport), 0);
    puppet.arm_rc = -EAGAIN;
    assert_int_equal(embar_arm(scene.transport), -EAGAIN);
}

static void test_memory_to_adopt_is_checked(void **state)
{
    static _Alignas(4096) unsigned char memory[8192];
    struct embar_buffer *buffer = NULL;
    struct embar_buffer_info info;
    struct embar_diag diag = {0};

    (void)state;
    assert_int_equal(embar_buffer_adopt(scene.transport, memory + 8, 4096, 0, &buffer, &diag),
                     -EINVAL);
    assert_non_null(strstr(diag.text, "4096"));
    assert_int_equal(embar_buffer_adopt(scene.transport, NULL, 4096, 0, &buffer, NULL), -EINVAL);
    assert_int_equal(embar_buffer_adopt(scene.transport, memory, 0, 0, &buffer, NULL), -EINVAL);
    assert_int_equal(embar_buffer_adopt(scene.transport, memory, SIZE_MAX, 0, &buffer, NULL),
                     -EINVAL);
    assert_int_equal(embar_buffer_adopt(scene.transport, memory, 4096, 4, &buffer, NULL), -EINVAL);
    assert_int_equal(embar_buffer_alloc(scene.transport, 0, NULL, &buffer, NULL), -EINVAL);
    assert_null(buffer);
    assert_int_equal(embar_buffer_adopt(scene.transport, memory, 8192, 0, &buffer, NULL), 0);
    embar_buffer_info(buffer, &info);
    assert_ptr_equal(info.addr, memory);
    assert_int_equal(info.size_bytes, 8192);
    assert_int_equal(info.kind, EMBAR_PAGES_ADOPTED);
    memory[8191] = 1;
    assert_int_equal(embar_buffer_free(buffer), 0);
    assert_int_equal(memory[8191], 1); /* still the caller's */
}

static void test_stats_join_what_core_and_backend_count(void **state)
{
    struct embar_link_stats stats;

    (void)state;
    report_message(scene.link);
    assert_int_equal(embar_send(scene.link, "x", 1), 0);
    puppet.send_rc = -EAGAIN;
    assert_int_equal(embar_send(scene.link, "x", 1), -EAGAIN);
    embar_link_stats(scene.link, &stats);
    assert_int_equal(stats.messages_received, 1);
    assert_int_equal(stats.messages_sent, 1);
    assert_int_equal(stats.lanes, 3);
    assert_non_null(stats.send_mode);
}

#define SCENE_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE_TEST(test_a_lost_transport_ends_everything_and_then_says_so),
        SCENE_TEST(test_a_failed_accept_leaves_the_request_to_be_answered_again),
        SCENE_TEST(test_a_link_may_come_up_within_accept),
        SCENE_TEST(test_closing_a_listener_rejects_a_seen_request_and_hides_an_unseen_one),
        SCENE_TEST(test_an_unseen_request_that_went_down_is_hidden_too),
        SCENE_TEST(test_an_unseen_request_does_not_keep_a_transport_open),
        SCENE_TEST(test_an_abort_ends_the_writes_that_the_backend_leaves_to_core),
        SCENE_TEST(test_what_a_backend_refuses_is_not_in_flight),
        SCENE_TEST(test_failures_of_a_backend_leave_nothing_behind),
        SCENE_TEST(test_the_exposure_is_void_before_link_down_can_be_polled),
        SCENE_TEST(test_progress_is_made_only_when_there_is_room_for_events),
        SCENE_TEST(test_a_link_stays_until_its_link_down_has_been_polled),
        SCENE_TEST(test_polling_gives_the_cells_of_messages_back),
        SCENE_TEST(test_descriptor_and_arm_are_the_backends),
        SCENE_TEST(test_memory_to_adopt_is_checked),
        SCENE_TEST(test_stats_join_what_core_and_backend_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
