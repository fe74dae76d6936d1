/*
 * Payloads through the pipe: whatever pipe and socket take, the bytes on the wire are the frames in
 * order, and a source is not given back before the peer has said that it read it. And the other
 * direction: what the peer is told of its own spliced writes.
 */
#include "tcp_scripted_kernel.h"

static void fill_answer(ssize_t what)
{
    assert_true(kernel.fill_count < ANSWERS);
    kernel.fills[kernel.fill_count++] = what;
}

static void drain_answer(ssize_t what)
{
    assert_true(kernel.drain_count < ANSWERS);
    kernel.drains[kernel.drain_count++] = what;
}

static void expect_placed(uint64_t count)
{
    const struct tcp_frame frame = {.type = TCP_FRAME_PLACED, .offset = count};

    expect(&frame, "");
}

static void placed(uint64_t count)
{
    assert_int_equal(tcp_sender_placed(&sender, count), 0);
    tcp_sender_reap(&sender, note_over, NULL);
}

/* ---- order ---------------------------------------------------------------------------------- */

static void test_header_says_that_more_follows_and_the_payload_goes_through_the_pipe(void **state)
{
    (void)state;
    post_send("before");
    post_write(1, BIG);
    run();
    assert_int_equal(kernel.calls, 1); /* the message and the header */
    assert_true(kernel.flags[0] & MSG_MORE);
    assert_int_equal(kernel.drain_calls, 1);
    assert_false(kernel.drain_more[0]);
    assert_wire();
}

static void test_payload_below_the_limit_is_copied_and_not_waited_for(void **state)
{
    (void)state;
    post_write(1, LIMIT - 1);
    run();
    assert_int_equal(kernel.drain_calls, 0);
    assert_wire();
    assert_int_equal(over.count, 1);
}

static void test_payload_larger_than_the_pipe_goes_in_several_fillings(void **state)
{
    (void)state;
    kernel.pipe_size = 65536;
    post_write(1, 65536 * 3 + 5);
    run();
    assert_int_equal(kernel.drain_calls, 4);
    assert_true(kernel.drain_more[0] && kernel.drain_more[2]);
    assert_false(kernel.drain_more[3]);
    assert_wire();
}

static void test_frames_keep_their_order_over_short_counts_everywhere(void **state)
{
    uint64_t count = 0;

    (void)state;
    srand(11);
    kernel.pipe_size = 65536;
    for (unsigned i = 0; i < 300; i++) {
        if (rand() % 3)
            count += post_write((uint64_t)rand(), LIMIT + (uint32_t)rand() % 5000) == 0;
        else
            post_send("a control message of some length");
        kernel.answer_count = kernel.answer_next = 0;
        kernel.fill_count = kernel.fill_next = kernel.drain_count = kernel.drain_next = 0;
        answer(rand() % 8 == 0 ? -EAGAIN : 1 + rand() % 100);
        fill_answer(1 + rand() % 3000);
        drain_answer(rand() % 8 == 0 ? -EAGAIN : 1 + rand() % 2000);
        run_as_writable();
        if (sender.splices > sender.placed)
            placed(sender.splices);
    }
    kernel.answer_count = kernel.fill_count = kernel.drain_count = 0;
    run_as_writable();
    placed(sender.splices);
    assert_wire();
    assert_int_equal(sender.splices, count);
    assert_int_equal(tcp_sender_unplaced(&sender), 0);
}

static void test_what_lies_in_the_pipe_goes_before_anything_else(void **state)
{
    (void)state;
    post_write(1, BIG);
    drain_answer(1000);
    run();
    assert_true(sender.blocked);
    assert_true(tcp_sender_amid_frame(&sender));
    post_send("later");
    tcp_sender_has_read(&sender);
    expected_bytes -= TCP_FRAME_BYTES + 5;
    expect_placed(1);
    expect(&(struct tcp_frame){.type = TCP_FRAME_SEND, .len_bytes = 5}, "later");
    run_as_writable();
    assert_wire();
}

static void test_full_socket_at_the_pipe_loses_nothing(void **state)
{
    (void)state;
    post_write(1, BIG);
    drain_answer(-EAGAIN);
    run();
    assert_true(sender.blocked);
    run(); /* still blocked: nobody asks again */
    assert_int_equal(kernel.drain_calls, 1);
    run_as_writable();
    assert_wire();
}

