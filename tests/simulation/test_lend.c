/* Batches that several subscribers read in the publisher's own buffer, over the mapped variant of
 * the in-memory backend. The simulation checks every batch once more when it is released: a slot
 * that was written to while somebody held its batch is found there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "simulation/in_place.h"
#include "simulation/tests.h"
#include "stream/publisher.h"
#include "stream/subscriber.h"
#include "support/backend_mem.h"

#define READERS 3

static const char *const addresses[] = {
    "subscriber.listen=127.0.0.1:9500", "subscriber.listen=127.0.0.1:9501",
    "subscriber.listen=127.0.0.1:9502", "subscriber.listen=127.0.0.1:9503"};

/* `count` subscribers, and a publisher that all have joined. */
static void open_readers(struct sim *sim, unsigned count, const char *setting, const char *more)
{
    char connect[100] = "publisher.connect=127.0.0.1:9500", minimum[40];

    backend_memmap_refuse(false);
    for (unsigned i = 0; i < count; i++) {
        sim_subscriber(sim, i, "transport=memmap,mem", addresses[i], "memmap.delay=3", NULL);
        if (i > 0)
            snprintf(connect + strlen(connect), sizeof connect - strlen(connect),
                     ",127.0.0.1:950%u", i);
    }
    snprintf(minimum, sizeof minimum, "publisher.min_subscribers=%u", count);
    sim_publisher(sim, 0, "transport=memmap,mem", connect, minimum, "memmap.delay=3",
                  "reconnect_timeout=3s", "slow_timeout=5ms", setting, more, NULL);
    for (int step = 0; step < 1000 && sim_pub_stats(sim, 0).peers_up < count; step++)
        sim_step(sim);
    assert_int_equal(sim_pub_stats(sim, 0).peers_up, count);
}

static struct embar_link *link_of(const struct sim *sim, unsigned reader)
{
    for (const struct peer *peer = sim->pub[0]->peers; peer; peer = peer->next)
        if (peer->state == PEER_UP && peer->instance == sim->sub[reader].s->endpoint.instance)
            return peer->conn->link;
    return NULL;
}

/* Closes a batch with a message or two in it. */
static void publish_batch(struct sim *sim)
{
    uint64_t batches = sim->pub[0]->next_seq;

    while (sim_publish(sim, 0) == -EAGAIN)
        sim_step(sim);
    embar_flush(sim->pub[0], EMBAR_SENT, 0);
    assert_true(sim->pub[0]->next_seq > batches);
}

static unsigned slots_pinned(const struct embar_publisher *p)
{
    unsigned count = 0;

    for (uint32_t slot = 0; slot < p->slots.slot_count; slot++)
        count += p->sources[slot].readers > 0;
    return count;
}

static void test_every_reader_has_the_same_bytes_and_they_are_the_publishers(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    open_readers(&sim, READERS, NULL, NULL);
    publish_batch(&sim);
    for (unsigned i = 0; i < READERS; i++) {
        while (sim_take(&sim, i) == 0)
            embar_publisher_poll(sim.pub[0], 0);
        assert_non_null(sim.sub[i].held[0]->lender);
        /* Another mapping of the same memory. */
        assert_memory_equal(sim.sub[i].held[0]->bytes,
                            sim.pub[0]->buffer.addr +
                                sim.pub[0]->ring[0].slot * sim.pub[0]->options.batch_size,
                            BATCH_HEADER_BYTES);
    }
    sim.pub[0]->buffer.addr[sim.pub[0]->ring[0].slot * sim.pub[0]->options.batch_size] ^= 1;
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(
            sim.sub[i].held[0]->bytes[0],
            sim.pub[0]->buffer.addr[sim.pub[0]->ring[0].slot * sim.pub[0]->options.batch_size]);
    assert_int_equal(sim.pub[0]->sources[sim.pub[0]->ring[0].slot].readers, READERS);
    assert_string_equal(sim_pub_stats(&sim, 0).send_mode, "lent");
    assert_non_null(strstr(sim_pub_stats(&sim, 0).send_mode_why, "3 have joined"));
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(slots_pinned(sim.pub[0]), 0);
    sim_close(&sim);
}

