/*
 * Peers that break the rules, by seed: any control message in any state with any values, writes to
 * slots that are not theirs, batches that lie, links that come and go. The process survives, honest
 * peers of the same object get all that is theirs, and what is kept stays bounded.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulation/byhand.h"
#include "simulation/sim.h"
#include "simulation/tests.h"
#include "stream/batch.h"
#include "stream/publisher.h"
#include "stream/subscriber.h"

#define SEEDS    40
#define HOSTILES 2
#define STEPS    600

struct hostile {
    struct byhand *peer;
    const char *address;           /* to connect to; NULL: it listens */
    uint64_t sequence;             /* of the batch that is due */
    uint64_t link;                 /* id of the one that it speaks on */
    bool hello, granted, finished; /* said on it */
};

static uint64_t number(struct sim *sim, const struct hostile *h)
{
    static const uint64_t values[] = {
        0, 1, 2, 3, 7, 8, 15, 16, 17, 255, 4095, 65535, UINT32_MAX, UINT64_MAX, UINT64_MAX - 1};
    uint64_t at = sim_random(sim, 30);

    if (at < sizeof values / sizeof *values)
        return values[at];
    if (at < 28)
        return h->sequence + sim_random(sim, 3) - 1;
    return (sim_random(sim, UINT32_MAX) << 32) | sim_random(sim, UINT32_MAX);
}

static void say_anything(struct sim *sim, struct hostile *h)
{
    static const uint8_t bitmap[CONTROL_SLOTS / 8] = {0x55, 0xaa};
    struct control_message m = {.type = (enum control_type)(1 + sim_random(sim, CONTROL_LEAVE))};
    struct embar_buffer_info info;

    embar_buffer_info(h->peer->buffer, &info);
    switch (m.type) {
    case CONTROL_HELLO:
    case CONTROL_WELCOME:
        m.hello.version = sim_random(sim, 8) ? CONTROL_VERSION : (uint8_t)number(sim, h);
        m.hello.role = sim_random(sim, 8) ? (uint8_t)h->peer->role : (uint8_t)number(sim, h);
        m.hello.ack = (uint8_t)sim_random(sim, 4);
        m.hello.checksum = (uint8_t)sim_random(sim, 3);
        m.hello.instance = sim_random(sim, 3) ? h->peer->instance : 100 + sim_random(sim, 1000);
        m.hello.slot_bytes = sim_random(sim, 4) ? BYHAND_SLOT_BYTES : number(sim, h);
        m.hello.in_flight = (uint32_t)number(sim, h);
        snprintf(m.hello.stream, sizeof m.hello.stream, sim_random(sim, 8) ? "default" : "x");
        break;
    case CONTROL_REJECT:
        m.reject.code = (enum control_reject)(1 + sim_random(sim, 12));
        snprintf(m.reject.reason, sizeof m.reject.reason, "because");
        break;
    case CONTROL_GRANT:
        m.grant.key = (struct embar_key){number(sim, h), number(sim, h), info.size_bytes};
        m.grant.slots = 1 + (uint32_t)sim_random(sim, BYHAND_SLOTS);
        m.grant.slot_bytes = BYHAND_SLOT_BYTES;
        if (sim_random(sim, 4) == 0) {
            m.grant.key.size = number(sim, h);
            m.grant.slot_bytes = number(sim, h);
            m.grant.slots = (uint32_t)sim_random(sim, CONTROL_SLOTS);
        }
        m.grant.next_sequence = number(sim, h);
        m.grant.taken = bitmap;
        break;
    case CONTROL_START:
        m.start = (struct control_start){number(sim, h), number(sim, h)};
        break;
    case CONTROL_CREDIT:
        m.credit.placed_next = number(sim, h);
        m.credit.consumed_next = number(sim, h);
        m.credit.count = (uint16_t)sim_random(sim, 8);
        for (unsigned i = 0; i < m.credit.count; i++)
            m.credit.slots[i] = (uint16_t)number(sim, h);
        break;
    case CONTROL_GAP:
        m.gap = (struct control_gap){number(sim, h), number(sim, h), number(sim, h)};
        break;
    case CONTROL_FINISH:
    case CONTROL_FINISHED:
        m.totals = (struct control_totals){number(sim, h), number(sim, h), number(sim, h)};
        break;
    case CONTROL_LEAVE:
        break;
    }
    byhand_say(h->peer, &m);
}

