/*
 * A lane that is away with its thread, seen from the thread that polls: who needs the lane waits
 * until its job is over, who does not need it does not wait, and what it brings back is reported in
 * order or, when the link has ended meanwhile, not at all. The peer is raw; the job is held up by a
 * gate just before recvmsg(2) or sendmsg(2). The test's thread polls.
 */
#include "unit/tcp_raw_peer.h"

#include <pthread.h>
#include <semaphore.h>

#include "tcp/tcp.h"

#define WRITE_BYTES (32u << 10) /* fits into the smallest of receive buffers */
#define HELD_MS     30

/* ---- the gate ------------------------------------------------------------------------------- */

static struct {
    struct tcp_sys sys;
    pthread_t owner; /* who polls: never held up */
    sem_t open;
    _Atomic bool shut, shut_send; /* the next such call of a lane's thread is held up */
    _Atomic bool inside;          /* it is */
    _Atomic bool left;            /* it was */
    pthread_t opener;
} gate;

/* Returns whether it was held up. */
static bool pass(_Atomic bool *is_shut)
{
    if (pthread_equal(pthread_self(), gate.owner) || !atomic_exchange(is_shut, false))
        return false;
    gate.inside = true;
    sem_wait(&gate.open);
    return true;
}

static void leave(bool was_held)
{
    if (!was_held)
        return;
    gate.left = true;
    gate.inside = false;
}

static ssize_t gated_recvmsg(void *user, int fd, struct msghdr *msg, int flags)
{
    bool held = pass(&gate.shut);
    ssize_t n = tcp_sys_kernel.recvmsg(user, fd, msg, flags);

    leave(held);
    return n;
}

static ssize_t gated_sendmsg(void *user, int fd, const struct msghdr *msg, int flags)
{
    bool held = pass(&gate.shut_send);
    ssize_t n = tcp_sys_kernel.sendmsg(user, fd, msg, flags);

    leave(held);
    return n;
}

static void *open_later(void *user)
{
    (void)user;
    usleep(HELD_MS * 1000);
    sem_post(&gate.open);
    return NULL;
}

/* ---- the link ------------------------------------------------------------------------------- */

static struct {
    int fd[2]; /* of the raw peer */
    struct embar_link *link;
    struct embar_buffer *buffer;
    struct embar_key key;
    struct tcp_link *tcp;
    uint32_t arrived[16];
    unsigned arrivals;
} it;

static const char *const settings[] = {"tcp.lanes=2",
                                       "tcp.lane_threads=yes",
                                       "tcp.lane_thread_limit=8KiB",
                                       "tcp.close_timeout=200ms",
                                       "tcp.send_mode=zerocopy",
                                       "tcp.zero_copy_send_limit=8KiB",
                                       NULL};

static int ask(uint32_t index)
{
    const struct tcp_frame frame = {
        .type = TCP_FRAME_REQUEST, .key = 7, .offset = UINT64_C(2) << 32 | index};
    int fd = raw_connect();

    raw_frame(fd, &frame);
    return fd;
}

static void read_accept(int fd)
{
    uint8_t header[TCP_FRAME_BYTES];

    assert_int_equal(raw_read(fd, header, sizeof(header)), sizeof(header));
}

static int open_link(void **state)
{
    const struct embar_buffer_options pages = {.hugepages = EMBAR_HUGEPAGES_NEVER, .numa_node = -1};

    (void)state;
    memset(&it, 0, sizeof(it));
    memset(&gate, 0, sizeof(gate));
    gate.sys = tcp_sys_kernel;
    gate.sys.recvmsg = gated_recvmsg;
    gate.sys.sendmsg = gated_sendmsg;
    gate.owner = pthread_self();
    sem_init(&gate.open, 0, 0);
    open_listener("127.0.0.1:0", settings);
    it.fd[0] = ask(0);
    await(EMBAR_EVENT_LINK_REQUEST);
    it.link = us.last[EMBAR_EVENT_LINK_REQUEST].link;
    assert_int_equal(embar_accept(it.link), 0);
    read_accept(it.fd[0]);
    it.fd[1] = ask(1);
    read_accept(it.fd[0]);
    await(EMBAR_EVENT_LINK_UP);
    it.tcp = link_private(it.link);
    for (unsigned i = 0; i < 2; i++) {
        it.tcp->lanes[i].rx.sys = &gate.sys;
        it.tcp->lanes[i].tx.sys = &gate.sys;
    }
    assert_int_equal(embar_buffer_alloc(us.transport, WRITE_BYTES, &pages, &it.buffer, NULL), 0);
    assert_int_equal(embar_buffer_expose(it.buffer, it.link, &it.key, NULL), 0);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    close_link(it.link);
    close(it.fd[0]);
    close(it.fd[1]);
    assert_int_equal(embar_buffer_free(it.buffer), 0);
    close_transport();
    sem_destroy(&gate.open);
    return 0;
}