static void test_a_held_batch_keeps_its_slot_whatever_the_ack_level(void **state)
{
    static const char *const levels[] = {"ack=sent", "ack=placed", "ack=consumed"};

    (void)state;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        struct sim sim;

        sim_init(&sim, 1);
        open_readers(&sim, 2, levels[i], "batch.in_flight=4");
        publish_batch(&sim);
        while (sim_take(&sim, 1) == 0)
            embar_publisher_poll(sim.pub[0], 0);
        for (int n = 0; n < 300; n++) { /* as much as goes without its help */
            if (sim_publish(&sim, 0) < 0)
                sim_sleep(&sim, NS_PER_MS);
            embar_publisher_poll(sim.pub[0], 0);
            sim_take(&sim, 0);
            sim_release(&sim, 0);
        }
        assert_int_equal(sim_finish(&sim, 0), 0); /* which looks at the batch again */
        sim_close(&sim);
    }
}

static void test_what_a_lost_link_was_lent_stays_until_its_reader_lets_go(void **state)
{
    struct sim sim;
    uint32_t slot;

    (void)state;
    sim_init(&sim, 1);
    open_readers(&sim, 2, "slow_subscriber=drop", NULL);
    publish_batch(&sim);
    while (sim_take(&sim, 1) == 0)
        embar_publisher_poll(sim.pub[0], 0);
    slot = sim.pub[0]->ring[0].slot;
    backend_mem_cut(link_of(&sim, 1));
    for (int n = 0; n < 2000; n++) { /* it comes back, and what is new goes by it */
        sim_sleep(&sim, sim_publish(&sim, 0) < 0 ? NS_PER_MS : NS_PER_MS / 10);
        embar_publisher_poll(sim.pub[0], 0);
        embar_subscriber_poll(sim.sub[1].s, 0);
        sim_take(&sim, 0);
        while (sim.sub[0].held_count > 0)
            sim_release(&sim, 0);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).reconnects, 1);
    assert_non_null(sim.pub[0]->old_lendings);
    assert_true(sim.pub[0]->sources[slot].readers >= 1);
    assert_true(sim.pub[0]->oldest_seq > 100);
    sim_release(&sim, 1);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_null(sim.pub[0]->old_lendings);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(slots_pinned(sim.pub[0]), 0);
    sim_close(&sim);
}

static void test_a_publisher_may_close_before_its_readers_have_read(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    open_readers(&sim, 2, "ack=sent", NULL);
    for (int n = 0; n < 3; n++)
        publish_batch(&sim);
    for (int step = 0; step < 20; step++) {
        embar_publisher_poll(sim.pub[0], 0);
        sim_take(&sim, 0);
        sim_take(&sim, 1);
    }
    assert_int_equal(sim.sub[0].held_count, 3);
    sim_close_publisher(&sim, 0);
    for (int step = 0; step < 50; step++) {
        embar_subscriber_poll(sim.sub[0].s, 0);
        embar_subscriber_poll(sim.sub[1].s, 0);
    }
    assert_null(sim.sub[0].s->endpoint.conns);
    assert_non_null(sim.sub[0].s->lenders);
    while (sim.sub[0].held_count > 0)
        sim_release(&sim, 0);
    assert_null(sim.sub[0].s->lenders);
    sim_close(&sim); /* and subscriber 1 closes while it holds some */
}

/* Whoever never lets go pins half of the slots at most; the others go on by being copied to. */
static void test_readers_that_hold_on_pin_no_more_than_half_of_the_slots(void **state)
{
    struct sim sim;
    uint32_t half;

    (void)state;
    sim_init(&sim, 1);
    open_readers(&sim, READERS, "slow_subscriber=drop", "batch.in_flight=16");
    half = sim.pub[0]->slots.slot_count / 2;
    for (int n = 0; n < 3000; n++) {
        if (sim_publish(&sim, 0) < 0)
            sim_sleep(&sim, NS_PER_MS);
        embar_publisher_poll(sim.pub[0], 0);
        for (unsigned i = 0; i < READERS; i++)
            sim_take(&sim, i);
        if (n % 700 == 1 || n % 800 == 2) /* they hold different ones */
            sim_release(&sim, n % 2 ? 1 : 2);
        while (sim.sub[0].held_count > 0)
            sim_release(&sim, 0);
        assert_true(slots_pinned(sim.pub[0]) <= half);
        if (n % 500 == 499) {
            struct embar_link *link = link_of(&sim, n % 1000 > 500 ? 1 : 2);
            if (link)
                backend_mem_cut(link);
        }
    }
    assert_true(sim.published[0] > 1000);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, sim.published[0]);
    sim_close(&sim);
}

