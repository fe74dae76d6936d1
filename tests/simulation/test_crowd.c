/*
 * Several publishers and several subscribers under schedules by seed: links are cut, batches
 * damaged, parties make no call for a while, subscribers leave and come again, policies act. In the
 * end every publisher must come to an end by itself, driven by nothing but the wake-ups that the
 * library asks for, and what every subscriber got must be right.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulation/sim.h"
#include "simulation/tests.h"
#include "stream/publisher.h"
#include "stream/subscriber.h"
#include "support/backend_mem.h"

#define SEEDS    100
#define MOST     3    /* publishers, and subscribers */
#define IDLE_MAX 3000 /* wake-ups in a row for nothing; what is delayed needs some */

struct party {
    uint64_t frozen_until_ns;
    unsigned idle_wakes;
    bool finished;
    int result; /* of finish */
    bool left;  /* it was closed in mid-stream at least once */
};

struct crowd {
    struct sim sim;
    uint64_t seed;
    unsigned publishers, subscribers;
    bool publishers_listen, gaps_allowed, losses_allowed;
    const char *ack, *policy, *reorder, *in_flight, *reconnect;
    struct party pub[MOST], sub[MOST];
    uint64_t target;
};

static uint64_t pick(struct crowd *c, uint64_t below)
{
    return sim_random(&c->sim, below);
}

static bool is_frozen(const struct party *party)
{
    return party->frozen_until_ns > sim_now_ns();
}

/* ---- opening ------------------------------------------------------------------------------- */

static void list_addresses(char *text, size_t size, const char *key, unsigned port, unsigned count)
{
    size_t used = (size_t)snprintf(text, size, "%s=", key);

    for (unsigned i = 0; i < count; i++)
        used +=
            (size_t)snprintf(text + used, size - used, "%s127.0.0.1:%u", i ? "," : "", port + i);
}

static void open_subscriber(struct crowd *c, unsigned i)
{
    char where[128];

    if (c->publishers_listen)
        list_addresses(where, sizeof where, "subscriber.connect", 9600, c->publishers);
    else
        snprintf(where, sizeof where, "subscriber.listen=127.0.0.1:%u", 9500 + i);
    memset(&c->sim.sub[i], 0, sizeof c->sim.sub[i]);
    sim_subscriber(&c->sim, i, where, c->reorder, "mem.delay=4", c->reconnect,
                   "handshake_timeout=100ms", NULL);
}

static void open_publisher(struct crowd *c, unsigned i)
{
    char where[128], wanted[64];

    if (c->publishers_listen)
        snprintf(where, sizeof where, "publisher.listen=127.0.0.1:%u", 9600 + i);
    else
        list_addresses(where, sizeof where, "publisher.connect", 9500, c->subscribers);
    snprintf(wanted, sizeof wanted, "publisher.min_subscribers=%u",
             c->losses_allowed ? 1 : c->subscribers);
    sim_publisher(&c->sim, i, where, wanted, c->ack, c->policy, c->reorder, c->in_flight,
                  c->reconnect, "mem.delay=4", "slow_timeout=3ms", "handshake_timeout=100ms", NULL);
}

static const char *choose(struct crowd *c, const char *const *of, unsigned count)
{
    return of[pick(c, count)];
}

static void open_crowd(struct crowd *c, uint64_t seed)
{
    static const char *const acks[] = {"ack=consumed", "ack=placed", "ack=sent"};
    static const char *const policies[] = {"slow_subscriber=block", "slow_subscriber=block",
                                           "slow_subscriber=drop", "slow_subscriber=evict"};
    static const char *const orders[] = {"mem.reorder=false", "mem.reorder=true"};
    static const char *const flights[] = {"batch.in_flight=1", "batch.in_flight=8",
                                          "batch.in_flight=16"};
    static const char *const returns[] = {"reconnect_timeout=30s", "reconnect_timeout=30s",
                                          "reconnect_timeout=150ms"};

    memset(c, 0, sizeof *c);
    c->seed = seed;
    sim_init(&c->sim, seed);
    c->publishers = 1 + (unsigned)pick(c, MOST);
    c->subscribers = 1 + (unsigned)pick(c, MOST);
    c->publishers_listen = pick(c, 2) == 0;
    c->ack = choose(c, acks, 3);
    c->policy = choose(c, policies, 4);
    c->reorder = choose(c, orders, 2);
    c->in_flight = choose(c, flights, 3);
    c->reconnect = choose(c, returns, 3);
    c->target = 150 + pick(c, 300);
    c->losses_allowed = strcmp(c->policy, "slow_subscriber=evict") == 0 ||
                        strcmp(c->reconnect, "reconnect_timeout=30s") != 0;
    c->gaps_allowed = c->losses_allowed || strcmp(c->policy, "slow_subscriber=block") != 0 ||
                      strcmp(c->ack, "ack=sent") == 0;
    if (c->publishers_listen)
        for (unsigned i = 0; i < c->publishers; i++)
            open_publisher(c, i);
    for (unsigned i = 0; i < c->subscribers; i++)
        open_subscriber(c, i);
    if (!c->publishers_listen)
        for (unsigned i = 0; i < c->publishers; i++)
            open_publisher(c, i);
    for (unsigned i = 0; i < c->publishers; i++)
        sim_join(&c->sim, i);
}

