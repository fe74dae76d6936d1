/*
 * Peers with a link that stop reading, leave while bytes are still out, or whose host dies. The
 * test's one thread.
 */
#include "tcp_raw_peer.h"

#include <sched.h>

#define SOURCE_BYTES (16u << 20)

/* Posts writes until the socket is full; returns how many. */
static unsigned fill(struct embar_link *link, struct embar_buffer *buffer, unsigned count)
{
    struct embar_write write = {.buffer = buffer, .len_bytes = 1 << 20, .key = {1, 0, 1 << 20}};

    for (unsigned i = 0; i < count; i++) {
        write.token = i;
        assert_int_equal(embar_write(link, &write), 0);
    }
    turn_for(50 * NS_PER_MS);
    return count;
}

static void start_filled(const char *mode, const char *timeout, int *fd, struct embar_link **link,
                         struct embar_buffer **buffer)
{
    const char *settings[] = {mode, timeout, "tcp.send_buffer=256KiB", "tcp.close_timeout=30s",
                              NULL};

    open_listener("127.0.0.1:0", settings);
    *fd = raw_join(link);
    assert_int_equal(embar_buffer_alloc(us.transport, SOURCE_BYTES, NULL, buffer, NULL), 0);
    fill(*link, *buffer, 40);
    assert_true(us.count[EMBAR_EVENT_WRITE_DONE] < 40);
}

static void stall_and_resume(const char *mode)
{
    struct embar_buffer *buffer;
    struct embar_link *link;
    size_t total = 40 * ((1u << 20) + TCP_FRAME_BYTES);
    char *sink = malloc(total);
    int fd;

    assert_non_null(sink);
    start_filled(mode, "tcp.user_timeout=200ms", &fd, &link, &buffer);
    turn_for(NS_PER_S); /* five times the time-out, and the peer's window is closed */
    assert_int_equal(us.count[EMBAR_EVENT_LINK_DOWN], 0);
    assert_int_equal(raw_read(fd, sink, total), total);
    until(us.count[EMBAR_EVENT_WRITE_DONE] == 40);
    assert_int_equal(us.last[EMBAR_EVENT_WRITE_DONE].status, 0);
    close(fd);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
    free(sink);
}

static void test_peer_that_stalls_and_resumes_loses_nothing_and_is_not_timed_out(void **state)
{
    (void)state;
    stall_and_resume("tcp.send_mode=copy");
    stall_and_resume("tcp.send_mode=zerocopy");
}

static void abort_filled(const char *mode)
{
    struct embar_buffer *buffer;
    struct embar_link *link;
    int fd;

    start_filled(mode, "tcp.user_timeout=10s", &fd, &link, &buffer);
    assert_int_equal(embar_link_abort(link), 0);
    until(us.count[EMBAR_EVENT_WRITE_DONE] == 40);
    assert_true(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(us.last[EMBAR_EVENT_WRITE_DONE].status, -ECANCELED);
    assert_int_equal(embar_link_close(link), 0);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
    close(fd);
}

static void test_abort_ends_every_write_at_once(void **state)
{
    (void)state;
    abort_filled("tcp.send_mode=copy");
    abort_filled("tcp.send_mode=zerocopy");
}

static void kill_filled(const char *mode)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct embar_buffer *buffer;
    struct embar_link *link;
    int fd;

    start_filled(mode, "tcp.user_timeout=10s", &fd, &link, &buffer);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ECONNRESET);
    assert_int_equal(us.count[EMBAR_EVENT_WRITE_DONE], 40);
    assert_int_equal(embar_link_close(link), 0);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

static void test_reset_by_the_peer_ends_every_write(void **state)
{
    (void)state;
    kill_filled("tcp.send_mode=copy");
    kill_filled("tcp.send_mode=zerocopy");
}

