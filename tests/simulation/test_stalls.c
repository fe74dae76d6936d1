/* What counts as a stall (credit_stall_seconds): a subscriber has not given back what the next
 * batch takes, a credit or a slot; from when on, for whom, and until when. */
#include <errno.h>
#include <string.h>

#include "simulation/in_place.h"
#include "simulation/tests.h"
#include "stream/publisher.h"

static uint64_t stall_ns(const struct sim *sim)
{
    return sim_pub_stats(sim, 0).credit_stall_ns;
}

/* Publishes until nothing more is taken. From then on the publisher waits for room. */
static void fill(struct sim *sim)
{
    int rc;

    while ((rc = sim_publish(sim, 0)) == 0)
        ;
    assert_int_equal(rc, -EAGAIN);
}

/* Publishes and lets all of it be consumed, so that credits are known to flow. */
static void warm_up(struct sim *sim)
{
    assert_int_equal(sim_publish(sim, 0), 0);
    while (embar_flush(sim->pub[0], EMBAR_CONSUMED, 0) == -ETIMEDOUT)
        sim_step(sim);
}

/* The publisher goes on asking for room. */
static void ask_for(struct sim *sim, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        embar_publisher_poll(sim->pub[0], 0);
        assert_int_equal(sim_publish(sim, 0), -EAGAIN);
        sim_sleep(sim, NS_PER_MS);
    }
    embar_publisher_poll(sim->pub[0], 0);
}

static void test_waiting_for_a_credit_to_build_with_is_a_stall(void **state)
{
    struct sim sim;

    (void)state;
    join_in_place(&sim, "batch.in_flight=2"); /* of 16 slots */
    warm_up(&sim);
    fill(&sim);
    assert_int_equal(sim.pub[0]->peers->next_seq, sim.pub[0]->next_seq);
    assert_true(sim.pub[0]->slots.free_count > 0);
    ask_for(&sim, 8);
    assert_in_range(stall_ns(&sim), 7 * NS_PER_MS, 9 * NS_PER_MS);
    sim_close(&sim);
}

/* The first takes everything. The other takes nothing, and has credits: what lacks are the slots of
 * the batches that it has not consumed. */
static void test_waiting_for_a_slot_is_the_stall_of_who_holds_it(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "buffer.size=1MiB", NULL);
    sim_subscriber(&sim, 1, "buffer.size=1MiB", "subscriber.listen=127.0.0.1:9501", NULL);
    sim_publisher(&sim, 0, "publisher.connect=127.0.0.1:9400,127.0.0.1:9501", "batch.in_flight=16",
                  "publisher.min_subscribers=2", NULL);
    sim_join(&sim, 0);
    while (sim.pub[0]->slots.free_count > 0 || sim_publish(&sim, 0) == 0) {
        sim_publish(&sim, 0);
        sim_take(&sim, 0);
        while (sim.sub[0].held_count > 0)
            sim_release(&sim, 0);
        embar_subscriber_poll(sim.sub[0].s, 0);
    }
    for (const struct peer *peer = sim.pub[0]->peers; peer; peer = peer->next) {
        assert_int_equal(peer->next_seq, sim.pub[0]->next_seq);
        assert_true(peer->remote.free_count > 0);
    }
    ask_for(&sim, 100);
    assert_in_range(stall_ns(&sim), 99 * NS_PER_MS, 101 * NS_PER_MS); /* of one, not of two */
    sim_close(&sim);
}

/* After so long a stall the publisher goes on in slots of its own. While it fills one, nobody is
 * waited for, though the subscriber has given nothing back. */
static void end_by_going_on(bool polls)
{
    struct sim sim;
    uint64_t stalled;

    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "transport=memmap", NULL);
    sim_publisher(&sim, 0, "transport=memmap", "batch.in_flight=2", "batch.linger=1s", NULL);
    sim_join(&sim, 0);
    warm_up(&sim);
    fill(&sim);
    sim_sleep(&sim, 20 * NS_PER_MS);
    if (polls)
        while (embar_publisher_poll(sim.pub[0], 0) != 1)
            ;
    assert_int_equal(embar_publish(sim.pub[0], "one", 3), 0);
    assert_null(sim.pub[0]->in_place.peer);
    stalled = stall_ns(&sim);
    assert_in_range(stalled, 19 * NS_PER_MS, 21 * NS_PER_MS);
    sim_sleep(&sim, 50 * NS_PER_MS);
    assert_int_equal(embar_publish(sim.pub[0], "two", 3), 0); /* which looks at the clock */
    assert_int_equal(stall_ns(&sim), stalled);
    assert_int_equal(embar_publisher_poll(sim.pub[0], 0), 0); /* nobody waits for room any more */
    sim_sleep(&sim, 50 * NS_PER_MS);
    embar_publisher_poll(sim.pub[0], 0);
    assert_int_equal(stall_ns(&sim), stalled);
    sim_close(&sim);
}

static void test_a_stall_ends_when_the_next_batch_is_opened(void **state)
{
    (void)state;
    end_by_going_on(false);
    end_by_going_on(true);
}

static void test_opening_a_batch_does_not_end_the_stall_of_those_that_wait(void **state)
{
    struct sim sim;
    uint64_t stalled;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    sim_publisher(&sim, 0, "batch.in_flight=2", "batch.linger=1s", NULL);
    sim_join(&sim, 0);
    warm_up(&sim);
    fill(&sim);
    assert_true(sim.pub[0]->next_seq > sim.pub[0]->peers->next_seq);
    sim_sleep(&sim, 20 * NS_PER_MS);
    assert_int_equal(embar_publish(sim.pub[0], "one", 3), 0);
    stalled = stall_ns(&sim);
    sim_sleep(&sim, 50 * NS_PER_MS);
    assert_int_equal(embar_publish(sim.pub[0], "two", 3), 0);
    assert_true(stall_ns(&sim) >= stalled + 50 * NS_PER_MS);
    sim_close(&sim);
}

int run_stall_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiting_for_a_credit_to_build_with_is_a_stall),
        cmocka_unit_test(test_waiting_for_a_slot_is_the_stall_of_who_holds_it),
        cmocka_unit_test(test_a_stall_ends_when_the_next_batch_is_opened),
        cmocka_unit_test(test_opening_a_batch_does_not_end_the_stall_of_those_that_wait),
    };

    return cmocka_run_group_tests_name("stalls", tests, NULL, NULL);
}
