/*
 * The sending half of a lane: order, gathering, room and cancelling. Whatever the kernel takes, the
 * bytes on the wire are the frames in order.
 */
#include "tcp_scripted_kernel.h"

/* ---- order and gathering -------------------------------------------------------------------- */

static void test_small_frames_are_gathered_into_one_call(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(post_write(i, 10), 0);
        assert_int_equal(post_send("credit"), 0);
    }
    run();
    assert_int_equal(kernel.calls, 1);
    assert_false(was_zerocopy(0));
    assert_wire();
    assert_int_equal(over.count, 5);
    assert_false(tcp_sender_pending(&sender));
}

static void test_large_payload_goes_with_its_header_in_one_call_from_its_pages(void **state)
{
    (void)state;
    post_send("before");
    post_write(1, BIG);
    post_send("after");
    run();
    assert_int_equal(kernel.calls, 3);
    assert_false(was_zerocopy(0));
    assert_true(was_zerocopy(1));
    assert_false(was_zerocopy(2));
    assert_wire();
}

static void test_payload_below_the_limit_is_copied(void **state)
{
    (void)state;
    post_write(1, LIMIT - 1);
    run();
    assert_false(was_zerocopy(0));
    assert_int_equal(over.count, 1);
}

static void test_frames_keep_their_order_over_any_short_sends(void **state)
{
    (void)state;
    srand(7);
    for (unsigned round = 0; round < 300; round++) {
        if (rand() % 2)
            post_write((uint64_t)rand(), 1 + (uint32_t)rand() % 3000);
        else
            post_send("a control message of some length");
        answer(rand() % 8 == 0 ? -EAGAIN : 1 + rand() % 2000);
        run_as_writable();
        kernel.answer_count = kernel.answer_next = 0;
        if (sender.zerocopy.next != sender.zerocopy.floor) {
            kernel.queued = kernel.taken = 0;
            report(sender.zerocopy.floor, sender.zerocopy.next - 1, false);
            assert_true(take_completions() > 0);
        }
    }
    run_as_writable();
    assert_wire();
}

static void test_short_send_means_a_full_socket_and_is_not_asked_again(void **state)
{
    (void)state;
    post_write(1, 500);
    answer(100);
    run();
    assert_true(sender.blocked);
    assert_true(tcp_sender_amid_frame(&sender));
    assert_int_equal(kernel.calls, 1);
    run(); /* still blocked */
    assert_int_equal(kernel.calls, 1);
    run_as_writable();
    assert_wire();
}

static void test_full_socket_takes_nothing_and_loses_nothing(void **state)
{
    (void)state;
    post_write(1, 500);
    answer(-EAGAIN);
    run();
    assert_true(sender.blocked);
    assert_false(tcp_sender_amid_frame(&sender));
    assert_int_equal(over.count, 0);
    run_as_writable();
    assert_wire();
    assert_int_equal(over.count, 1);
}

static void test_broken_connection_is_reported_with_its_error(void **state)
{
    (void)state;
    post_write(1, 500);
    answer(-EPIPE);
    assert_int_equal(tcp_sender_run(&sender, UINT64_MAX, 0), -EPIPE);
    assert_int_equal(over.count, 0);
}

static void test_one_turn_hands_over_a_bounded_amount(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 10; i++)
        post_write(i, 900);
    assert_in_range(tcp_sender_run(&sender, 2000, 0), 2000, 2000 + TCP_FRAME_BYTES);
    assert_true(tcp_sender_pending(&sender));
    run();
    assert_wire();
}

/* ---- room and cancelling ----------------------------------------------------------------------
 */

static void test_full_ring_says_again_and_has_room_after_completions(void **state)
{
    unsigned sends = 0, writes = 0;

    (void)state;
    while (post_send("x") == 0)
        sends++;
    assert_int_equal(sends, TCP_MAX_SENDS);
    while (post_write(writes, 10) == 0)
        writes++;
    assert_true(writes >= TCP_MAX_WRITES); /* sends cannot take the room of writes */
    assert_int_equal(post_send("x"), -EAGAIN);
    run();
    assert_wire();
    assert_int_equal(over.count, writes);
    assert_int_equal(post_send("x"), 0);
    assert_int_equal(post_write(1, 10), 0);
}