/* Polls once, and sees arrivals. */
static void poll_once(void)
{
    struct embar_event events[16];
    int count = embar_poll(us.transport, events, 16);

    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        note(&events[i]);
        if (events[i].type == EMBAR_EVENT_ARRIVAL)
            it.arrived[it.arrivals++ % 16] = events[i].immediate;
    }
}

#define poll_until(condition)                                                                      \
    for (uint64_t bound_ = now_ns() + BOUND_NS; !(condition);) {                                   \
        assert_true(now_ns() < bound_);                                                            \
        poll_once();                                                                               \
    }

static void peer_begins_write(int lane, uint32_t immediate)
{
    const struct tcp_frame frame = {.type = TCP_FRAME_WRITE,
                                    .key = it.key.id,
                                    .immediate = immediate,
                                    .len_bytes = WRITE_BYTES};

    raw_frame(it.fd[lane], &frame);
}

static void peer_sends(int lane, size_t len)
{
    static const uint8_t bytes[WRITE_BYTES];

    raw_send(it.fd[lane], bytes, len);
}

/* Lane 1 is away, amid a write of the peer that has arrived as a whole, and held up. */
static void lane_goes_away(void)
{
    peer_begins_write(1, 41);
    peer_sends(1, WRITE_BYTES);
    gate.shut = true;
    poll_until(gate.inside);
    assert_true(it.tcp->lanes[1].away);
}

/* A lane is away and about to send from the pages of the buffer; two writes are queued on it.
 * Returns which. */
static int lane_goes_away_to_send(void)
{
    struct embar_write write = {
        .buffer = it.buffer, .len_bytes = WRITE_BYTES, .key = {.id = 1, .size = WRITE_BYTES}};
    int lane;

    gate.shut_send = true;
    assert_int_equal(embar_write(it.link, &write), 0);
    poll_until(gate.inside);
    lane = it.tcp->lanes[1].away;
    while (it.tcp->lanes[lane].outstanding_bytes < 2 * WRITE_BYTES)
        assert_int_equal(embar_write(it.link, &write), 0);
    assert_true(it.tcp->lanes[lane].away);
    return lane;
}

static void gate_opens_later(void)
{
    assert_int_equal(pthread_create(&gate.opener, NULL, open_later, NULL), 0);
}

/* The call that came before has waited for the lane. */
static void assert_lane_was_awaited(void)
{
    bool left = gate.left;

    pthread_join(gate.opener, NULL);
    assert_true(left);
}

/* ---- who waits ------------------------------------------------------------------------------ */

static void test_unexposing_waits_until_nothing_lands_any_more(void **state)
{
    (void)state;
    lane_goes_away();
    gate_opens_later();
    assert_int_equal(embar_buffer_unexpose(it.buffer), 0);
    assert_lane_was_awaited();
    poll_until(it.arrivals == 1); /* it was there before */
    assert_int_equal(us.count[EMBAR_EVENT_LINK_DOWN], 0);
}

static void test_an_abort_waits_and_drops_what_the_lane_received(void **state)
{
    (void)state;
    lane_goes_away();
    gate_opens_later();
    assert_int_equal(embar_link_abort(it.link), 0);
    assert_lane_was_awaited();
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(it.arrivals, 0);
}

static void test_an_orderly_end_waits_and_drops_what_the_lane_received(void **state)
{
    char bytes[TCP_FRAME_BYTES];

    (void)state;
    lane_goes_away();
    gate_opens_later();
    assert_int_equal(embar_link_disconnect(it.link), 0);
    assert_lane_was_awaited();
    for (int i = 0; i < 2; i++) { /* BYE on each lane, all the same */
        assert_int_equal(raw_read(it.fd[i], bytes, sizeof(bytes)), sizeof(bytes));
        shutdown(it.fd[i], SHUT_WR);
    }
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(us.last[EMBAR_EVENT_LINK_DOWN].status, 0);
    assert_int_equal(it.arrivals, 0);
}

static void test_a_rule_broken_on_another_lane_waits(void **state)
{
    const struct tcp_frame wrong = {.type = TCP_FRAME_ACCEPT};

    (void)state;
    lane_goes_away();
    raw_frame(it.fd[0], &wrong);
    gate_opens_later();
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1 || it.tcp->state != TCP_LINK_UP);
    assert_lane_was_awaited();
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(us.last[EMBAR_EVENT_LINK_DOWN].status, -EPROTO);
    assert_int_equal(it.arrivals, 0);
}

static void test_the_loss_of_another_lane_waits(void **state)
{
    (void)state;
    lane_goes_away();
    gate_opens_later();
    close(it.fd[0]);
    it.fd[0] = raw_socket(); /* for the teardown */
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_lane_was_awaited();
    assert_int_equal(us.last[EMBAR_EVENT_LINK_DOWN].status, -ECONNRESET);
    assert_int_equal(it.arrivals, 0);
}

static void test_who_goes_to_sleep_is_woken_by_the_lane(void **state)
{
    (void)state;
    lane_goes_away();
    gate_opens_later();
    assert_int_equal(embar_arm(us.transport), -EAGAIN);
    assert_lane_was_awaited();
    poll_until(it.arrivals == 1);
    assert_int_equal(it.arrived[0], 41);
    assert_true(sleeps_for(50));
}