/* ---- what happens --------------------------------------------------------------------------- */

static struct embar_link *some_link(struct crowd *c)
{
    struct embar_publisher *p = c->sim.pub[pick(c, c->publishers)];
    struct embar_link *link = NULL;
    uint64_t seen = 0;

    for (const struct peer *peer = p->peers; peer; peer = peer->next)
        if (peer->state == PEER_UP && pick(c, ++seen) == 0)
            link = peer->conn->link;
    return link;
}

/* A subscriber goes, and another one takes its place. */
static void leave_and_join(struct crowd *c, unsigned i)
{
    if (!c->losses_allowed || !c->publishers_listen || c->subscribers == 1 || i == 0)
        return;
    sim_close_subscriber(&c->sim, i);
    for (unsigned n = 0; n < 20 * c->publishers; n++) /* nobody's link leads to what is gone */
        embar_publisher_poll(c->sim.pub[n % c->publishers], 0);
    open_subscriber(c, i);
    c->sub[i].left = true;
}

static void disturb(struct crowd *c)
{
    struct embar_link *link = some_link(c);

    switch (pick(c, 8)) {
    case 0:
    case 1:
    case 2:
        if (link)
            backend_mem_cut(link);
        break;
    case 3:
        if (link)
            backend_mem_corrupt_next(link, (size_t)pick(c, 4096));
        break;
    case 4:
    case 5:
        c->pub[pick(c, c->publishers)].frozen_until_ns = sim_now_ns() + pick(c, 400) * NS_PER_MS;
        break;
    case 6:
        c->sub[pick(c, c->subscribers)].frozen_until_ns = sim_now_ns() + pick(c, 400) * NS_PER_MS;
        break;
    default:
        leave_and_join(c, (unsigned)pick(c, c->subscribers));
        break;
    }
}

static void publish_some(struct crowd *c, unsigned i)
{
    if (is_frozen(&c->pub[i]))
        return;
    for (uint64_t n = pick(c, 20); n > 0 && c->sim.published[i] < c->target; n--) {
        int rc = sim_publish(&c->sim, i);

        if (rc == -EAGAIN)
            break;
        if (rc < 0) { /* it has failed, which is no surprise when losses are allowed */
            assert_true(c->losses_allowed);
            c->sim.published[i] = c->target;
        }
    }
    embar_publisher_poll(c->sim.pub[i], 0);
}

static bool all_published(const struct crowd *c)
{
    for (unsigned i = 0; i < c->publishers; i++)
        if (c->sim.published[i] < c->target)
            return false;
    return true;
}

static void act(struct crowd *c)
{
    unsigned sub = (unsigned)pick(c, c->subscribers);

    switch (pick(c, 8)) {
    case 0:
    case 1:
    case 2:
        publish_some(c, (unsigned)pick(c, c->publishers));
        break;
    case 3:
    case 4:
        if (!is_frozen(&c->sub[sub]))
            sim_take(&c->sim, sub);
        break;
    case 5:
    case 6:
        if (!is_frozen(&c->sub[sub]))
            sim_release(&c->sim, sub);
        break;
    default:
        sim_sleep(&c->sim, pick(c, 2000) * NS_PER_US);
        if (pick(c, 20) == 0)
            disturb(c);
        break;
    }
}

/* ---- the end, by wake-ups only --------------------------------------------------------------- */

static void count_wake(struct crowd *c, struct party *party, const char *role, unsigned i,
                       bool idle)
{
    party->idle_wakes = idle ? party->idle_wakes + 1 : 0;
    if (party->idle_wakes > IDLE_MAX)
        fail_msg("seed %llu: %s %u is woken for nothing", (unsigned long long)c->seed, role, i);
}

static bool drive_publisher(struct crowd *c, unsigned i)
{
    struct party *party = &c->pub[i];
    struct embar_publisher *p = c->sim.pub[i];

    if (party->finished || is_frozen(party) || embar_publisher_arm(p) == 0)
        return false;
    count_wake(c, party, "publisher", i, embar_publisher_poll(p, 0) == 0);
    party->result = embar_publisher_finish(p, 0);
    party->finished = party->result != -ETIMEDOUT;
    return true;
}

