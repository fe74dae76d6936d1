/*
 * Zero-copy completions late, coalesced, out of order and wrapped, and what the kernel refuses: no
 * write is over while the kernel may still read it, and none waits for a completion that never
 * comes.
 */
#include "tcp_scripted_kernel.h"

/* ---- completions ------------------------------------------------------------------------------
 */

static void test_write_from_pages_is_over_only_with_its_completion(void **state)
{
    (void)state;
    post_write(1, BIG);
    run();
    assert_wire(); /* every byte is handed over */
    assert_int_equal(over.count, 0);
    report(0, 0, false);
    assert_int_equal(take_completions(), 1);
    assert_int_equal(over.count, 1);
    assert_int_equal(over.status[0], 0);
}

static void test_write_sent_in_pieces_waits_for_the_completions_of_all(void **state)
{
    (void)state;
    post_write(1, BIG);
    answer(1500);
    run();
    answer(1500);
    run_as_writable();
    run_as_writable();
    assert_int_equal(kernel.calls, 3);
    assert_true(was_zerocopy(2));
    assert_wire();
    report(2, 2, false); /* the last first */
    take_completions();
    assert_int_equal(over.count, 0);
    report(0, 0, false);
    take_completions();
    assert_int_equal(over.count, 0);
    report(1, 1, false);
    take_completions();
    assert_int_equal(over.count, 1);
}

static void test_completion_before_the_last_byte_is_handed_over_ends_nothing(void **state)
{
    (void)state;
    post_write(1, BIG);
    answer(3000);
    run();
    report(0, 0, false);
    assert_int_equal(take_completions(), 1);
    assert_int_equal(over.count, 0);
    run_as_writable();
    assert_int_equal(over.count, 0);
    report(1, 1, false);
    take_completions();
    assert_int_equal(over.count, 1);
}

static void test_copied_tail_does_not_end_a_write_whose_pages_are_live(void **state)
{
    (void)state;
    post_write(1, BIG);
    answer(TCP_FRAME_BYTES + BIG - LIMIT + 1); /* leaves less than the limit */
    run();
    run_as_writable();
    assert_true(was_zerocopy(0));
    assert_false(was_zerocopy(1));
    assert_wire();
    assert_int_equal(over.count, 0);
    report(0, 0, false);
    take_completions();
    assert_int_equal(over.count, 1);
}

static void test_completions_coalesced_over_several_writes_end_all_of_them(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 4; i++)
        post_write(i, BIG);
    run();
    report(0, 2, false);
    assert_int_equal(take_completions(), 3);
    assert_int_equal(over.count, 3);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(over.token[i], i);
    report(3, 3, true);
    take_completions();
    assert_int_equal(over.count, 4);
    assert_int_equal(sender.zerocopy.copied, 1);
}

static void test_completions_out_of_order_end_writes_in_order(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        post_write(i, BIG);
    run();
    report(2, 2, false);
    report(1, 1, false);
    take_completions();
    assert_int_equal(over.count, 0);
    report(0, 0, false);
    take_completions();
    assert_int_equal(over.count, 3);
    assert_int_equal(over.token[0], 0);
    assert_int_equal(over.token[2], 2);
}

static void test_completions_across_the_wrap_of_the_numbers_end_the_right_writes(void **state)
{
    (void)state;
    tcp_zerocopy_init(&sender.zerocopy, UINT32_MAX);
    for (uint64_t i = 0; i < 3; i++)
        post_write(i, BIG);
    run();
    report(0, 0, false); /* the second call */
    take_completions();
    assert_int_equal(over.count, 0);
    report(UINT32_MAX, UINT32_MAX, false);
    take_completions();
    assert_int_equal(over.count, 2);
    report(1, 1, false);
    take_completions();
    assert_int_equal(over.count, 3);
}

static void test_completions_of_ipv6_sockets_count_too(void **state)
{
    (void)state;
    post_write(1, BIG);
    run();
    kernel.queue[kernel.queued++] = (struct completion){0, 0, false, true};
    assert_int_equal(take_completions(), 1);
    assert_int_equal(over.count, 1);
}

static void test_error_queue_is_drained_until_it_is_empty(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 40; i++)
        post_write(i, BIG);
    run();
    for (uint32_t i = 0; i < 40; i++)
        report(i, i, i % 2);
    assert_int_equal(take_completions(), 40);
    assert_int_equal(kernel.taken, 40);
    assert_int_equal(over.count, 40);
    assert_int_equal(sender.zerocopy.copied, 20);
}

static void test_completion_that_cannot_be_is_an_error_and_ends_nothing(void **state)
{
    (void)state;
    post_write(1, BIG);
    run();
    report(0, 1, false);
    assert_int_equal(take_completions(), -EBADMSG);
    assert_int_equal(over.count, 0);
    report(0, 0, false);
    assert_int_equal(take_completions(), 1);
    report(0, 0, false);
    assert_int_equal(take_completions(), -EBADMSG); /* twice */
    post_write(2, BIG);
    run();
    kernel.control_flags = MSG_CTRUNC;
    report(1, 1, false);
    assert_int_equal(take_completions(), -EBADMSG);
}