/* ---- what fails ----------------------------------------------------------------------------- */

static void test_broken_connection_at_the_pipe_is_reported_with_its_error(void **state)
{
    (void)state;
    post_write(1, BIG);
    drain_answer(-EPIPE);
    assert_int_equal(tcp_sender_run(&sender, UINT64_MAX, 0), -EPIPE);
    assert_int_equal(over.count, 0);
}

static void test_without_a_pipe_payloads_are_copied_and_the_reason_is_kept(void **state)
{
    (void)state;
    kernel.pipe_size = -EMFILE;
    sender.mode.way = TCP_WAY_COPY; /* as it will be: no flag is expected */
    post_write(1, BIG);
    sender.mode.way = TCP_WAY_SPLICE;
    run();
    assert_wire();
    assert_int_equal(over.count, 1);
    assert_string_equal(tcp_send_mode_name(&sender.mode), "copy");
    assert_non_null(strstr(sender.mode.why, "RLIMIT_NOFILE"));
}

static void test_pipe_of_two_pages_is_not_worth_it(void **state)
{
    (void)state;
    kernel.pipe_size = 8192;
    sender.mode.way = TCP_WAY_COPY;
    post_write(1, BIG);
    sender.mode.way = TCP_WAY_SPLICE;
    run();
    assert_wire();
    assert_int_equal(kernel.pipes_open, 0);
    assert_non_null(strstr(sender.mode.why, "fs.pipe-user-pages-soft"));
}

static void test_source_that_cannot_be_spliced_is_copied(void **state)
{
    (void)state;
    post_write(1, BIG);
    fill_answer(-EINVAL);
    run();
    assert_wire();
    assert_string_equal(tcp_send_mode_name(&sender.mode), "copy");
    assert_non_null(strstr(sender.mode.why, "Invalid argument"));
    assert_int_equal(over.count, 0); /* its header said spliced: the peer will answer */
    placed(1);
    assert_int_equal(over.count, 1);
    sender.mode.way = TCP_WAY_COPY;
    post_write(2, BIG);
    run();
    assert_wire();
    assert_int_equal(over.count, 2);
}

static void test_socket_that_refuses_the_pipe_gets_its_content_as_a_copy(void **state)
{
    (void)state;
    kernel.pipe_size = 65536;
    post_write(1, 100000);
    drain_answer(30000);
    run();
    kernel.drain_count = kernel.drain_next = 0;
    drain_answer(-EINVAL);
    run_as_writable();
    assert_wire();
    assert_int_equal(kernel.pipes_open, 0); /* what was left in it is not sent twice */
}

/* ---- when a source is free ------------------------------------------------------------------ */

static void test_source_is_free_only_when_the_peer_has_read_it(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        post_write(i, BIG);
    run();
    assert_false(tcp_sender_pending(&sender));
    assert_int_equal(over.count, 0);
    assert_int_equal(tcp_sender_unplaced(&sender), 3);
    placed(2);
    assert_int_equal(over.count, 2);
    assert_int_equal(over.status[1], 0);
    placed(3);
    assert_int_equal(over.count, 3);
    assert_int_equal(tcp_sender_unplaced(&sender), 0);
}

static void test_peer_that_says_more_than_was_sent_or_goes_backwards_is_found_out(void **state)
{
    (void)state;
    assert_int_equal(tcp_sender_placed(&sender, 1), -EPROTO); /* nothing was sent */
    post_write(0, BIG);
    post_write(1, BIG);
    drain_answer(BIG);
    drain_answer(BIG - 1);
    run();
    assert_int_equal(tcp_sender_placed(&sender, 2), -EPROTO); /* a byte is still here */
    assert_int_equal(tcp_sender_placed(&sender, 0), -EPROTO);
    placed(1);
    assert_int_equal(tcp_sender_placed(&sender, 1), -EPROTO); /* again */
    assert_int_equal(tcp_sender_placed(&sender, UINT64_MAX), -EPROTO);
    run_as_writable();
    placed(2);
    assert_int_equal(over.count, 2);
}