static void test_disconnect_gives_a_peer_that_does_not_read_up_after_the_close_timeout(void **state)
{
    const char *settings[] = {"tcp.send_mode=zerocopy", "tcp.close_timeout=200ms",
                              "tcp.send_buffer=256KiB", NULL};
    struct embar_buffer *buffer;
    struct embar_link *link;
    int fd;

    (void)state;
    open_listener("127.0.0.1:0", settings);
    fd = raw_join(&link);
    assert_int_equal(embar_buffer_alloc(us.transport, SOURCE_BYTES, NULL, &buffer, NULL), 0);
    fill(link, buffer, 40);
    assert_int_equal(embar_link_disconnect(link), 0);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ETIMEDOUT);
    assert_int_equal(us.count[EMBAR_EVENT_WRITE_DONE], 40);
    assert_int_equal(embar_link_close(link), 0);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
    close(fd);
}

static void test_disconnect_delivers_what_was_accepted_to_a_slow_peer(void **state)
{
    struct embar_buffer *buffer;
    struct embar_link *link;
    size_t total = 40 * ((1u << 20) + TCP_FRAME_BYTES) + TCP_FRAME_BYTES;
    char *sink = malloc(total + 1);
    int fd;

    (void)state;
    assert_non_null(sink);
    start_filled("tcp.send_mode=zerocopy", "tcp.user_timeout=10s", &fd, &link, &buffer);
    assert_int_equal(embar_link_disconnect(link), 0);
    turn_for(100 * NS_PER_MS);
    assert_int_equal(raw_read(fd, sink, total + 1),
                     total); /* the last frame is BYE, then the end */
    assert_int_equal(sink[total - TCP_FRAME_BYTES + 3], TCP_FRAME_BYE);
    shutdown(fd, SHUT_WR);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, 0);
    assert_int_equal(us.count[EMBAR_EVENT_WRITE_DONE], 40);
    assert_int_equal(us.last[EMBAR_EVENT_WRITE_DONE].status, 0);
    close(fd);
    assert_int_equal(embar_link_close(link), 0);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
    free(sink);
}

static void test_disconnect_is_patient_with_a_peer_that_takes_slowly(void **state)
{
    const char *settings[] = {"tcp.close_timeout=500ms", "tcp.send_buffer=256KiB", NULL};
    struct embar_buffer *buffer;
    struct embar_link *link;
    static char piece[16384];
    int fd, small = 65536;
    uint64_t begin;

    (void)state;
    open_listener("127.0.0.1:0", settings);
    fd = raw_join(&link);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    assert_int_equal(embar_buffer_alloc(us.transport, SOURCE_BYTES, NULL, &buffer, NULL), 0);
    fill(link, buffer, 1);
    assert_int_equal(embar_link_disconnect(link), 0);
    begin = now_ns();
    while (recv(fd, piece, sizeof(piece), MSG_DONTWAIT) != 0) {
        turn_for(50 * NS_PER_MS);
        assert_true(now_ns() - begin < BOUND_NS);
    }
    assert_true(now_ns() - begin > 2 * NS_PER_S);
    shutdown(fd, SHUT_WR);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, 0);
    close(fd);
    assert_int_equal(embar_link_close(link), 0);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

static void test_end_by_the_peer_while_pages_are_out_is_in_order(void **state)
{
    struct tcp_frame bye = {.type = TCP_FRAME_BYE};
    struct embar_buffer *buffer;
    struct embar_link *link;
    static char piece[65536];
    ssize_t n;
    int fd;

    (void)state;
    start_filled("tcp.send_mode=zerocopy", "tcp.user_timeout=10s", &fd, &link, &buffer);
    raw_frame(fd, &bye);
    shutdown(fd, SHUT_WR);
    while ((n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT)) != 0) {
        assert_true(n > 0 || errno == EAGAIN); /* the end will come, and no reset */
        turn(1);
    }
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, 0);
    assert_int_equal(us.count[EMBAR_EVENT_WRITE_DONE], 40);
    assert_int_equal(us.last[EMBAR_EVENT_WRITE_DONE].status, -ECANCELED);
    close(fd);
    assert_int_equal(embar_link_close(link), 0);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

