/*
 * Links of several lanes seen by a peer that is not ours: how many there are, who may join and who
 * may not, messages and BYE on the wrong lane, and a lane that is slow. The test's one thread.
 */
#include "tcp_raw_peer.h"

#include <stdalign.h>

#define ID 0x1234567890abcdefu

static unsigned dropped, carried[16]; /* from the log */

static void watch(enum embar_log_level level, const char *line, void *user)
{
    const char *at;
    unsigned lane;
    unsigned long sent;

    count_errors(level, line, user);
    dropped += level == EMBAR_LOG_WARN && strstr(line, "was dropped") != NULL;
    at = strstr(line, ": lane ");
    if (at != NULL && sscanf(at, ": lane %u of %*u sent %lu", &lane, &sent) == 2 && lane < 16)
        carried[lane] += sent > 0;
}

static void open_for_lanes(const char *const *settings)
{
    open_listener("127.0.0.1:0", settings);
    dropped = 0;
    memset(carried, 0, sizeof(carried));
    embar_log_set(EMBAR_LOG_DEBUG, watch, NULL);
}

static int ask(uint64_t id, uint32_t index, uint32_t count)
{
    const struct tcp_frame frame = {
        .type = TCP_FRAME_REQUEST, .key = id, .offset = (uint64_t)count << 32 | index};
    int fd = raw_connect();

    raw_frame(fd, &frame);
    return fd;
}

static uint64_t read_accept(int fd)
{
    uint8_t header[TCP_FRAME_BYTES];
    struct tcp_frame frame = {0};

    assert_int_equal(raw_read(fd, header, sizeof(header)), sizeof(header));
    assert_int_equal(tcp_frame_unpack(header, &frame, NULL), 0);
    assert_int_equal(frame.type, TCP_FRAME_ACCEPT);
    return frame.offset;
}

/* The first lane of a link, accepted by us; returns how many lanes are to join. */
static uint64_t ask_first(uint32_t count, int *fd, struct embar_link **link)
{
    unsigned requests = us.count[EMBAR_EVENT_LINK_REQUEST];

    *fd = ask(ID, 0, count);
    until(us.count[EMBAR_EVENT_LINK_REQUEST] > requests);
    *link = us.last[EMBAR_EVENT_LINK_REQUEST].link;
    assert_int_equal(embar_accept(*link), 0);
    return read_accept(*fd);
}

/* A link of three lanes that is up. */
static void join_three(int lanes[3], struct embar_link **link)
{
    unsigned ups = us.count[EMBAR_EVENT_LINK_UP];

    assert_int_equal(ask_first(3, &lanes[0], link), 3);
    lanes[2] = ask(ID, 2, 3); /* any order will do */
    turn_for(10 * NS_PER_MS);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_UP], ups);
    lanes[1] = ask(ID, 1, 3);
    assert_int_equal(read_accept(lanes[0]), 0);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_UP], ups + 1);
}

static void close_lanes(const int *lanes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(lanes[i]);
}

static const char *const three[] = {"tcp.lanes=3", "tcp.close_timeout=100ms", NULL};

/* ---- how many -------------------------------------------------------------------------------- */

static void test_a_link_has_as_many_lanes_as_the_side_that_wants_fewer(void **state)
{
    struct embar_link *link[3];
    struct embar_link_stats stats;
    int fd[3];

    (void)state;
    open_for_lanes(three);
    assert_int_equal(ask_first(1, &fd[0], &link[0]), 0);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_UP], 1);
    assert_int_equal(ask_first(2, &fd[1], &link[1]), 2);
    assert_int_equal(ask_first(16, &fd[2], &link[2]), 3);
    embar_link_stats(link[0], &stats);
    assert_int_equal(stats.lanes, 1);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_UP], 1); /* the others wait for their lanes */
    close_lanes(fd, 3);
    for (unsigned i = 0; i < 3; i++)
        close_link(link[i]);
    close_transport();
}

static void test_one_lane_is_enough_for_a_listener_that_wants_no_more(void **state)
{
    struct embar_link *link;
    int fd;

    (void)state;
    open_for_lanes(NULL);
    assert_int_equal(ask_first(4, &fd, &link), 0);
    assert_link_works(fd);
    close(fd);
    close_link(link);
    close_transport();
}

static void test_a_link_of_three_lanes_is_up_when_all_are_there(void **state)
{
    struct embar_link_stats stats;
    struct embar_link *link;
    int lanes[3];

    (void)state;
    open_for_lanes(three);
    join_three(lanes, &link);
    assert_link_works(lanes[0]);
    embar_link_stats(link, &stats);
    assert_int_equal(stats.lanes, 3);
    close_lanes(lanes, 3);
    close_link(link);
    close_transport();
}

