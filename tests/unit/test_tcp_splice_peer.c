/*
 * When a spliced source is free, against the kernel's own receive queues (tcp_rewriting_sender.h):
 * while all is well, at every end of a link, and with peers that lie. What happens when the network
 * fails, and with several lanes, is in test_tcp_splice_ends.c.
 */
#include "tcp_rewriting_sender.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

static void test_source_is_not_free_while_the_receiver_does_not_read(void **state)
{
    struct embar_link_stats stats;

    (void)state;
    open_both(settings);
    join();
    for (unsigned slot = 0; slot < 4; slot++)
        post(0, slot);
    poll_sender_for(300 * NS_PER_MS);
    assert_int_equal(sender.done, 0);
    await_that(receiver.arrivals == 4, poll_side(&receiver));
    poll_side(&receiver); /* in its next turn it says so */
    await_that(sender.done_ok == 4, poll_side(&sender));
    embar_link_stats(sender.link, &stats);
    assert_string_equal(stats.send_mode, "splice");
    assert_int_equal(receiver.wrong, 0);
    assert_int_equal(embar_link_abort(sender.link), 0);
    await_that(sender.down && receiver.down, poll_both());
    part();
    close_both();
}

/* The proof has teeth: this kernel does let a receiver see what its sender writes too early. */
static void test_receive_queue_refers_to_the_pages_of_the_sender(void **state)
{
    (void)state;
    open_both(settings);
    join();
    post(0, 0);
    poll_sender_for(20 * NS_PER_MS);
    memset(sender.memory, REWRITTEN, SLOT_BYTES); /* which nobody allowed */
    await_that(receiver.arrivals == 1, poll_both());
    if (receiver.wrong == 0)
        print_message("this kernel copies what is spliced\n");
    receiver.wrong = 0;
    assert_int_equal(embar_link_abort(sender.link), 0);
    await_that(sender.down && receiver.down, poll_both());
    part();
    close_both();
}

/* ---- every end ------------------------------------------------------------------------------ */

enum end { ABORT, DISCONNECT, DISCONNECT_AND_ABORT, REFUSED, PEER_ABORT, PEER_DISCONNECT, ENDS };

static void end_link(enum end end)
{
    switch (end) {
    case ABORT:
        assert_int_equal(embar_link_abort(sender.link), 0);
        break;
    case DISCONNECT:
        assert_int_equal(embar_link_disconnect(sender.link), 0);
        break;
    case DISCONNECT_AND_ABORT:
        assert_int_equal(embar_link_disconnect(sender.link), 0);
        poll_side(&sender);
        assert_int_equal(embar_link_abort(sender.link), 0);
        break;
    case REFUSED: /* what comes from now on breaks a rule */
        assert_int_equal(embar_buffer_unexpose(receiver.buffer), 0);
        if (receiver.arrivals == SLOTS) /* nothing more comes */
            assert_int_equal(embar_link_abort(receiver.link), 0);
        break;
    case PEER_ABORT:
        assert_int_equal(embar_link_abort(receiver.link), 0);
        break;
    case PEER_DISCONNECT:
        assert_int_equal(embar_link_disconnect(receiver.link), 0);
        break;
    case ENDS:
        break;
    }
}

/* The receiver has read `turns` turns and then stops until the sender's link is down and all its
 * sources are rewritten. */
static void stall_and_end(unsigned round, enum end end, unsigned turns)
{
    join();
    post_all(round);
    for (unsigned i = 0; i < 50; i++)
        poll_side(&sender);
    for (unsigned i = 0; i < turns; i++) {
        poll_side(&receiver);
        poll_side(&sender);
    }
    end_link(end);
    /* Only an end in order may have to wait for the peer to read. */
    await_that(sender.down, (poll_side(&sender), end == REFUSED ? poll_side(&receiver) : (void)0));
    assert_int_equal(sender.done, SLOTS);
    memset(sender.memory, REWRITTEN, (size_t)SLOTS * SLOT_BYTES);
    await_that(receiver.down, poll_both());
    part();
    assert_int_equal(receiver.wrong, 0);
}

static void test_no_end_lets_a_stalled_receiver_report_rewritten_bytes(void **state)
{
    (void)state;
    srand(5);
    open_both((const char *const[]){"tcp.send_mode=splice", "tcp.zero_copy_send_limit=4KiB",
                                    "tcp.close_timeout=20ms", "tcp.congestion_control=cubic",
                                    "tcp.receive_buffer=150000", NULL});
    for (unsigned round = 0; round < 120; round++) {
        write_bytes = SLOT_BYTES >> rand() % 6; /* some of them, or a part of one, fill the queue */
        stall_and_end(round, (enum end)(round % ENDS), (unsigned)rand() % 40);
    }
    write_bytes = SLOT_BYTES;
    close_both();
}