static void test_error_event_is_fatal_only_when_so_error_says_so(void **state)
{
    (void)state;
    assert_int_equal(take_completions(), 0); /* nothing at all */
    assert_int_equal(kernel.error_asked, 1);
    kernel.error = ECONNRESET;
    assert_int_equal(take_completions(), -ECONNRESET);
    post_write(1, BIG);
    run();
    report(0, 0, false);
    assert_int_equal(take_completions(), 1);
    assert_int_equal(kernel.error_asked, 2); /* a completion explains the event */
}

/* ---- what the kernel refuses ---------------------------------------------------------------- */

static void test_enobufs_copies_that_piece_and_does_not_wait(void **state)
{
    (void)state;
    post_write(1, BIG);
    post_write(2, BIG);
    answer(-ENOBUFS);
    run();
    assert_int_equal(kernel.calls, 3);
    assert_true(was_zerocopy(0));
    assert_false(was_zerocopy(1));
    assert_true(was_zerocopy(2));
    assert_wire();
    assert_int_equal(over.count, 1); /* nothing of it is pinned */
    assert_int_equal(sender.zerocopy.sends, 1);
    report(0, 0, false); /* the refused call has no number */
    assert_int_equal(take_completions(), 1);
    assert_int_equal(over.count, 2);
}

static void test_enobufs_in_the_middle_of_a_write_keeps_it_until_its_pages_are_free(void **state)
{
    (void)state;
    post_write(1, BIG);
    answer(2000);
    run();
    answer(-ENOBUFS);
    run_as_writable();
    assert_wire();
    assert_int_equal(over.count, 0);
    report(0, 0, false);
    take_completions();
    assert_int_equal(over.count, 1);
}

static void test_full_socket_after_enobufs_is_no_error(void **state)
{
    (void)state;
    post_write(1, BIG);
    answer(-ENOBUFS);
    answer(-EAGAIN);
    run();
    assert_true(sender.blocked);
    run_as_writable();
    assert_wire();
}

static void test_full_window_of_completions_copies_instead_of_waiting(void **state)
{
    uint64_t i;

    (void)state;
    /* The completions come for none, so the ring limits the writes: pieces fill the window. */
    for (i = 0; i < 250; i++)
        post_write(i, 6 * LIMIT);
    kernel.room = LIMIT;
    while (tcp_sender_pending(&sender) && !tcp_zerocopy_full(&sender.zerocopy))
        run_as_writable();
    kernel.room = 0;
    assert_true(tcp_zerocopy_full(&sender.zerocopy));
    run_as_writable();
    assert_false(was_zerocopy((kernel.calls - 1) % 1024));
    assert_wire();
    assert_int_equal(over.count, 0);
    report(0, TCP_ZEROCOPY_WINDOW - 1, false);
    assert_int_equal(take_completions(), TCP_ZEROCOPY_WINDOW);
    assert_int_equal(over.count, 250);
}

static void test_auto_changes_to_splice_between_writes_and_never_within_one(void **state)
{
    (void)state;
    tcp_send_mode_init(&sender.mode, TCP_SEND_AUTO, LIMIT);
    for (uint64_t i = 0; i < TCP_SEND_WINDOW; i++)
        post_write(i, BIG);
    run();
    post_write(99, BIG);
    answer(2000);
    run();
    report(0, TCP_SEND_WINDOW - 1, true);
    take_completions();
    assert_string_equal(tcp_send_mode_name(&sender.mode), "splice");
    run_as_writable(); /* the rest of the write that has begun */
    assert_true(was_zerocopy(kernel.calls - 1));
    post_write(100, BIG);
    run();
    assert_false(was_zerocopy(kernel.calls - 1));
    assert_int_equal(kernel.drain_calls, 1);
    assert_wire();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_write_from_pages_is_over_only_with_its_completion),
        TEST(test_write_sent_in_pieces_waits_for_the_completions_of_all),
        TEST(test_completion_before_the_last_byte_is_handed_over_ends_nothing),
        TEST(test_copied_tail_does_not_end_a_write_whose_pages_are_live),
        TEST(test_completions_coalesced_over_several_writes_end_all_of_them),
        TEST(test_completions_out_of_order_end_writes_in_order),
        TEST(test_completions_across_the_wrap_of_the_numbers_end_the_right_writes),
        TEST(test_completions_of_ipv6_sockets_count_too),
        TEST(test_error_queue_is_drained_until_it_is_empty),
        TEST(test_completion_that_cannot_be_is_an_error_and_ends_nothing),
        TEST(test_error_event_is_fatal_only_when_so_error_says_so),
        TEST(test_enobufs_copies_that_piece_and_does_not_wait),
        TEST(test_enobufs_in_the_middle_of_a_write_keeps_it_until_its_pages_are_free),
        TEST(test_full_socket_after_enobufs_is_no_error),
        TEST(test_full_window_of_completions_copies_instead_of_waiting),
        TEST(test_auto_changes_to_splice_between_writes_and_never_within_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
