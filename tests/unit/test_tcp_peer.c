/*
 * Peers with a link that break the rules of the wire. The test's one thread.
 */
#include "tcp_raw_peer.h"

#include <stdalign.h>

/* A raw peer sends one bad frame to a link with an exposed buffer. The link ends with `status`, the
 * peer is told why, not a byte of the buffer changes, and another link does not notice. */
static void break_rule(struct tcp_frame frame, int status, bool right_key)
{
    static uint8_t payload[1 << 16] = {1, 2, 3};
    static alignas(4096) uint8_t memory[1 << 16];
    struct embar_link *good, *bad;
    struct embar_buffer *buffer;
    struct embar_key key;
    char reason[256];
    const char *settings[] = {"tcp.close_timeout=100ms", NULL};
    int friend, liar;

    open_listener("127.0.0.1:0", settings);
    friend = raw_join(&good);
    liar = raw_join(&bad);
    assert_int_equal(embar_buffer_adopt(us.transport, memory, sizeof(memory), 0, &buffer, NULL), 0);
    assert_int_equal(embar_buffer_expose(buffer, bad, &key, NULL), 0);
    if (right_key)
        frame.key = key.id;
    raw_frame(liar, &frame);
    raw_send(liar, payload, sizeof(payload));
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->link == bad, true);
    assert_int_equal(us.last[EMBAR_EVENT_LINK_DOWN].status, status);
    assert_int_equal(raw_read_reason(liar, reason).immediate, TCP_BYE_REFUSED);
    assert_non_null(strstr(us.reason, reason));
    for (size_t i = 0; i < sizeof(memory); i++)
        assert_int_equal(memory[i], 0);
    assert_int_equal(us.count[EMBAR_EVENT_ARRIVAL], 0);
    assert_link_works(friend);
    close(friend);
    close(liar);
    close_link(good);
    close_link(bad);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

static void test_write_out_of_bounds_ends_the_link_of_the_liar_only(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .offset = 1, .len_bytes = 1 << 16};

    (void)state;
    break_rule(frame, -EACCES, true);
}

static void test_write_with_overflowing_offset_ends_the_link(void **state)
{
    struct tcp_frame frame = {
        .type = TCP_FRAME_WRITE, .offset = UINT64_MAX - 100, .len_bytes = 1 << 16};

    (void)state;
    break_rule(frame, -EACCES, true);
}

static void test_write_with_a_guessed_key_ends_the_link(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .key = 12345, .len_bytes = 1 << 16};

    (void)state;
    break_rule(frame, -EACCES, false);
}

static void test_message_longer_than_the_limit_ends_the_link(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_SEND, .len_bytes = TCP_MAX_SEND_BYTES + 1};

    (void)state;
    break_rule(frame, -EPROTO, false);
}

static void test_second_request_on_a_link_ends_it(void **state)
{
    (void)state;
    break_rule(request, -EPROTO, false);
}

static void test_write_after_the_exposure_ended_ends_the_link(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .len_bytes = 4096};
    static const uint8_t payload[4096] = {9};
    struct embar_link *link;
    struct embar_buffer *buffer;
    struct embar_key key;
    int fd;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    fd = raw_join(&link);
    assert_int_equal(embar_buffer_alloc(us.transport, 4096, NULL, &buffer, NULL), 0);
    assert_int_equal(embar_buffer_expose(buffer, link, &key, NULL), 0);
    frame.key = key.id;
    raw_frame(fd, &frame);
    raw_send(fd, payload, 4096);
    assert_int_equal(await(EMBAR_EVENT_ARRIVAL)->len_bytes, 4096);
    assert_int_equal(embar_buffer_unexpose(buffer), 0);
    raw_frame(fd, &frame);
    raw_send(fd, payload, 4096);
    shutdown(fd, SHUT_WR);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -EACCES);
    assert_int_equal(us.count[EMBAR_EVENT_ARRIVAL], 1);
    close(fd);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

static void test_write_under_way_when_the_exposure_ends_ends_the_link_at_once(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .len_bytes = 4096};
    static const uint8_t payload[4096] = {9};
    struct embar_link *link;
    struct embar_buffer *buffer;
    struct embar_key key;
    int fd;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    fd = raw_join(&link);
    assert_int_equal(embar_buffer_alloc(us.transport, 4096, NULL, &buffer, NULL), 0);
    assert_int_equal(embar_buffer_expose(buffer, link, &key, NULL), 0);
    frame.key = key.id;
    raw_frame(fd, &frame);
    raw_send(fd, payload, 1000);
    turn_for(20 * NS_PER_MS);
    assert_int_equal(embar_buffer_unexpose(buffer), 0);
    assert_int_equal(embar_arm(us.transport), -EAGAIN);
    turn_for(20 * NS_PER_MS);
    shutdown(fd, SHUT_WR); /* after our BYE; the verdict is settled */
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -EACCES);
    close(fd);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