static void test_end_in_order_delivers_and_frees_everything(void **state)
{
    (void)state;
    open_both(settings);
    join();
    post_all(1);
    assert_int_equal(embar_link_disconnect(sender.link), 0);
    await_that(sender.down && receiver.down, poll_both());
    assert_int_equal(sender.status, 0);
    assert_int_equal(receiver.status, 0);
    assert_int_equal(receiver.arrivals, SLOTS);
    assert_int_equal(receiver.wrong, 0);
    assert_int_equal(sender.done_ok, SLOTS);
    part();
    close_both();
}

/* ---- a receiver that reads all the while ------------------------------------------------------
 */

static atomic_bool stop_reading;

static void *read_all_the_while(void *unused)
{
    while (!atomic_load(&stop_reading))
        poll_side(&receiver);
    return unused;
}

static void test_aborts_amid_reading_never_let_rewritten_bytes_arrive(void **state)
{
    pthread_t thread;

    (void)state;
    srand(6);
    open_both(settings);
    for (unsigned round = 0; round < 300; round++) {
        join();
        atomic_store(&stop_reading, false);
        assert_int_equal(pthread_create(&thread, NULL, read_all_the_while, NULL), 0);
        post_all(round);
        for (unsigned i = (unsigned)rand() % 20; i > 0; i--)
            poll_side(&sender);
        assert_int_equal(embar_link_abort(sender.link), 0);
        await_that(sender.down, poll_side(&sender));
        memset(sender.memory, REWRITTEN, (size_t)SLOTS * SLOT_BYTES);
        usleep(500);
        atomic_store(&stop_reading, true);
        assert_int_equal(pthread_join(thread, NULL), 0);
        await_that(receiver.down, poll_both());
        part();
    }
    assert_int_equal(receiver.wrong, 0);
    close_both();
}

/* What lies in the receive queue of a stalled peer is acknowledged, but not delivered. */
static void test_end_in_order_that_is_not_taken_is_no_end_in_order(void **state)
{
    (void)state;
    open_both(settings);
    join();
    write_bytes = 8192;
    for (unsigned slot = 0; slot < 4; slot++)
        post(2, slot);
    write_bytes = SLOT_BYTES;
    poll_sender_for(20 * NS_PER_MS);
    assert_int_equal(embar_link_disconnect(sender.link), 0);
    await_that(sender.down, poll_side(&sender));
    assert_int_equal(sender.status, -ETIMEDOUT);
    assert_int_equal(sender.done_ok, 0);
    await_that(receiver.down, poll_both());
    assert_int_equal(receiver.arrivals, 0);
    part();
    close_both();
}

/* ---- peers that lie -----------------------------------------------------------------------------
 */

static void lie(uint64_t count, const char *words)
{
    struct tcp_frame placed = {.type = TCP_FRAME_PLACED, .offset = count};
    struct embar_link *link;
    char reason[256];
    int fd;

    open_listener("127.0.0.1:0", settings);
    fd = raw_join(&link);
    raw_frame(fd, &placed);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -EPROTO);
    assert_int_equal(raw_read_reason(fd, reason).immediate, TCP_BYE_REFUSED);
    assert_non_null(strstr(reason, words));
    close(fd);
    close_link(link);
    close_transport();
}

static void test_peer_that_has_read_what_was_never_sent_loses_its_link(void **state)
{
    (void)state;
    lie(1, "has read 1 spliced writes");
    lie(0, "has read 0 spliced writes");
    lie(UINT64_MAX, "has read 18446744073709551615 spliced writes");
}

static void test_write_to_a_peer_that_is_gone_raises_no_signal(void **state)
{
    struct embar_buffer *buffer;
    struct embar_link *link;
    struct embar_write write = {.len_bytes = 1 << 20};
    struct linger linger = {.l_onoff = 1};
    int fd;

    (void)state; /* SIGPIPE has its default action, which would kill the test */
    open_listener("127.0.0.1:0", settings);
    fd = raw_join(&link);
    assert_int_equal(embar_buffer_alloc(us.transport, 1 << 20, NULL, &buffer, NULL), 0);
    write.buffer = buffer;
    write.key = (struct embar_key){.id = 1, .size = 1 << 20};
    assert_int_equal(embar_write(link, &write), 0);
    turn(0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    close(fd);
    for (unsigned i = 0; i < 8 && embar_write(link, &write) == 0; i++)
        turn(0);
    assert_true(await(EMBAR_EVENT_LINK_DOWN)->status < 0);
    assert_true(us.count[EMBAR_EVENT_WRITE_DONE] >= 1);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_is_not_free_while_the_receiver_does_not_read),
        cmocka_unit_test(test_receive_queue_refers_to_the_pages_of_the_sender),
        cmocka_unit_test(test_no_end_lets_a_stalled_receiver_report_rewritten_bytes),
        cmocka_unit_test(test_end_in_order_delivers_and_frees_everything),
        cmocka_unit_test(test_aborts_amid_reading_never_let_rewritten_bytes_arrive),
        cmocka_unit_test(test_peer_that_has_read_what_was_never_sent_loses_its_link),
        cmocka_unit_test(test_write_to_a_peer_that_is_gone_raises_no_signal),
        cmocka_unit_test(test_end_in_order_that_is_not_taken_is_no_end_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
