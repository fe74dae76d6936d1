/*
 * Receive credits: no schedule of two sides makes one send into a receive that is not posted, and
 * no schedule makes both wait for each other for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "rdma/credit.h"

static void test_rdma_credit_starts_with_all_that_the_peer_has_posted(void **state)
{
    struct rdma_credit c;

    (void)state;
    rdma_credit_init(&c, 16, 8);
    for (unsigned i = 0; i < 6; i++) {
        assert_true(rdma_credit_has(&c, RDMA_CREDIT_DATA));
        rdma_credit_take(&c);
    }
    assert_false(rdma_credit_has(&c, RDMA_CREDIT_DATA));
}

static void test_rdma_credit_keeps_one_for_a_return_and_one_for_the_goodbye(void **state)
{
    struct rdma_credit c;

    (void)state;
    rdma_credit_init(&c, 16, 8);
    while (rdma_credit_has(&c, RDMA_CREDIT_DATA))
        rdma_credit_take(&c);
    assert_true(rdma_credit_has(&c, RDMA_CREDIT_RETURN));
    rdma_credit_take(&c);
    assert_false(rdma_credit_has(&c, RDMA_CREDIT_RETURN));
    assert_true(rdma_credit_has(&c, RDMA_CREDIT_GOODBYE));
    rdma_credit_take(&c);
    assert_false(rdma_credit_has(&c, RDMA_CREDIT_GOODBYE));
}

static void test_rdma_credit_gives_back_each_receive_once(void **state)
{
    struct rdma_credit c;

    (void)state;
    rdma_credit_init(&c, 16, 16);
    for (unsigned i = 0; i < 7; i++)
        rdma_credit_reposted(&c);
    assert_false(rdma_credit_return_due(&c));
    rdma_credit_reposted(&c);
    assert_true(rdma_credit_return_due(&c));
    assert_int_equal(rdma_credit_give(&c), 8);
    assert_int_equal(rdma_credit_give(&c), 0);
}

static void test_rdma_credit_refuses_more_than_the_peer_has(void **state)
{
    struct rdma_credit c;

    (void)state;
    rdma_credit_init(&c, 16, 8);
    assert_int_equal(rdma_credit_got(&c, 1), -EPROTO);
    rdma_credit_take(&c);
    rdma_credit_take(&c);
    assert_int_equal(rdma_credit_got(&c, UINT16_MAX), -EPROTO);
    assert_int_equal(rdma_credit_got(&c, 3), -EPROTO);
    assert_int_equal(rdma_credit_got(&c, 2), 0);
    assert_int_equal(c.available, 8);
}

/* ---- two sides and the wire between them -------------------------------------------------- */

#define WIRE_MAX 64u

/* What travels: writes cannot carry credits, messages do. */
struct packet {
    uint16_t credits;
    bool is_data;
};

struct station {
    struct rdma_credit credit;
    uint32_t posted;  /* receives */
    uint32_t to_send; /* writes and messages that its application still has */
    uint32_t received;
    struct packet wire[WIRE_MAX]; /* towards this station */
    uint32_t head, tail;
};

static void transmit(struct station *from, struct station *to, bool is_data, bool carries)
{
    struct packet packet = {.is_data = is_data};

    rdma_credit_take(&from->credit);
    if (carries)
        packet.credits = rdma_credit_give(&from->credit);
    assert_true(to->head - to->tail < WIRE_MAX);
    to->wire[to->head++ % WIRE_MAX] = packet;
}

/* Takes what has arrived; returns whether there was something. */
static bool receive(struct station *at, struct station *peer)
{
    struct packet packet;

    if (at->head == at->tail)
        return false;
    packet = at->wire[at->tail++ % WIRE_MAX];
    assert_true(at->posted > 0); /* or it is receiver-not-ready */
    at->posted--;
    assert_int_equal(rdma_credit_got(&at->credit, packet.credits), 0);
    at->received += packet.is_data ? 1 : 0;
    at->posted++;
    rdma_credit_reposted(&at->credit);
    if (rdma_credit_return_due(&at->credit) && rdma_credit_has(&at->credit, RDMA_CREDIT_RETURN))
        transmit(at, peer, false, true);
    return true;
}

static bool produce(struct station *from, struct station *to, bool as_message)
{
    if (from->to_send == 0 || !rdma_credit_has(&from->credit, RDMA_CREDIT_DATA))
        return false;
    from->to_send--;
    transmit(from, to, true, as_message);
    return true;
}

static void converse(unsigned seed, uint32_t depth_a, uint32_t depth_b, unsigned messages_percent)
{
    struct station s[2] = {{.posted = depth_a, .to_send = 2000},
                           {.posted = depth_b, .to_send = 2000}};
    unsigned idle = 0;

    srand(seed);
    rdma_credit_init(&s[0].credit, depth_a, depth_b);
    rdma_credit_init(&s[1].credit, depth_b, depth_a);
    /* One side is often asleep, so that the other runs into the end of its credits. */
    while (s[0].received < 2000 || s[1].received < 2000) {
        struct station *at = &s[rand() % 8 < 1 + (int)(seed % 7)], *peer = at == s ? s + 1 : s;
        bool moved = rand() % 2 ? receive(at, peer)
                                : produce(at, peer, (unsigned)rand() % 100 < messages_percent);
        idle = moved ? 0 : idle + 1;
        if (idle > 10000)
            fail_msg("both sides wait for each other (seed %u, depths %u and %u)", seed, depth_a,
                     depth_b);
    }
}

static void test_rdma_credit_never_overruns_and_never_locks_up(void **state)
{
    static const uint32_t depths[] = {RDMA_RECEIVES_MIN, 9, 16, 31};

    (void)state;
    for (unsigned seed = 0; seed < 140; seed++) {
        uint32_t a = depths[seed % 4], b = depths[seed / 4 % 4];
        converse(seed, a, b, seed % 3 * 50); /* writes only, half and half, messages only */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rdma_credit_starts_with_all_that_the_peer_has_posted),
        cmocka_unit_test(test_rdma_credit_keeps_one_for_a_return_and_one_for_the_goodbye),
        cmocka_unit_test(test_rdma_credit_gives_back_each_receive_once),
        cmocka_unit_test(test_rdma_credit_refuses_more_than_the_peer_has),
        cmocka_unit_test(test_rdma_credit_never_overruns_and_never_locks_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