static void check_copied(enum mem_loans how, const char *why)
{
    struct sim sim;

    sim_init(&sim, 1);
    backend_mem_lend(how);
    open_readers(&sim, 2, NULL, NULL);
    for (int n = 0; n < 50; n++)
        publish_batch(&sim);
    assert_string_equal(sim_pub_stats(&sim, 0).send_mode, "copy");
    assert_non_null(strstr(sim_pub_stats(&sim, 0).send_mode_why, why));
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[1].messages, sim.published[0]);
    backend_mem_lend(MEM_LOANS_TAKEN);
    sim_close(&sim);
}

static void test_what_cannot_be_lent_is_copied_and_the_report_says_why(void **state)
{
    (void)state;
    check_copied(MEM_LOANS_REFUSED, "this memory cannot be lent");
    check_copied(MEM_LOANS_DECLINED, "could not map");
}

/* The link of a subscriber is cut, and it comes back. */
static void cut_one(struct sim *sim, unsigned reader)
{
    uint64_t came_back = sim_pub_stats(sim, 0).reconnects + 1;

    backend_mem_cut(link_of(sim, reader));
    for (int step = 0; step < 2000 && sim_pub_stats(sim, 0).reconnects < came_back; step++) {
        embar_publisher_poll(sim->pub[0], 0);
        embar_subscriber_poll(sim->sub[reader].s, 0);
        sim_sleep(sim, NS_PER_MS);
    }
    assert_int_equal(sim_pub_stats(sim, 0).reconnects, came_back);
}

/* Subscribers that come back again and again, and let go of nothing: each link takes a batch with
 * it until there are too many of them. */
static void test_links_that_are_over_are_remembered_up_to_a_bound(void **state)
{
    unsigned most = 0;
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    open_readers(&sim, 4, "slow_subscriber=drop", "buffer.size=256KiB");
    for (unsigned reader = 1; reader < 4; reader++)
        while (sim.sub[reader].held_count < SIM_HOLD) {
            unsigned held = sim.sub[reader].held_count;

            publish_batch(&sim);
            while (sim.sub[reader].held_count == held) {
                embar_publisher_poll(sim.pub[0], 0);
                for (unsigned i = 0; i < 4; i++) {
                    sim_take(&sim, i);
                    while ((i == 0 || i > reader) && sim.sub[i].held_count > 0)
                        sim_release(&sim, i);
                }
                sim_sleep(&sim, NS_PER_MS);
            }
            cut_one(&sim, reader);
            if (sim.pub[0]->old_lending_count > most)
                most = sim.pub[0]->old_lending_count;
        }
    assert_int_equal(most, 16);
    assert_null(sim.sub[3].held[SIM_HOLD - 1]->lender);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.pub[0]->old_lending_count, 0);
    assert_int_equal(slots_pinned(sim.pub[0]), 0);
    sim_close(&sim);
}

/* Publishers of two slots, or three, do not run dry. */
static void test_a_buffer_of_few_slots_is_not_lent_away(void **state)
{
    static const char *const sizes[] = {"buffer.size=8KiB", "buffer.size=16KiB",
                                        "buffer.size=12KiB"};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct sim sim;

        sim_init(&sim, 1);
        open_readers(&sim, 2, sizes[i], "batch.in_flight=2");
        for (int n = 0; n < 100; n++)
            publish_batch(&sim);
        assert_int_equal(sim_finish(&sim, 0), 0);
        assert_int_equal(sim.sub[1].messages, sim.published[0]);
        sim_close(&sim);
    }
}

enum disturbance { CUTS = 1, TRANSPORTS = 2 };

static uint64_t lent; /* batches, of all runs */

static void disturb(struct sim *sim, unsigned what)
{
    struct embar_link *link = link_of(sim, (unsigned)sim_random(sim, READERS));

    if ((what & CUTS) && link && sim_random(sim, 200) == 0)
        backend_mem_cut(link);
    if ((what & TRANSPORTS) && sim_random(sim, 200) == 0)
        backend_memmap_refuse(sim_random(sim, 2) == 0);
}