static void say_noise(struct sim *sim, struct hostile *h)
{
    uint8_t noise[64];
    size_t len = 1 + (size_t)sim_random(sim, sizeof noise);

    for (size_t at = 0; at < len; at++)
        noise[at] = (uint8_t)sim_random(sim, at == 0 ? 12 : 256);
    if (h->peer->link)
        embar_send(h->peer->link, noise, len);
}

/* A batch that is wrong in one way, or a write to where there is no slot. */
static void write_anything(struct sim *sim, struct hostile *h)
{
    struct embar_key key = h->peer->last[CONTROL_GRANT].grant.key;
    uint32_t slot = (uint32_t)sim_random(sim, BYHAND_SLOTS);
    size_t offset = (size_t)slot * BYHAND_SLOT_BYTES;
    size_t len = 1 + (size_t)sim_random(sim, 300);
    struct batch_header header = {
        .session = sim_random(sim, 8) ? h->peer->instance : number(sim, h),
        .sequence = number(sim, h),
        .first_message = number(sim, h),
        .published_ns = number(sim, h),
        .messages = (uint32_t)number(sim, h),
        .payload_bytes = (uint32_t)len - 1,
        .checked = sim_random(sim, 4) != 0,
    };
    struct embar_buffer_info info;
    uint8_t *at;

    embar_buffer_info(h->peer->buffer, &info);
    at = (uint8_t *)info.addr + offset;
    for (size_t i = 0; i < len; i++)
        at[BATCH_HEADER_BYTES + i] = (uint8_t)number(sim, h);
    if (sim_random(sim, 8))
        batch_seal(at, &header);
    if (sim_random(sim, 4))
        len += BATCH_HEADER_BYTES - 1;
    if (sim_random(sim, 8) == 0)
        key.id++;
    if (sim_random(sim, 8) == 0)
        key.size = UINT64_MAX;
    byhand_write(h->peer, offset, len, &key, sim_random(sim, 4) ? offset : number(sim, h),
                 sim_random(sim, 4) ? slot : (uint32_t)number(sim, h));
}

static void behave_as_publisher(struct sim *sim, struct hostile *h)
{
    struct byhand *peer = h->peer;
    uint64_t placed = peer->last[CONTROL_CREDIT].credit.placed_next;

    if (!h->granted) {
        if (peer->heard[CONTROL_GRANT] == 0)
            return;
        h->sequence = peer->last[CONTROL_GRANT].grant.next_sequence;
        if (h->sequence == ANY_SEQUENCE)
            h->sequence = sim_random(sim, 4) ? 0 : number(sim, h);
        byhand_start(peer, h->sequence, h->sequence);
        peer->last[CONTROL_CREDIT].credit.placed_next = h->sequence;
        h->granted = true;
    } else if (h->sequence - placed < 8) {
        byhand_batch(peer, (uint32_t)(h->sequence % BYHAND_SLOTS), h->sequence, h->sequence);
        h->sequence++;
    }
}

static void behave_as_subscriber(struct sim *sim, struct hostile *h)
{
    struct byhand *peer = h->peer;

    if (!h->granted) {
        byhand_grant(peer, sim_random(sim, 4) ? ANY_SEQUENCE : peer->sequence);
        h->granted = true;
    } else if (peer->heard[CONTROL_FINISH] > 0 && !h->finished) {
        struct control_message finished = {.type = CONTROL_FINISHED,
                                           .totals = peer->last[CONTROL_FINISH].totals};

        byhand_say(peer, &finished);
        h->finished = true;
    } else if (h->sequence <= peer->sequence && peer->arrivals > 0) {
        h->sequence = peer->sequence + 1;
        byhand_credit(peer, h->sequence, h->sequence, (uint16_t)sim_random(sim, 2));
    }
}