/* The descriptor must be quiet while nothing can be done, or an event loop spins. */
static void test_blocked_link_does_not_keep_the_descriptor_readable(void **state)
{
    struct embar_buffer *buffer;
    struct embar_link *link;
    int fd;

    (void)state;
    start_filled("tcp.send_mode=zerocopy", "tcp.user_timeout=0", &fd, &link, &buffer);
    assert_true(sleeps_for(100));
    close(fd);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

static void test_socket_with_room_again_does_not_keep_the_descriptor_readable(void **state)
{
    size_t total = 40 * ((1u << 20) + TCP_FRAME_BYTES);
    char *sink = malloc(total);
    struct embar_buffer *buffer;
    struct embar_link *link;
    int fd;

    (void)state;
    assert_non_null(sink);
    start_filled("tcp.send_mode=copy", "tcp.user_timeout=0", &fd, &link, &buffer);
    assert_int_equal(raw_read(fd, sink, total), total);
    until(us.count[EMBAR_EVENT_WRITE_DONE] == 40);
    turn_for(20 * NS_PER_MS);
    assert_true(sleeps_for(50));
    close(fd);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
    free(sink);
}

static void test_ending_link_whose_peer_has_closed_does_not_spin(void **state)
{
    struct embar_buffer *buffer;
    struct embar_link *link;
    int fd;

    (void)state;
    start_filled("tcp.send_mode=copy", "tcp.user_timeout=0", &fd, &link, &buffer);
    assert_int_equal(embar_link_disconnect(link), 0);
    shutdown(fd, SHUT_WR); /* reads nothing, but keeps the connection */
    turn_for(50 * NS_PER_MS);
    assert_true(sleeps_for(100));
    turn(0);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_DOWN], 0);
    close(fd);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

/* ---- dead hosts --------------------------------------------------------------------------------
 */

/* In a network of its own, whose only wire is then cut. */
static void test_dead_host_ends_the_link_after_the_user_timeout(void **state)
{
    struct embar_buffer *buffer;
    struct embar_link *link;
    uint64_t begin;
    int fd;

    (void)state;
    if (unshare(CLONE_NEWNET) < 0)
        skip();
    set_loopback_up(true);
    start_filled("tcp.send_mode=zerocopy", "tcp.user_timeout=800ms", &fd, &link, &buffer);
    turn_for(100 * NS_PER_MS);
    set_loopback_up(false);
    begin = now_ns();
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ETIMEDOUT);
    assert_in_range(now_ns() - begin, 500 * NS_PER_MS, 10 * NS_PER_S);
    assert_int_equal(us.count[EMBAR_EVENT_WRITE_DONE], 40);
    assert_non_null(strstr(us.reason, "host"));
    close(fd);
    assert_int_equal(embar_link_close(link), 0);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer_that_stalls_and_resumes_loses_nothing_and_is_not_timed_out),
        cmocka_unit_test(test_abort_ends_every_write_at_once),
        cmocka_unit_test(test_reset_by_the_peer_ends_every_write),
        cmocka_unit_test(
            test_disconnect_gives_a_peer_that_does_not_read_up_after_the_close_timeout),
        cmocka_unit_test(test_disconnect_delivers_what_was_accepted_to_a_slow_peer),
        cmocka_unit_test(test_disconnect_is_patient_with_a_peer_that_takes_slowly),
        cmocka_unit_test(test_end_by_the_peer_while_pages_are_out_is_in_order),
        cmocka_unit_test(test_blocked_link_does_not_keep_the_descriptor_readable),
        cmocka_unit_test(test_socket_with_room_again_does_not_keep_the_descriptor_readable),
        cmocka_unit_test(test_ending_link_whose_peer_has_closed_does_not_spin),
        cmocka_unit_test(
            test_dead_host_ends_the_link_after_the_user_timeout), /* leaves this network */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