static void test_an_abort_gives_no_source_back_that_a_lane_still_sends(void **state)
{
    (void)state;
    lane_goes_away_to_send();
    gate_opens_later();
    assert_int_equal(embar_link_abort(it.link), 0);
    assert_lane_was_awaited();
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(tcp_zerocopy_outstanding(&it.tcp->lanes[i].tx.zerocopy), 0);
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
}

static void test_a_loss_gives_no_source_back_that_a_lane_still_sends(void **state)
{
    int other = 1 - lane_goes_away_to_send();

    (void)state;
    gate_opens_later();
    close(it.fd[other]);
    it.fd[other] = raw_socket();
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_lane_was_awaited();
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(tcp_zerocopy_outstanding(&it.tcp->lanes[i].tx.zerocopy), 0);
}

static void test_a_broken_rule_cancels_nothing_that_a_lane_still_sends(void **state)
{
    const struct tcp_frame wrong = {.type = TCP_FRAME_ACCEPT};
    int lane = lane_goes_away_to_send();

    (void)state;
    gate_opens_later();
    raw_frame(it.fd[1 - lane], &wrong);
    poll_until(it.tcp->state != TCP_LINK_UP);
    assert_lane_was_awaited();
    assert_true(it.tcp->lanes[lane].tx.handed_bytes >= WRITE_BYTES);
    assert_true(
        (int32_t)(tcp_sender_end(&it.tcp->lanes[lane].tx) - it.tcp->lanes[lane].tx.current) >= 0);
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
}

/* ---- who does not --------------------------------------------------------------------------- */

static void test_a_lane_that_is_held_up_does_not_stall_the_others(void **state)
{
    (void)state;
    lane_goes_away();
    for (uint32_t i = 0; i < 4; i++) {
        peer_begins_write(0, i);
        peer_sends(0, WRITE_BYTES);
        poll_until(it.arrivals == i + 1);
        assert_int_equal(it.arrived[i], i);
    }
    assert_true(gate.inside);
    sem_post(&gate.open);
    poll_until(it.arrivals == 5);
    assert_int_equal(it.arrived[4], 41);
}

static void test_stats_and_writes_do_not_wait(void **state)
{
    struct embar_write write = {.buffer = it.buffer,
                                .len_bytes = WRITE_BYTES,
                                .key = {.id = 1, .size = WRITE_BYTES},
                                .token = 5};
    struct embar_link_stats stats;

    (void)state;
    lane_goes_away();
    for (int i = 0; i < 8; i++) /* on each of the lanes */
        assert_int_equal(embar_write(it.link, &write), 0);
    assert_int_equal(embar_send(it.link, "word", 4), 0);
    embar_link_stats(it.link, &stats);
    assert_int_equal(stats.lane_threads, 2);
    assert_true(stats.receive_calls > 0);
    assert_true(gate.inside);
    sem_post(&gate.open);
    poll_until(it.arrivals == 1);
}

/* ---- what comes back ------------------------------------------------------------------------ */

static void test_what_follows_a_write_is_reported_after_it(void **state)
{
    const struct tcp_frame bye = {.type = TCP_FRAME_BYE};

    (void)state;
    peer_begins_write(1, 41);
    peer_sends(1, WRITE_BYTES);
    peer_begins_write(1, 42);
    peer_sends(1, WRITE_BYTES);
    raw_frame(it.fd[1], &bye);
    gate.shut = true;
    poll_until(gate.inside);
    raw_frame(it.fd[0], &bye);
    poll_until(it.tcp->lanes[0].bye);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_DOWN], 0);
    sem_post(&gate.open);
    poll_until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(it.arrivals, 2);
    assert_int_equal(it.arrived[0], 41);
    assert_int_equal(it.arrived[1], 42);
    assert_int_equal(us.last[EMBAR_EVENT_LINK_DOWN].status, 0);
}

#define AWAY_TEST(function) cmocka_unit_test_setup_teardown(function, open_link, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AWAY_TEST(test_unexposing_waits_until_nothing_lands_any_more),
        AWAY_TEST(test_an_abort_waits_and_drops_what_the_lane_received),
        AWAY_TEST(test_an_orderly_end_waits_and_drops_what_the_lane_received),
        AWAY_TEST(test_a_rule_broken_on_another_lane_waits),
        AWAY_TEST(test_the_loss_of_another_lane_waits),
        AWAY_TEST(test_an_abort_gives_no_source_back_that_a_lane_still_sends),
        AWAY_TEST(test_a_loss_gives_no_source_back_that_a_lane_still_sends),
        AWAY_TEST(test_a_broken_rule_cancels_nothing_that_a_lane_still_sends),
        AWAY_TEST(test_who_goes_to_sleep_is_woken_by_the_lane),
        AWAY_TEST(test_a_lane_that_is_held_up_does_not_stall_the_others),
        AWAY_TEST(test_stats_and_writes_do_not_wait),
        AWAY_TEST(test_what_follows_a_write_is_reported_after_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