/* What an honest peer would do next, so that later states are reached too. */
static void behave(struct sim *sim, struct hostile *h)
{
    struct byhand *peer = h->peer;

    if (!peer->link) {
        if (h->address)
            byhand_connect(peer, h->address);
        return;
    }
    if (!peer->up)
        return;
    if (h->link != embar_link_id(peer->link)) {
        h->link = embar_link_id(peer->link);
        h->hello = h->granted = h->finished = false;
        memset(peer->heard, 0, sizeof peer->heard);
        peer->arrivals = 0;
        h->sequence = 0;
    }
    if (!h->hello && (h->address || peer->heard[CONTROL_HELLO] > 0)) {
        byhand_hello(peer);
        h->hello = true;
    } else if (h->hello && (!h->address || peer->heard[CONTROL_WELCOME] > 0)) {
        if (peer->role == ROLE_PUBLISHER)
            behave_as_publisher(sim, h);
        else
            behave_as_subscriber(sim, h);
    }
}

static void misbehave(struct sim *sim, struct hostile *h)
{
    switch (sim_random(sim, 60)) {
    case 0:
        if (h->peer->link)
            embar_link_disconnect(h->peer->link);
        break;
    case 1:
        byhand_abort(h->peer);
        break;
    case 2:
    case 3:
        say_anything(sim, h);
        break;
    case 6:
        say_noise(sim, h);
        break;
    case 7:
    case 8:
        if (h->peer->role == ROLE_PUBLISHER)
            write_anything(sim, h);
        break;
    case 9:
        if (h->address && h->peer->link_count + 2 < BYHAND_LINKS)
            byhand_connect(h->peer, h->address); /* beside the one there is */
        break;
    default:
        behave(sim, h);
        break;
    }
    if (sim_random(sim, 3))
        byhand_poll(h->peer);
}

static void honest_step(struct sim *sim, unsigned pub, unsigned sub)
{
    for (uint64_t n = sim_random(sim, 5); n > 0; n--)
        sim_publish(sim, pub);
    embar_publisher_poll(sim->pub[pub], 0);
    sim_take(sim, sub);
    while (sim->sub[sub].held_count > 0 && sim_random(sim, 4))
        sim_release(sim, sub);
    embar_subscriber_poll(sim->sub[sub].s, 0);
    sim_sleep(sim, sim_random(sim, 300) * NS_PER_US);
}

/* Finishes with the hostile ones doing nothing more but being there. */
static int finish(struct sim *sim, unsigned pub, struct hostile *h)
{
    for (int step = 0; step < 20000; step++) {
        int rc = embar_publisher_finish(sim->pub[pub], 0);

        if (rc != -ETIMEDOUT)
            return rc;
        sim_step(sim);
        for (unsigned i = 0; i < HOSTILES; i++)
            byhand_poll(h[i].peer);
    }
    return -ETIMEDOUT;
}

static void check_bounds(const struct embar_subscriber *s)
{
    unsigned conns = 0, sessions = 0;

    for (const struct conn *conn = s->endpoint.conns; conn; conn = conn->next)
        conns++;
    for (const struct session *session = s->sessions; session; session = session->next)
        sessions++;
    assert_true(conns <= 2 * BYHAND_LINKS + 1);
    assert_true(sessions <= (unsigned)s->options.subscriber_max_links + SIM_HOLD);
}