static void test_lanes_that_do_not_come_end_the_link_after_the_handshake_timeout(void **state)
{
    const char *settings[] = {"tcp.lanes=3", "tcp.handshake_timeout=100ms", NULL};
    struct embar_link *link;
    int lanes[2];

    (void)state;
    open_for_lanes(settings);
    assert_int_equal(ask_first(3, &lanes[0], &link), 3);
    lanes[1] = ask(ID, 1, 3);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ETIMEDOUT);
    assert_non_null(strstr(us.reason, "3 lanes"));
    assert_true(raw_is_closed(lanes[0]));
    assert_true(raw_is_closed(lanes[1]));
    close_lanes(lanes, 2);
    close_link(link);
    close_transport();
}

/* ---- who may join ---------------------------------------------------------------------------- */

/* Asks for what it may not have while a link awaits its second and third lane: it is dropped with a
 * line in the log, and the link comes up as if nothing had been. */
static void intrude(uint64_t id, uint32_t index, uint32_t count)
{
    struct embar_link *link;
    int lanes[3], stranger;

    open_for_lanes(three);
    assert_int_equal(ask_first(3, &lanes[0], &link), 3);
    lanes[1] = ask(ID, 1, 3);
    turn_for(10 * NS_PER_MS);
    stranger = ask(id, index, count);
    assert_true(raw_is_closed(stranger));
    assert_int_equal(dropped, 1);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_REQUEST], 1);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_DOWN] + us.count[EMBAR_EVENT_LINK_UP], 0);
    lanes[2] = ask(ID, 2, 3);
    assert_int_equal(read_accept(lanes[0]), 0);
    assert_link_works(lanes[0]);
    close(stranger);
    close_lanes(lanes, 3);
    close_link(link);
    close_transport();
}

static void test_a_lane_with_another_links_number_is_dropped(void **state)
{
    (void)state;
    intrude(ID ^ 1, 2, 3);
}

static void test_a_lane_that_is_there_already_is_dropped(void **state)
{
    (void)state;
    intrude(ID, 1, 3);
}

static void test_a_lane_beyond_the_last_is_dropped(void **state)
{
    (void)state;
    intrude(ID, 3, 3);
    intrude(ID, UINT32_MAX, UINT32_MAX);
    intrude(ID, 15, 16);
}

static void test_a_lane_of_another_count_is_dropped(void **state)
{
    (void)state;
    intrude(ID, 2, 4);
    intrude(ID, 2, 17);
}

static void test_a_lane_that_comes_too_late_is_dropped(void **state)
{
    struct embar_link *link;
    int lanes[3], late;

    (void)state;
    open_for_lanes(three);
    join_three(lanes, &link);
    late = ask(ID, 2, 3);
    assert_true(raw_is_closed(late));
    assert_int_equal(dropped, 1);
    assert_link_works(lanes[0]);
    close(late);
    close_lanes(lanes, 3);
    close_link(link);
    close_transport();
}

static void test_a_lane_before_the_link_is_accepted_is_dropped(void **state)
{
    struct embar_link *link;
    int first, early;

    (void)state;
    open_for_lanes(three);
    first = ask(ID, 0, 3);
    link = await(EMBAR_EVENT_LINK_REQUEST)->link;
    early = ask(ID, 1, 3);
    assert_true(raw_is_closed(early));
    assert_int_equal(dropped, 1);
    assert_int_equal(embar_accept(link), 0);
    assert_int_equal(read_accept(first), 3);
    close(early);
    close(first);
    close_link(link);
    close_transport();
}

/* ---- the connecting end ---------------------------------------------------------------------- */

/* Connects to a raw listener, which reads the first REQUEST. */
static int read_request(const char *const *settings, int *listener, struct embar_link **link)
{
    char address[64];
    uint8_t asked[TCP_FRAME_BYTES];
    int fd;

    *listener = raw_listen(address, sizeof(address));
    open_transport(settings);
    assert_int_equal(embar_connect(us.transport, address, link, NULL), 0);
    fd = accept(*listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_int_equal(raw_read(fd, asked, sizeof(asked)), sizeof(asked));
    return fd;
}

/* The same, and answers it with an ACCEPT of so many lanes. */
static int answer(const char *const *settings, uint64_t lanes, int *listener,
                  struct embar_link **link)
{
    const struct tcp_frame frame = {.type = TCP_FRAME_ACCEPT, .offset = lanes};
    int fd = read_request(settings, listener, link);

    raw_frame(fd, &frame);
    return fd;
}

static void end_answer(int fd, int listener, struct embar_link *link)
{
    close(fd);
    close(listener);
    close_link(link);
    close_transport();
}

static void test_more_lanes_than_asked_for_are_refused(void **state)
{
    static const uint64_t lies[] = {1, 4, 17, UINT64_MAX};

    (void)state;
    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct embar_link *link;
        int listener, fd = answer(three, lies[i], &listener, &link);

        assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -EPROTO);
        assert_int_equal(us.count[EMBAR_EVENT_LINK_UP], 0);
        end_answer(fd, listener, link);
    }
}