static void use(struct sim *sim, unsigned reader)
{
    switch (sim_random(sim, 9)) {
    case 0:
    case 1:
        for (uint64_t n = sim_random(sim, 30); n > 0 && sim_publish(sim, 0) == 0; n--)
            ;
        break;
    case 2:
        embar_publisher_poll(sim->pub[0], 0);
        break;
    case 3:
    case 4:
        for (unsigned i = 0; i < READERS; i++)
            lent += (unsigned)sim_take(sim, i) > 0 && sim->sub[i].held[0]->lender;
        break;
    case 5:
    case 6:
    case 7:
        sim_release(sim, reader);
        break;
    case 8:
        sim_sleep(sim, sim_random(sim, 3000) * NS_PER_US);
        break;
    }
}

static void run_lent(uint64_t seed, unsigned what, const char *ack, const char *policy)
{
    const uint64_t target = 1200;
    struct sim sim;
    bool keeps_all =
        strcmp(policy, "slow_subscriber=block") == 0 && (strcmp(ack, "ack=sent") != 0 || what == 0);
    int rc;

    sim_init(&sim, seed);
    open_readers(&sim, READERS, ack, policy);
    while (sim.published[0] < target) {
        use(&sim, (unsigned)sim_random(&sim, READERS));
        disturb(&sim, what);
        if (embar_publisher_failure(sim.pub[0])->error)
            fail_msg("seed %llu: %s", (unsigned long long)seed,
                     embar_publisher_failure(sim.pub[0])->text);
    }
    backend_memmap_refuse(false);
    rc = sim_finish(&sim, 0);
    if (rc != 0)
        fail_msg("seed %llu: finish gave %d: %s", (unsigned long long)seed, rc,
                 embar_publisher_failure(sim.pub[0])->text);
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(sim_sub_stats(&sim, i).checksum_errors, 0);
        assert_int_equal(sim.sub[i].messages + sim_sub_stats(&sim, i).gaps, sim.published[0]);
        if (keeps_all)
            assert_int_equal(sim_sub_stats(&sim, i).gaps, 0);
    }
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(slots_pinned(sim.pub[0]), 0);
    assert_int_equal(sim.pub[0]->slots.free_count, sim.pub[0]->slots.slot_count);
    sim_close(&sim);
}

static void test_every_schedule_delivers_what_was_lent_in_order_once(void **state)
{
    (void)state;
    lent = 0;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(40); seed++) {
        run_lent(seed, 0, "ack=consumed", "slow_subscriber=block");
        run_lent(seed, 0, "ack=sent", "slow_subscriber=block");
        run_lent(seed, 0, "ack=placed", "slow_subscriber=drop");
    }
    assert_true(lent > SIM_SEEDS(1000));
}

static void test_cut_links_change_nothing_under_a_reader(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SIM_SEEDS(60); seed++) {
        run_lent(seed, CUTS, "ack=consumed", "slow_subscriber=block");
        run_lent(seed, CUTS, "ack=placed", "slow_subscriber=block");
        run_lent(seed, CUTS, "ack=sent", "slow_subscriber=drop");
        run_lent(seed, CUTS | TRANSPORTS, "ack=consumed", "slow_subscriber=block");
    }
}

int run_lend_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_reader_has_the_same_bytes_and_they_are_the_publishers),
        cmocka_unit_test(test_a_held_batch_keeps_its_slot_whatever_the_ack_level),
        cmocka_unit_test(test_what_a_lost_link_was_lent_stays_until_its_reader_lets_go),
        cmocka_unit_test(test_a_publisher_may_close_before_its_readers_have_read),
        cmocka_unit_test(test_readers_that_hold_on_pin_no_more_than_half_of_the_slots),
        cmocka_unit_test(test_what_cannot_be_lent_is_copied_and_the_report_says_why),
        cmocka_unit_test(test_links_that_are_over_are_remembered_up_to_a_bound),
        cmocka_unit_test(test_a_buffer_of_few_slots_is_not_lent_away),
        cmocka_unit_test(test_every_schedule_delivers_what_was_lent_in_order_once),
        cmocka_unit_test(test_cut_links_change_nothing_under_a_reader),
    };

    return cmocka_run_group_tests_name("lend", tests, NULL, NULL);
}