static void attack_subscriber(uint64_t seed)
{
    struct sim sim;
    struct hostile h[HOSTILES];

    sim_init(&sim, seed);
    sim_subscriber(&sim, 0, seed % 2 ? "mem.reorder=true" : "mem.reorder=false",
                   "handshake_timeout=50ms", "reconnect_timeout=20ms", "subscriber.max_links=4",
                   NULL);
    sim_publisher(&sim, 0, NULL);
    sim_join(&sim, 0);
    sim.sub[0].trusted = sim.pub[0]->endpoint.instance;
    for (unsigned i = 0; i < HOSTILES; i++)
        h[i] = (struct hostile){.peer = byhand_open(ROLE_PUBLISHER, 77 + i, NULL),
                                .address = "127.0.0.1:9400"};
    for (int step = 0; step < STEPS; step++) {
        for (unsigned i = 0; i < HOSTILES; i++)
            misbehave(&sim, &h[i]);
        honest_step(&sim, 0, 0);
        check_bounds(sim.sub[0].s);
    }
    if (finish(&sim, 0, h) != 0)
        fail_msg("%s", embar_publisher_failure(sim.pub[0])->text);
    assert_int_equal(sim_pub_stats(&sim, 0).reconnects, 0);
    assert_int_equal(sim.sub[0].messages, sim.published[0]);
    assert_int_equal(sim.sub[0].from[0].missing, 0);
    /* What the others left behind goes away by itself. */
    for (unsigned i = 0; i < HOSTILES; i++)
        byhand_close(h[i].peer);
    for (int ms = 0; ms < 300; ms++) {
        sim_step(&sim);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_null(sim.sub[0].s->sessions);
    assert_null(sim.sub[0].s->endpoint.conns);
    sim_close(&sim);
}

static void attack_publisher(uint64_t seed)
{
    static const char *const doors[HOSTILES] = {"127.0.0.1:9501", "127.0.0.1:9502"};
    struct sim sim;
    struct hostile h[HOSTILES];
    bool listens = seed % 2;
    unsigned peers = 0;
    int rc;

    sim_init(&sim, seed);
    for (unsigned i = 0; i < HOSTILES; i++)
        h[i] = (struct hostile){.peer =
                                    byhand_open(ROLE_SUBSCRIBER, 77 + i, listens ? NULL : doors[i]),
                                .address = listens ? "127.0.0.1:9400" : NULL};
    if (!listens)
        sim_subscriber(&sim, 0, "subscriber.listen=127.0.0.1:9400", NULL);
    sim_publisher(&sim, 0,
                  listens ? "publisher.listen=127.0.0.1:9400"
                          : "publisher.connect=127.0.0.1:9400,127.0.0.1:9501,127.0.0.1:9502",
                  seed % 3 ? "slow_subscriber=evict" : "slow_subscriber=drop", "slow_timeout=30ms",
                  "handshake_timeout=50ms", "reconnect_timeout=20ms", NULL);
    if (listens)
        sim_subscriber(&sim, 0, "subscriber.connect=127.0.0.1:9400", NULL);
    sim_join(&sim, 0);
    for (int step = 0; step < STEPS; step++) {
        for (unsigned i = 0; i < HOSTILES; i++)
            misbehave(&sim, &h[i]);
        honest_step(&sim, 0, 0);
        peers = 0;
        for (const struct peer *peer = sim.pub[0]->peers; peer; peer = peer->next)
            peers++;
        assert_true(peers <= 1 + HOSTILES * (BYHAND_LINKS + 60 /* detached for 20 ms */));
    }
    for (unsigned i = 0; i < HOSTILES; i++)
        byhand_close(h[i].peer);
    h[0].peer = byhand_open(ROLE_SUBSCRIBER, 1, NULL); /* finish() polls them */
    h[1].peer = h[0].peer;
    rc = finish(&sim, 0, h);
    assert_true(rc == 0 || rc == -ENOTCONN || rc == -EBADMSG);
    assert_int_equal(sim.sub[0].messages + sim_sub_stats(&sim, 0).gaps, sim.published[0]);
    assert_int_equal(sim_sub_stats(&sim, 0).gaps, 0);
    for (uint32_t slot = 0; slot < sim.pub[0]->slots.slot_count; slot++)
        assert_int_equal(sim.pub[0]->sources[slot].writes, 0);
    assert_true(sim.pub[0]->slots.free_count + 1 >= sim.pub[0]->slots.slot_count);
    sim_close(&sim);
}

static uint64_t running; /* seed; 0: none */

static void run_seeds(void (*attack)(uint64_t seed))
{
    const char *only = getenv("EMBAR_TEST_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only ? first : SEEDS;

    for (running = first; running <= last; running++)
        attack(running);
    running = 0;
}

/* Run EMBAR_TEST_SEED=seed to see it again. */
static int tell_seed(void **state)
{
    (void)state;
    if (running)
        print_message("failed with seed %llu\n", (unsigned long long)running);
    return 0;
}

static void test_hostile_publishers_cost_an_honest_one_nothing(void **state)
{
    (void)state;
    run_seeds(attack_subscriber);
}

static void test_hostile_subscribers_cost_an_honest_one_nothing(void **state)
{
    (void)state;
    run_seeds(attack_publisher);
}

/* Only the version of its HELLO can be read: it is what the answer must be about. */
static void test_a_later_version_is_refused_as_such(void **state)
{
    struct sim sim;
    struct byhand *peer;
    uint8_t hello[] = {CONTROL_HELLO, CONTROL_VERSION + 1, 9, 9, 9};

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    peer = byhand_open(ROLE_PUBLISHER, 77, NULL);
    byhand_connect(peer, "127.0.0.1:9400");
    byhand_step(&sim, peer, 4);
    assert_int_equal(embar_send(peer->link, hello, sizeof hello), 0);
    byhand_step(&sim, peer, 4);
    assert_int_equal(peer->heard[CONTROL_REJECT], 1);
    assert_int_equal(peer->last[CONTROL_REJECT].reject.code, REJECT_VERSION);
    sim_close(&sim);
}

/* Sequences that would wrap are no sequences: the subscriber would have to count backwards. */
static void test_positions_near_the_end_of_the_range_are_refused(void **state)
{
    const struct control_message wrong[] = {
        {.type = CONTROL_START, .start = {UINT64_MAX, 0}},
        {.type = CONTROL_START, .start = {0, UINT64_MAX}},
        {.type = CONTROL_GAP, .gap = {0, UINT64_MAX, 1}},
        {.type = CONTROL_GAP, .gap = {0, 1, UINT64_MAX}},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct sim sim;
        struct byhand *peer;

        sim_init(&sim, 1);
        sim_subscriber(&sim, 0, NULL);
        peer = byhand_open(ROLE_PUBLISHER, 77, NULL);
        if (wrong[i].type == CONTROL_START) {
            byhand_connect(peer, "127.0.0.1:9400");
            byhand_step(&sim, peer, 4);
            byhand_hello(peer);
            byhand_step(&sim, peer, 4);
        } else {
            byhand_join(&sim, peer, 0);
        }
        byhand_say(peer, &wrong[i]);
        byhand_step(&sim, peer, 4);
        assert_int_equal(peer->heard[CONTROL_REJECT], 1);
        assert_int_equal(peer->last[CONTROL_REJECT].reject.code, REJECT_PROTOCOL);
        assert_int_equal(sim_sub_stats(&sim, 0).gaps, 0);
        sim_close(&sim);
    }
}

static void test_a_peer_that_does_not_read_its_rejection_is_not_waited_for(void **state)
{
    struct sim sim;
    struct byhand *peer;
    struct control_message leave = {.type = CONTROL_LEAVE};

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "handshake_timeout=100ms", NULL);
    peer = byhand_open(ROLE_PUBLISHER, 77, NULL);
    byhand_connect(peer, "127.0.0.1:9400");
    byhand_step(&sim, peer, 4);
    byhand_say(peer, &leave); /* where HELLO was due */
    for (int ms = 0; ms < 150; ms++) {
        sim_step(&sim);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_null(sim.sub[0].s->endpoint.conns);
    sim_close(&sim);
}

int run_hostile_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_later_version_is_refused_as_such),
        cmocka_unit_test(test_a_peer_that_does_not_read_its_rejection_is_not_waited_for),
        cmocka_unit_test(test_positions_near_the_end_of_the_range_are_refused),
        cmocka_unit_test_teardown(test_hostile_publishers_cost_an_honest_one_nothing, tell_seed),
        cmocka_unit_test_teardown(test_hostile_subscribers_cost_an_honest_one_nothing, tell_seed),
    };

    return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