static void test_last_frame_finds_room_in_a_full_ring(void **state)
{
    char text[TCP_MAX_SEND_BYTES + 1];
    struct tcp_frame bye = {.type = TCP_FRAME_BYE, .len_bytes = 255};
    uint64_t i = 0;

    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    while (post_send(text) == 0)
        continue;
    while (post_write(i, 10) == 0)
        i++;
    expect(&bye, text);
    assert_int_equal(tcp_sender_control(&sender, &bye, text), 0);
    run();
    assert_wire();
}

static void test_ring_of_message_bytes_wraps_without_mixing_messages(void **state)
{
    char text[TCP_MAX_SEND_BYTES + 1];

    (void)state;
    srand(3);
    for (unsigned i = 0; i < 20000; i++) {
        size_t len = 1 + (size_t)rand() % TCP_MAX_SEND_BYTES;

        memset(text, 'a' + (int)(i % 26), len);
        text[len] = '\0';
        if (kernel.wire_bytes > WIRE_BYTES / 2) {
            run_as_writable();
            assert_wire();
            kernel.wire_bytes = expected_bytes = 0;
        }
        while (post_send(text) == -EAGAIN) { /* some of it goes out, so that the ring stays full */
            kernel.answer_count = kernel.answer_next = 0;
            answer(1 + rand() % 20000);
            run_as_writable();
        }
    }
    run_as_writable();
    assert_wire();
    assert_int_equal(sender.sends, 0);
    assert_int_equal(sender.bytes_first, sender.bytes_end);
}

static void test_cancelling_what_has_not_begun_keeps_the_frame_under_way(void **state)
{
    struct tcp_frame bye = {.type = TCP_FRAME_BYE};

    (void)state;
    post_write(1, 500);
    expected_bytes = TCP_FRAME_BYTES + 500;
    answer(100);
    run();
    post_write(2, 500);
    post_send("lost");
    expected_bytes = TCP_FRAME_BYTES + 500;
    tcp_sender_cancel(&sender, false, -ECANCELED, note_over, NULL);
    assert_int_equal(over.count, 1);
    assert_int_equal(over.token[0], 2);
    assert_int_equal(over.status[0], -ECANCELED);
    tcp_sender_control(&sender, &bye, NULL);
    expect(&bye, "");
    run_as_writable();
    assert_wire();
    assert_int_equal(over.count, 2);
    assert_int_equal(over.status[1], 0);
    assert_int_equal(sender.sends, 0);
}

static void test_cancelling_all_ends_every_write_once(void **state)
{
    bool seen[8] = {false};

    (void)state;
    for (uint64_t i = 0; i < 8; i++)
        post_write(i, 500);
    answer(2 * (TCP_FRAME_BYTES + 500) + 7);
    run();
    tcp_sender_cancel(&sender, true, -ECANCELED, note_over, NULL);
    assert_int_equal(over.count, 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_false(seen[over.token[i]]);
        seen[over.token[i]] = true;
        assert_int_equal(over.status[i], i < 2 ? 0 : -ECANCELED);
    }
    assert_false(tcp_sender_pending(&sender));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_small_frames_are_gathered_into_one_call),
        TEST(test_large_payload_goes_with_its_header_in_one_call_from_its_pages),
        TEST(test_payload_below_the_limit_is_copied),
        TEST(test_frames_keep_their_order_over_any_short_sends),
        COPYING_TEST(test_frames_keep_their_order_over_any_short_sends),
        TEST(test_short_send_means_a_full_socket_and_is_not_asked_again),
        TEST(test_full_socket_takes_nothing_and_loses_nothing),
        TEST(test_broken_connection_is_reported_with_its_error),
        TEST(test_one_turn_hands_over_a_bounded_amount),
        TEST(test_full_ring_says_again_and_has_room_after_completions),
        TEST(test_last_frame_finds_room_in_a_full_ring),
        TEST(test_ring_of_message_bytes_wraps_without_mixing_messages),
        COPYING_TEST(test_cancelling_what_has_not_begun_keeps_the_frame_under_way),
        COPYING_TEST(test_cancelling_all_ends_every_write_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