static bool drive_subscriber(struct crowd *c, unsigned i)
{
    struct party *party = &c->sub[i];
    bool worked = false;

    if (is_frozen(party))
        return false;
    while (c->sim.sub[i].held_count > 0 && pick(c, 3) == 0) {
        sim_release(&c->sim, i); /* and makes no other call */
        worked = true;
    }
    if (embar_subscriber_arm(c->sim.sub[i].s) == 0)
        return worked;
    if (sim_take(&c->sim, i) == 0)
        count_wake(c, party, "subscriber", i, embar_subscriber_poll(c->sim.sub[i].s, 0) == 0);
    return true;
}

static void finish_all(struct crowd *c)
{
    uint64_t end = sim_now_ns() + 120 * NS_PER_S;
    bool all = false;

    for (unsigned i = 0; i < c->publishers; i++) {
        c->pub[i].result = embar_publisher_finish(c->sim.pub[i], 0);
        c->pub[i].finished = c->pub[i].result != -ETIMEDOUT;
    }
    while (!all && sim_now_ns() < end) {
        bool worked = false;

        all = true;
        for (unsigned i = 0; i < c->publishers; i++) {
            worked |= drive_publisher(c, i);
            all = all && c->pub[i].finished;
        }
        for (unsigned i = 0; i < c->subscribers; i++)
            worked |= drive_subscriber(c, i);
        sim_sleep(&c->sim, worked ? 10 * NS_PER_US : NS_PER_MS);
        if (pick(c, 3000) == 0 && sim_now_ns() + 60 * NS_PER_S < end)
            disturb(c);
    }
    for (unsigned i = 0; i < c->publishers; i++)
        if (!c->pub[i].finished)
            fail_msg("seed %llu: publisher %u does not finish", (unsigned long long)c->seed, i);
    for (int step = 0; step < 200; step++)
        sim_step(&c->sim);
}

/* ---- what must hold ---------------------------------------------------------------------------
 */

static void check_subscriber(const struct crowd *c, unsigned i)
{
    const struct sim_sub *sub = &c->sim.sub[i];
    struct embar_stats stats = sim_sub_stats(&c->sim, i);
    uint64_t missing = 0, ends = 0;
    unsigned from;

    for (from = 0; from < SIM_PUBLISHERS && sub->from[from].id; from++) {
        missing += sub->from[from].missing;
        ends += sub->from[from].first + c->target - sub->from[from].next;
    }
    ends += (c->publishers - from) * c->target; /* of those that nothing came from */
    assert_true(stats.gaps >= missing);
    if (!c->gaps_allowed)
        assert_int_equal(stats.gaps, 0);
    if (c->losses_allowed)
        return;
    assert_int_equal(stats.gaps, missing + ends);
    assert_int_equal(sub->messages + stats.gaps, c->publishers * c->target);
    assert_int_equal(stats.peers_finished, c->publishers);
    assert_int_equal(stats.peers_lost, 0);
}

/* No slot is lost, whatever happened to the writes from it. */
static void check_publisher(const struct crowd *c, unsigned i)
{
    const struct embar_publisher *p = c->sim.pub[i];
    uint32_t open = p->slot_addr ? 1 : 0;

    for (uint32_t slot = 0; slot < p->slots.slot_count; slot++)
        assert_int_equal(p->sources[slot].writes, 0);
    if (p->failure.error == 0)
        assert_int_equal(p->slots.free_count + open, p->slots.slot_count);
    assert_true(p->failure.error || !p->peers);
}

static void run_crowd(uint64_t seed)
{
    struct crowd c;
    uint64_t told = 0, heard = 0; /* of gaps, by publishers and by subscribers */

    open_crowd(&c, seed);
    while (!all_published(&c))
        act(&c);
    finish_all(&c);
    for (unsigned i = 0; i < c.publishers; i++)
        if (!c.losses_allowed && c.pub[i].result != 0)
            fail_msg("seed %llu: finish gave %d: %s", (unsigned long long)seed, c.pub[i].result,
                     embar_publisher_failure(c.sim.pub[i])->text);
    for (unsigned i = 0; i < c.publishers; i++) {
        check_publisher(&c, i);
        told += sim_pub_stats(&c.sim, i).gaps;
    }
    for (unsigned i = 0; i < c.subscribers; i++) {
        check_subscriber(&c, i);
        heard += sim_sub_stats(&c.sim, i).gaps;
    }
    if (!c.losses_allowed)
        assert_int_equal(told, heard);
    sim_close(&c.sim);
}

static uint64_t running; /* seed; 0: none */

static void test_crowds_finish_by_themselves_and_lose_nothing_silently(void **state)
{
    const char *only = getenv("EMBAR_TEST_SEED");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1;
    uint64_t last = only ? first : SEEDS;

    (void)state;
    for (running = first; running <= last; running++)
        run_crowd(running);
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

int run_crowd_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_crowds_finish_by_themselves_and_lose_nothing_silently,
                                  tell_seed),
    };

    return cmocka_run_group_tests_name("crowd", tests, NULL, NULL);
}