static void test_what_comes_after_our_disconnect_cannot_spoil_it(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .key = 1, .len_bytes = 4096};
    static const uint8_t payload[4096] = {9};
    struct embar_link *link;
    int fd;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    fd = raw_join(&link);
    assert_int_equal(embar_link_disconnect(link), 0);
    raw_frame(fd, &frame);
    raw_send(fd, payload, 4096);
    shutdown(fd, SHUT_WR);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, 0);
    close(fd);
    close_link(link);
    close_transport();
}

static void test_arming_is_refused_while_a_frame_waits_to_be_sent(void **state)
{
    struct embar_link *link;
    int fd;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    fd = raw_join(&link);
    turn_for(20 * NS_PER_MS);
    assert_int_equal(embar_send(link, "x", 1), 0);
    assert_int_equal(embar_arm(us.transport), -EAGAIN);
    turn(0);
    assert_int_equal(embar_arm(us.transport), 0);
    close(fd);
    close_link(link);
    close_transport();
}

static void test_connection_cut_amid_a_frame_is_a_broken_link(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_SEND, .len_bytes = 100};
    struct embar_link *link;
    int fd;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    fd = raw_join(&link);
    raw_frame(fd, &frame);
    close(fd);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ECONNRESET);
    assert_int_equal(us.count[EMBAR_EVENT_MESSAGE], 0);
    close_link(link);
    close_transport();
}

/* A small write lies in the socket still when the application ends the link over it
 * (docs/decisions/026-acknowledged-later.md). To the peer that is an end in order, with BYE and
 * without a reset. */
static void test_end_in_reaction_to_a_write_is_no_reset(void **state)
{
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .len_bytes = 4};
    static alignas(4096) uint8_t memory[4096];
    struct embar_buffer *buffer;
    struct embar_link *link;
    struct embar_key key;
    char reason[256], more;
    int fd, unread = 0;

    (void)state;
    open_listener("127.0.0.1:0", NULL);
    fd = raw_join(&link);
    assert_int_equal(embar_buffer_adopt(us.transport, memory, sizeof(memory), 0, &buffer, NULL), 0);
    assert_int_equal(embar_buffer_expose(buffer, link, &key, NULL), 0);
    frame.key = key.id;
    for (unsigned i = 1; unread == 0; i++) { /* the first ones are taken out at once */
        uint8_t bytes[TCP_FRAME_BYTES + 4] = {0};
        struct embar_event events[4];

        assert_in_range(i, 1, 10);
        tcp_frame_pack(&frame, bytes);
        raw_send(fd, bytes, sizeof(bytes));
        while (us.count[EMBAR_EVENT_ARRIVAL] < i) {
            int count = embar_poll(us.transport, events, 4);

            for (int e = 0; e < count; e++)
                note(&events[e]);
        }
        /* Something lies there that was handled: this side must not sleep. */
        unread = embar_arm(us.transport) == -EAGAIN;
    }
    assert_int_equal(embar_link_disconnect(link), 0);
    assert_int_equal(raw_read_reason(fd, reason).type, TCP_FRAME_BYE);
    while (recv(fd, &more, 1, MSG_DONTWAIT) < 0) {
        assert_int_equal(errno, EAGAIN); /* and not ECONNRESET */
        turn(1);
    }
    close(fd);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, 0);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_out_of_bounds_ends_the_link_of_the_liar_only),
        cmocka_unit_test(test_write_with_overflowing_offset_ends_the_link),
        cmocka_unit_test(test_write_with_a_guessed_key_ends_the_link),
        cmocka_unit_test(test_message_longer_than_the_limit_ends_the_link),
        cmocka_unit_test(test_second_request_on_a_link_ends_it),
        cmocka_unit_test(test_write_after_the_exposure_ended_ends_the_link),
        cmocka_unit_test(test_write_under_way_when_the_exposure_ends_ends_the_link_at_once),
        cmocka_unit_test(test_what_comes_after_our_disconnect_cannot_spoil_it),
        cmocka_unit_test(test_arming_is_refused_while_a_frame_waits_to_be_sent),
        cmocka_unit_test(test_connection_cut_amid_a_frame_is_a_broken_link),
        cmocka_unit_test(test_end_in_reaction_to_a_write_is_no_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
