/*
 * When a spliced source is free after a network that has failed, which no reset gets through, and
 * on a link of several lanes, each of which has a peer's queue of its own (tcp_rewriting_sender.h).
 */
#include "tcp_rewriting_sender.h"

#include <sched.h>

static const char *const lanes[] = {"tcp.send_mode=splice",          "tcp.lanes=3",
                                    "tcp.zero_copy_send_limit=4KiB", "tcp.close_timeout=100ms",
                                    "tcp.send_buffer=64KiB",         NULL};

/* ---- a network that fails between --------------------------------------------------------------
 */

/* Takes one event, and leaves the rest unread. */
static void poll_once(struct side *side)
{
    struct embar_event event;

    if (embar_poll(side->transport, &event, 1) == 1)
        on_event(side, &event);
}

/* No reset gets through. The sender gives the peer up after tcp.user_timeout; the sources are held
 * for tcp.close_timeout more. A receiver that has said nothing is told by its keepalive meanwhile;
 * one that has, for which the kernel sends none, by the silence on that. */
static void fail_the_network(bool receiver_says_something)
{
    uint64_t began;

    if (unshare(CLONE_NEWNET) < 0) {
        print_message("[  SKIPPED ] no network namespaces here\n");
        skip();
    }
    set_loopback_up(true);
    open_both((const char *const[]){"tcp.send_mode=splice", "tcp.zero_copy_send_limit=4KiB",
                                    "tcp.user_timeout=400ms", "tcp.close_timeout=4s",
                                    "tcp.keepalive_idle=1s", "tcp.keepalive_interval=1s",
                                    "tcp.keepalive_count=1", NULL});
    join();
    write_bytes = 8192; /* as small a queue as a new connection has holds several */
    post_all(3);
    write_bytes = SLOT_BYTES;
    for (unsigned i = 0; i < 50; i++)
        poll_side(&sender);
    set_loopback_up(false);
    if (receiver_says_something)
        await_that(receiver.arrivals >= 3, poll_once(&receiver)); /* and stalls then */
    began = now_ns();
    await_that(sender.down, poll_side(&sender));
    assert_true(sender.status < 0);
    assert_in_range(now_ns() - began, 4 * NS_PER_S, 20 * NS_PER_S);
    assert_int_equal(sender.done, SLOTS);
    memset(sender.memory, REWRITTEN, (size_t)SLOTS * SLOT_BYTES);
    await_that(receiver.down, poll_side(&receiver));
    assert_int_equal(receiver.wrong, 0);
    part();
    close_both();
}

static void test_sources_outlast_a_network_that_fails(void **state)
{
    (void)state;
    fail_the_network(false);
}

static void test_sources_outlast_a_network_that_fails_under_what_the_receiver_says(void **state)
{
    (void)state;
    fail_the_network(true);
}

/* ---- several lanes ------------------------------------------------------------------------------
 */

/* The peer has read all of one lane and nothing of the others. */
static void test_each_lane_holds_its_own_sources(void **state)
{
    (void)state;
    open_both(lanes);
    join();
    write_bytes = 8192;
    post(0, 0);
    await_that(sender.done_ok == 1, poll_both());
    post(1, 1);
    post(1, 2);
    write_bytes = SLOT_BYTES;
    poll_sender_for(20 * NS_PER_MS);
    assert_int_equal(embar_link_disconnect(sender.link), 0);
    await_that(sender.down, poll_side(&sender));
    memset(sender.memory, REWRITTEN, (size_t)SLOTS * SLOT_BYTES);
    await_that(receiver.down, poll_both());
    assert_int_equal(receiver.wrong, 0);
    part();
    close_both();
}

static unsigned error_lines;

static void count_lines(enum embar_log_level level, const char *line, void *user)
{
    (void)line;
    (void)user;
    error_lines += level == EMBAR_LOG_ERROR;
}

/* Full sockets, and sources that are held while their connections drain. */
static void test_peer_that_resets_every_lane_is_no_error_of_this_side(void **state)
{
    (void)state;
    open_both(lanes);
    embar_log_set(EMBAR_LOG_DEBUG, count_lines, NULL);
    join();
    post_all(1);
    poll_sender_for(20 * NS_PER_MS);
    assert_int_equal(embar_link_abort(receiver.link), 0);
    await_that(sender.down, (poll_side(&sender), embar_arm(sender.transport)));
    await_that(receiver.down, poll_both());
    assert_int_equal(error_lines, 0);
    part();
    close_both();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_lane_holds_its_own_sources),
        cmocka_unit_test(test_peer_that_resets_every_lane_is_no_error_of_this_side),
        cmocka_unit_test(test_sources_outlast_a_network_that_fails),
        cmocka_unit_test(test_sources_outlast_a_network_that_fails_under_what_the_receiver_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