static void test_peer_that_is_done_frees_what_was_handed_over_and_no_more(void **state)
{
    (void)state;
    post_write(0, BIG);
    post_write(1, BIG);
    drain_answer(BIG);
    drain_answer(BIG - 1);
    run();
    tcp_sender_peer_is_done(&sender);
    tcp_sender_reap(&sender, note_over, NULL);
    assert_int_equal(over.count, 1);
    assert_int_equal(over.status[0], 0);
    tcp_sender_cancel(&sender, true, -ECANCELED, note_over, NULL);
    assert_int_equal(over.count, 2);
    assert_int_equal(over.status[1], -ECANCELED);
}

static void test_count_of_spliced_writes_runs_on_past_32_bits(void **state)
{
    (void)state;
    sender.splices_begun = sender.splices = sender.placed = UINT32_MAX - 1;
    for (uint64_t i = 0; i < 4; i++)
        post_write(i, BIG);
    run();
    assert_int_equal(over.count, 0);
    placed((uint64_t)UINT32_MAX + 1);
    assert_int_equal(over.count, 2);
    placed((uint64_t)UINT32_MAX + 3);
    assert_int_equal(over.count, 4);
}

/* ---- what the peer is told ------------------------------------------------------------------ */

static void test_several_writes_of_the_peer_are_told_at_once_and_beside_a_message(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++)
        tcp_sender_has_read(&sender);
    assert_true(tcp_sender_pending(&sender));
    expect_placed(5);
    post_send("credit");
    run();
    assert_int_equal(kernel.calls, 1);
    assert_wire();
    assert_false(tcp_sender_pending(&sender));
    tcp_sender_has_read(&sender);
    expect_placed(6);
    run();
    assert_wire();
}

static void test_telling_resumes_at_any_byte(void **state)
{
    (void)state;
    tcp_sender_has_read(&sender);
    expect_placed(1);
    for (unsigned i = 0; i < TCP_FRAME_BYTES / 2; i++) {
        answer(1);
        run_as_writable();
    }
    tcp_sender_has_read(&sender); /* amid a frame that says less */
    expect_placed(2);
    post_send("credit");
    while (tcp_sender_pending(&sender)) {
        kernel.answer_count = kernel.answer_next = 0;
        answer(1);
        run_as_writable();
    }
    assert_wire();
}

static void test_nothing_is_told_behind_the_last_frame(void **state)
{
    const struct tcp_frame bye = {.type = TCP_FRAME_BYE};

    (void)state;
    post_write(1, 500);
    answer(100);
    run();
    tcp_sender_has_read(&sender);
    expect_placed(1);
    assert_int_equal(tcp_sender_control(&sender, &bye, NULL), 0);
    expect(&bye, "");
    run_as_writable();
    assert_wire();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPLICING_TEST(test_header_says_that_more_follows_and_the_payload_goes_through_the_pipe),
        SPLICING_TEST(test_payload_below_the_limit_is_copied_and_not_waited_for),
        SPLICING_TEST(test_payload_larger_than_the_pipe_goes_in_several_fillings),
        SPLICING_TEST(test_frames_keep_their_order_over_short_counts_everywhere),
        SPLICING_TEST(test_what_lies_in_the_pipe_goes_before_anything_else),
        SPLICING_TEST(test_full_socket_at_the_pipe_loses_nothing),
        SPLICING_TEST(test_broken_connection_at_the_pipe_is_reported_with_its_error),
        SPLICING_TEST(test_without_a_pipe_payloads_are_copied_and_the_reason_is_kept),
        SPLICING_TEST(test_pipe_of_two_pages_is_not_worth_it),
        SPLICING_TEST(test_source_that_cannot_be_spliced_is_copied),
        SPLICING_TEST(test_socket_that_refuses_the_pipe_gets_its_content_as_a_copy),
        SPLICING_TEST(test_source_is_free_only_when_the_peer_has_read_it),
        SPLICING_TEST(test_peer_that_says_more_than_was_sent_or_goes_backwards_is_found_out),
        SPLICING_TEST(test_peer_that_is_done_frees_what_was_handed_over_and_no_more),
        SPLICING_TEST(test_count_of_spliced_writes_runs_on_past_32_bits),
        COPYING_TEST(test_several_writes_of_the_peer_are_told_at_once_and_beside_a_message),
        COPYING_TEST(test_telling_resumes_at_any_byte),
        COPYING_TEST(test_nothing_is_told_behind_the_last_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