static void test_lanes_whose_connections_are_dropped_end_the_link(void **state)
{
    struct embar_link *link;
    int listener, fd = answer(three, 2, &listener, &link);

    (void)state;
    turn_for(20 * NS_PER_MS); /* the second lane asks */
    close(accept(listener, NULL, NULL));
    assert_true(await(EMBAR_EVENT_LINK_DOWN)->status < 0);
    end_answer(fd, listener, link);
}

static void test_the_last_accept_must_not_come_before_every_lane_has_asked(void **state)
{
    const struct tcp_frame first = {.type = TCP_FRAME_ACCEPT, .offset = 2};
    const struct tcp_frame last = {.type = TCP_FRAME_ACCEPT};
    struct embar_link *link;
    int listener, fd = read_request(three, &listener, &link);
    uint8_t both[2 * TCP_FRAME_BYTES];

    (void)state;
    tcp_frame_pack(&first, both);
    tcp_frame_pack(&last, both + TCP_FRAME_BYTES);
    raw_send(fd, both, sizeof(both)); /* read at once: no lane can have asked between the two */
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -EPROTO);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_UP], 0);
    assert_non_null(strstr(us.reason, "before lane 1 had asked"));
    end_answer(fd, listener, link);
}

static void test_an_unanswered_lane_ends_in_the_connect_timeout(void **state)
{
    const char *settings[] = {"tcp.lanes=2", "tcp.connect_timeout=150ms", NULL};
    struct embar_link *link;
    int listener, fd = answer(settings, 2, &listener, &link);

    (void)state;
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ETIMEDOUT);
    assert_non_null(strstr(us.reason, "2 lanes"));
    end_answer(fd, listener, link);
}

/* ---- lanes at work --------------------------------------------------------------------------- */

static void test_a_message_on_another_lane_than_the_first_ends_the_link(void **state)
{
    const struct tcp_frame frame = {.type = TCP_FRAME_SEND, .len_bytes = 5};
    struct embar_link *link;
    char reason[256];
    int lanes[3];

    (void)state;
    open_for_lanes(three);
    join_three(lanes, &link);
    raw_frame(lanes[1], &frame);
    raw_send(lanes[1], "wrong", 5);
    for (unsigned i = 0; i < 3; i++) { /* told on each, whichever the peer reads first */
        assert_int_equal(raw_read_reason(lanes[i], reason).immediate, TCP_BYE_REFUSED);
        assert_non_null(strstr(reason, "SEND"));
    }
    close_lanes(lanes, 3);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -EPROTO);
    close_link(link);
    close_transport();
}

static void test_the_link_ends_when_bye_has_come_on_every_lane(void **state)
{
    const struct tcp_frame bye = {.type = TCP_FRAME_BYE};
    struct embar_link *link;
    int lanes[3];

    (void)state;
    open_for_lanes(three);
    join_three(lanes, &link);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(us.count[EMBAR_EVENT_LINK_DOWN], 0);
        raw_frame(lanes[i], &bye);
        shutdown(lanes[i], SHUT_WR);
        turn_for(20 * NS_PER_MS);
        assert_true(i == 2 || sleeps_for(20)); /* the end of one stream keeps nobody awake */
    }
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, 0);
    close_lanes(lanes, 3);
    close_link(link);
    close_transport();
}

static void test_a_write_before_bye_arrives_though_other_lanes_have_ended(void **state)
{
    const struct tcp_frame bye = {.type = TCP_FRAME_BYE};
    struct tcp_frame frame = {.type = TCP_FRAME_WRITE, .len_bytes = 4096};
    static const uint8_t payload[4096] = {7};
    struct embar_buffer *buffer;
    struct embar_link *link;
    struct embar_key key;
    int lanes[3];

    (void)state;
    open_for_lanes(three);
    join_three(lanes, &link);
    assert_int_equal(embar_buffer_alloc(us.transport, 4096, NULL, &buffer, NULL), 0);
    assert_int_equal(embar_buffer_expose(buffer, link, &key, NULL), 0);
    frame.key = key.id;
    raw_frame(lanes[0], &bye);
    raw_frame(lanes[1], &bye);
    turn_for(20 * NS_PER_MS);
    raw_frame(lanes[2], &frame);
    raw_send(lanes[2], payload, sizeof(payload));
    raw_frame(lanes[2], &bye);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, 0);
    assert_int_equal(us.count[EMBAR_EVENT_ARRIVAL], 1);
    close_lanes(lanes, 3);
    close_link(link);
    assert_int_equal(embar_buffer_free(buffer), 0);
    close_transport();
}

static void test_one_lost_lane_ends_the_link(void **state)
{
    const struct linger at_once = {.l_onoff = 1};
    struct embar_link *link;
    int lanes[3];

    (void)state;
    open_for_lanes(three);
    join_three(lanes, &link);
    setsockopt(lanes[2], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(lanes[2]);
    assert_int_equal(await(EMBAR_EVENT_LINK_DOWN)->status, -ECONNRESET);
    assert_true(raw_is_closed(lanes[0]));
    assert_true(raw_is_closed(lanes[1]));
    close_lanes(lanes, 2);
    close_link(link);
    close_transport();
}

#define SLOW_WRITE_BYTES (1u << 20)

/* Takes what a lane has to give, and counts it. */
static uint64_t drain(int fd)
{
    static uint8_t sink[1 << 20];
    uint64_t bytes = 0;
    ssize_t n;

    while ((n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT)) > 0)
        bytes += (uint64_t)n;
    return bytes;
}

static void test_a_slow_lane_gets_less_and_stalls_nobody(void **state)
{
    const char *settings[] = {"tcp.lanes=3", "tcp.send_mode=copy", "tcp.send_buffer=64KiB", NULL};
    struct embar_write write = {.len_bytes = SLOW_WRITE_BYTES, .key = {.size = SLOW_WRITE_BYTES}};
    uint64_t bytes[3] = {0};
    struct embar_link *link;
    unsigned posted = 0;
    int lanes[3];

    (void)state;
    open_for_lanes(settings);
    join_three(lanes, &link);
    assert_int_equal(embar_buffer_alloc(us.transport, SLOW_WRITE_BYTES, NULL, &write.buffer, NULL),
                     0);
    /* Lane 1 is not read at all; never more than six writes are in flight. */
    for (uint64_t bound = now_ns() + BOUND_NS; us.count[EMBAR_EVENT_WRITE_DONE] < 100;) {
        while (posted < us.count[EMBAR_EVENT_WRITE_DONE] + 6) {
            assert_int_equal(embar_write(link, &write), 0);
            posted++;
        }
        turn(1);
        bytes[0] += drain(lanes[0]);
        bytes[2] += drain(lanes[2]);
        assert_true(now_ns() < bound);
    }
    assert_true(bytes[0] > 40 * (uint64_t)SLOW_WRITE_BYTES);
    assert_true(bytes[2] > 40 * (uint64_t)SLOW_WRITE_BYTES);
    bytes[1] = drain(lanes[1]);
    assert_true(bytes[1] < 10 * (uint64_t)SLOW_WRITE_BYTES);
    close_lanes(lanes, 3);
    close_link(link);
    assert_int_equal(embar_buffer_free(write.buffer), 0);
    assert_int_equal(carried[0] + carried[1] + carried[2], 3); /* the log says what each carried */
    close_transport();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_link_has_as_many_lanes_as_the_side_that_wants_fewer),
        cmocka_unit_test(test_one_lane_is_enough_for_a_listener_that_wants_no_more),
        cmocka_unit_test(test_a_link_of_three_lanes_is_up_when_all_are_there),
        cmocka_unit_test(test_lanes_that_do_not_come_end_the_link_after_the_handshake_timeout),
        cmocka_unit_test(test_a_lane_with_another_links_number_is_dropped),
        cmocka_unit_test(test_a_lane_that_is_there_already_is_dropped),
        cmocka_unit_test(test_a_lane_beyond_the_last_is_dropped),
        cmocka_unit_test(test_a_lane_of_another_count_is_dropped),
        cmocka_unit_test(test_a_lane_that_comes_too_late_is_dropped),
        cmocka_unit_test(test_a_lane_before_the_link_is_accepted_is_dropped),
        cmocka_unit_test(test_more_lanes_than_asked_for_are_refused),
        cmocka_unit_test(test_lanes_whose_connections_are_dropped_end_the_link),
        cmocka_unit_test(test_the_last_accept_must_not_come_before_every_lane_has_asked),
        cmocka_unit_test(test_an_unanswered_lane_ends_in_the_connect_timeout),
        cmocka_unit_test(test_a_message_on_another_lane_than_the_first_ends_the_link),
        cmocka_unit_test(test_the_link_ends_when_bye_has_come_on_every_lane),
        cmocka_unit_test(test_a_write_before_bye_arrives_though_other_lanes_have_ended),
        cmocka_unit_test(test_one_lost_lane_ends_the_link),
        cmocka_unit_test(test_a_slow_lane_gets_less_and_stalls_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
