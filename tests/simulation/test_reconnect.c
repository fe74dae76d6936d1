/* Links that are lost at a bad moment, peers that notice it at different times, and what is kept of
 * those that do not come back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "simulation/byhand.h"
#include "simulation/sim.h"
#include "simulation/tests.h"
#include "stream/publisher.h"
#include "stream/subscriber.h"
#include "support/backend_mem.h"

static void only_subscriber(struct sim *sim, unsigned i, uint64_t ms)
{
    for (uint64_t n = 0; n < ms; n++) {
        sim_take(sim, i);
        while (sim->sub[i].held_count > 0)
            sim_release(sim, i);
        embar_subscriber_poll(sim->sub[i].s, 0);
        sim_sleep(sim, NS_PER_MS);
    }
}

static void only_publisher(struct sim *sim, unsigned i, uint64_t ms)
{
    for (uint64_t n = 0; n < ms; n++) {
        embar_publisher_poll(sim->pub[i], 0);
        sim_sleep(sim, NS_PER_MS);
    }
}

static void test_a_publisher_that_makes_no_call_during_the_handshake_joins_later(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "handshake_timeout=100ms", NULL);
    sim_publisher(&sim, 0, NULL);
    for (int step = 0; step < 2; step++) { /* until HELLO is on its way */
        embar_publisher_poll(sim.pub[0], 0);
        embar_subscriber_poll(sim.sub[0].s, 0);
    }
    only_subscriber(&sim, 0, 500);
    sim_join(&sim, 0);
    assert_int_equal(sim_publish(&sim, 0), 0);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 1);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_lost, 0);
    sim_close(&sim);
}

static void test_a_subscriber_that_makes_no_call_during_the_handshake_joins_later(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", "handshake_timeout=100ms", NULL);
    sim_subscriber(&sim, 0, "subscriber.connect=127.0.0.1:9400", NULL);
    for (int step = 0; step < 2; step++) { /* until HELLO is on its way */
        embar_subscriber_poll(sim.sub[0].s, 0);
        embar_publisher_poll(sim.pub[0], 0);
    }
    only_publisher(&sim, 0, 500);
    for (int ms = 0; ms < 200; ms++) {
        sim_step(&sim);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).peers_up, 1);
    assert_int_equal(embar_subscriber_failure(sim.sub[0].s)->error, 0);
    sim_close(&sim);
}

/* Joining is more than the handshake: connect_timeout holds until the buffer is granted. */
static void test_a_subscriber_that_never_grants_is_given_up_after_connect_timeout(void **state)
{
    struct sim sim;
    struct byhand *door;
    unsigned served = 0;

    (void)state;
    sim_init(&sim, 1);
    door = byhand_open(ROLE_SUBSCRIBER, 77, "127.0.0.1:9500");
    sim_publisher(&sim, 0, "publisher.connect=127.0.0.1:9500", "handshake_timeout=100ms",
                  "connect_timeout=1s", NULL);
    for (int ms = 0; ms < 3000; ms++) {
        sim_step(&sim);
        byhand_poll(door);
        if (door->link && door->heard[CONTROL_HELLO] > served) {
            served = door->heard[CONTROL_HELLO];
            byhand_hello(door);
        }
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_true(served >= 2);
    assert_true(served <= 10);
    assert_non_null(strstr(embar_publisher_failure(sim.pub[0])->text, "within connect_timeout"));
    assert_non_null(strstr(embar_publisher_failure(sim.pub[0])->text, "no GRANT"));
    sim_close(&sim);
}

static void test_a_link_that_is_over_before_its_hello_is_read_ends_no_session(void **state)
{
    struct sim sim;
    struct byhand *peer;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    peer = byhand_open(ROLE_PUBLISHER, 77, NULL);
    byhand_join(&sim, peer, 0);
    byhand_batch(peer, 0, 0, 0);
    byhand_step(&sim, peer, 20);
    assert_int_equal(sim.sub[0].messages, 1);
    byhand_abort(peer);
    byhand_connect(peer, "127.0.0.1:9400");
    byhand_step(&sim, peer, 4);
    byhand_hello(peer);
    embar_link_disconnect(peer->link); /* HELLO and the end arrive together */
    byhand_step(&sim, peer, 20);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_lost, 0);
    byhand_join(&sim, peer, 1);
    assert_int_equal(peer->last[CONTROL_GRANT].grant.next_sequence, 1);
    byhand_batch(peer, 1, 1, 1);
    byhand_step(&sim, peer, 20);
    assert_int_equal(sim.sub[0].messages, 2);
    assert_int_equal(sim_sub_stats(&sim, 0).reconnects, 1);
    byhand_close(peer);
    sim_close(&sim);
}

/* The subscriber has noticed the loss, the publisher not: the new link arrives while writes are
 * under way on the old one. They were never sent, and so nothing is missing with `ack: sent`. */
static void test_batches_under_way_on_a_replaced_link_come_again(void **state)
{
    struct sim sim;
    struct byhand *before, *after;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", "ack=sent", NULL);
    before = byhand_open(ROLE_SUBSCRIBER, 77, NULL);
    after = byhand_open(ROLE_SUBSCRIBER, 77, NULL);
    byhand_join(&sim, before, ANY_SEQUENCE);
    assert_int_equal(before->heard[CONTROL_START], 1);
    while (sim_publish(&sim, 0) == 0)
        embar_publisher_poll(sim.pub[0], 0);
    byhand_connect(after, "127.0.0.1:9400");
    byhand_step(&sim, after, 4);
    byhand_hello(after);
    byhand_step(&sim, after, 50);
    byhand_grant(after, 0);
    byhand_step(&sim, after, 50);
    assert_int_equal(before->writes_done, 0);
    assert_int_equal(after->heard[CONTROL_START], 1);
    assert_int_equal(after->last[CONTROL_START].start.first_sequence, 0);
    assert_int_equal(after->arrivals, 8);
    byhand_close(before);
    byhand_close(after);
    sim_close(&sim);
}

static void test_a_publisher_that_was_given_up_goes_on_without_duplicates(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "reconnect_timeout=100ms", NULL);
    sim_publisher(&sim, 0, NULL);
    sim_join(&sim, 0);
    while (sim_publish(&sim, 0) == 0)
        embar_publisher_poll(sim.pub[0], 0);
    only_subscriber(&sim, 0, 20); /* its credits are lost with the link */
    assert_true(sim.sub[0].messages > 0);
    backend_mem_cut(sim.pub[0]->peers->conn->link);
    only_subscriber(&sim, 0, 200);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_lost, 1);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, sim.published[0]);
    assert_int_equal(sim.sub[0].from[0].missing, 0);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_lost, 0);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_finished, 1);
    sim_close(&sim);
}

/* The publisher has given the subscriber up, but published nothing since: nothing is missing. */
static void test_a_subscriber_that_was_given_up_and_missed_nothing_finishes_well(void **state)
{
    struct sim sim;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", "reconnect_timeout=100ms", NULL);
    for (unsigned i = 0; i < 2; i++)
        sim_subscriber(&sim, i, "subscriber.connect=127.0.0.1:9400", NULL);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    while (sim.published[0] < 50)
        if (sim_publish(&sim, 0) == -EAGAIN)
            sim_step(&sim);
    embar_flush(sim.pub[0], EMBAR_CONSUMED, 0);
    for (int step = 0; step < 200; step++)
        sim_step(&sim);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_CONSUMED, 0), 0);
    backend_mem_cut(sim.pub[0]->peers->conn->link);
    for (int ms = 0; ms < 200; ms++) { /* the subscriber whose link it was makes no call */
        embar_publisher_poll(sim.pub[0], 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 1);
    for (int step = 0; step < 200; step++)
        sim_step(&sim);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_up, 2);
    assert_int_equal(sim_finish(&sim, 0), -ENOTCONN); /* one was lost in between */
    assert_int_equal(sim_pub_stats(&sim, 0).peers_finished, 2);
    for (int step = 0; step < 100; step++)
        sim_step(&sim);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sim.sub[i].messages, 50);
        assert_int_equal(sim_sub_stats(&sim, i).gaps, 0);
        assert_int_equal(sim_sub_stats(&sim, i).peers_lost, 0);
        assert_int_equal(sim_sub_stats(&sim, i).peers_finished, 1);
    }
    sim_close(&sim);
}

static void test_a_new_publisher_waits_for_the_place_of_one_that_crashed(void **state)
{
    struct sim sim;
    struct byhand *crashed;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "subscriber.max_links=1", "reconnect_timeout=2s", NULL);
    crashed = byhand_open(ROLE_PUBLISHER, 77, NULL);
    byhand_join(&sim, crashed, 0);
    byhand_abort(crashed);
    sim_step(&sim);
    sim_publisher(&sim, 0, NULL);
    for (int ms = 0; ms < 1000; ms++) {
        sim_step(&sim);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(embar_publisher_failure(sim.pub[0])->error, 0);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_joined, 0);
    for (int ms = 0; ms < 3000; ms++) {
        sim_step(&sim);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(sim_pub_stats(&sim, 0).peers_up, 1);
    byhand_close(crashed);
    sim_close(&sim);
}

/* It has confirmed all of it, but the publisher did not hear so, comes back, and is gone for good.
 */
static void test_a_publisher_that_is_lost_after_the_end_has_finished(void **state)
{
    struct sim sim;
    struct byhand *peer;
    struct control_message finish = {.type = CONTROL_FINISH};

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, NULL);
    peer = byhand_open(ROLE_PUBLISHER, 77, NULL);
    byhand_join(&sim, peer, 0);
    byhand_batch(peer, 0, 0, 0);
    byhand_step(&sim, peer, 20);
    finish.totals = (struct control_totals){1, 1, sim_sub_stats(&sim, 0).bytes};
    byhand_say(peer, &finish);
    byhand_step(&sim, peer, 4);
    assert_int_equal(peer->heard[CONTROL_FINISHED], 1);
    byhand_abort(peer);
    byhand_join(&sim, peer, 1);
    assert_int_equal(sim_sub_stats(&sim, 0).reconnects, 1);
    byhand_abort(peer);
    sim_step(&sim);
    sim_sleep(&sim, 31 * NS_PER_S);
    sim_step(&sim);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_finished, 1);
    assert_int_equal(sim_sub_stats(&sim, 0).peers_lost, 0);
    sim_close(&sim);
}

/* A subscriber counts from its START. When that was lost with the link, and so were batches, it
 * must learn of these all the same. */
static void test_what_was_lost_before_the_first_start_arrived_is_a_gap(void **state)
{
    struct sim sim;
    struct byhand *peer;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", "slow_subscriber=drop",
                  "slow_timeout=5ms", NULL);
    peer = byhand_open(ROLE_SUBSCRIBER, 77, NULL);
    byhand_join(&sim, peer, ANY_SEQUENCE);
    byhand_abort(peer);
    only_publisher(&sim, 0, 1);
    for (int ms = 0; ms < 100; ms++) {
        sim_publish(&sim, 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_true(sim.pub[0]->oldest_seq > 0);
    byhand_join(&sim, peer, ANY_SEQUENCE);
    assert_int_equal(peer->last[CONTROL_START].start.first_sequence, 0);
    assert_int_equal(peer->heard[CONTROL_GAP], 1);
    assert_int_equal(peer->last[CONTROL_GAP].gap.from_sequence, 0);
    assert_true(peer->last[CONTROL_GAP].gap.to_message > 0);
    assert_true(peer->sequence >= peer->last[CONTROL_GAP].gap.to_sequence);
    sim_close(&sim);
}

/* A listening subscriber by hand lets every publisher join; with `ended` it ends the link then. */
static void serve(struct byhand *peer, unsigned *served, unsigned *ended)
{
    byhand_poll(peer);
    if (peer->link && peer->heard[CONTROL_HELLO] > *served) {
        *served = peer->heard[CONTROL_HELLO];
        byhand_hello(peer);
        byhand_grant(peer, ANY_SEQUENCE);
    }
    if (ended && peer->link && peer->heard[CONTROL_START] > *ended) {
        *ended = peer->heard[CONTROL_START];
        embar_link_disconnect(peer->link);
    }
}

static void test_two_addresses_of_one_subscriber_do_not_fight(void **state)
{
    struct sim sim;
    struct byhand *doors[2];
    unsigned served[2] = {0, 0};

    (void)state;
    sim_init(&sim, 1);
    doors[0] = byhand_open(ROLE_SUBSCRIBER, 77, "127.0.0.1:9500");
    doors[1] = byhand_open(ROLE_SUBSCRIBER, 77, "127.0.0.1:9501");
    sim_publisher(&sim, 0, "publisher.connect=127.0.0.1:9500,127.0.0.1:9501", NULL);
    for (int ms = 0; ms < 3000; ms++) {
        sim_step(&sim);
        for (unsigned i = 0; i < 2; i++)
            serve(doors[i], &served[i], NULL);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_true(doors[0]->requests + doors[1]->requests <= 3);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_up, 1);
    assert_int_equal(embar_publisher_failure(sim.pub[0])->error, 0);
    for (unsigned i = 0; i < 2; i++)
        byhand_close(doors[i]);
    sim_close(&sim);
}

static void test_a_subscriber_that_ends_every_link_is_not_called_without_pause(void **state)
{
    struct sim sim;
    struct byhand *door;
    unsigned served = 0, ended = 0;

    (void)state;
    sim_init(&sim, 1);
    door = byhand_open(ROLE_SUBSCRIBER, 77, "127.0.0.1:9500");
    sim_publisher(&sim, 0, "publisher.connect=127.0.0.1:9500", NULL);
    for (int ms = 0; ms < 3000; ms++) {
        sim_step(&sim);
        serve(door, &served, &ended);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_true(ended >= 5);
    assert_true(ended <= 10);
    byhand_close(door);
    sim_close(&sim);
}

static void test_attempts_to_come_back_do_not_prolong_a_session(void **state)
{
    struct sim sim;
    struct byhand *peer;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "reconnect_timeout=1s", NULL);
    peer = byhand_open(ROLE_PUBLISHER, 77, NULL);
    byhand_join(&sim, peer, 0);
    byhand_abort(peer);
    for (int attempt = 0; attempt < 4; attempt++) {
        byhand_connect(peer, "127.0.0.1:9400");
        byhand_step(&sim, peer, 4);
        byhand_hello(peer);
        byhand_step(&sim, peer, 4);
        byhand_abort(peer); /* before START */
        byhand_step(&sim, peer, 4);
        assert_int_equal(sim_sub_stats(&sim, 0).peers_lost, attempt < 3 ? 0 : 1);
        sim_sleep(&sim, 400 * NS_PER_MS);
    }
    byhand_close(peer);
    sim_close(&sim);
}

static void test_subscribers_that_come_and_go_leave_nothing_behind(void **state)
{
    struct sim sim;
    struct byhand *guest;
    unsigned kept = 0;

    (void)state;
    sim_init(&sim, 1);
    sim_publisher(&sim, 0, "publisher.listen=127.0.0.1:9400", NULL);
    sim_subscriber(&sim, 0, "subscriber.connect=127.0.0.1:9400", NULL);
    sim_join(&sim, 0);
    guest = byhand_open(ROLE_SUBSCRIBER, 0, NULL);
    for (unsigned i = 0; i < 200; i++) {
        const struct control_message leave = {.type = CONTROL_LEAVE};

        guest->instance = 1000 + i;
        byhand_join(&sim, guest, ANY_SEQUENCE);
        if (i % 2 == 0)
            byhand_say(guest, &leave);
        else
            embar_link_disconnect(guest->link);
        byhand_step(&sim, guest, 4);
    }
    sim_sleep(&sim, 31 * NS_PER_S); /* those without LEAVE may come back for so long */
    for (int step = 0; step < 10; step++)
        sim_step(&sim);
    for (const struct peer *peer = sim.pub[0]->peers; peer; peer = peer->next)
        kept++;
    assert_int_equal(kept, 1);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_joined, 201);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 200);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_up, 1);
    byhand_close(guest);
    sim_close(&sim);
}

static void test_nothing_is_published_to_nobody(void **state)
{
    struct sim sim;
    uint64_t before;

    (void)state;
    sim_init(&sim, 1);
    sim_subscriber(&sim, 0, "subscriber.listen=127.0.0.1:9500", NULL);
    sim_publisher(&sim, 0, "publisher.connect=127.0.0.1:9500,127.0.0.1:9501", NULL);
    sim_join(&sim, 0);
    assert_int_equal(sim_publish(&sim, 0), 0);
    embar_flush(sim.pub[0], EMBAR_SENT, 0);
    for (int step = 0; step < 50; step++)
        sim_step(&sim);
    sim_close_subscriber(&sim, 0);
    only_publisher(&sim, 0, 50);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 1);
    before = sim.published[0];
    for (int i = 0; i < 100; i++)
        assert_int_equal(sim_publish(&sim, 0), -EAGAIN);
    /* The second one comes in time. */
    sim_subscriber(&sim, 1, "subscriber.listen=127.0.0.1:9501", NULL);
    while (sim.published[0] < before + 100) {
        if (sim_publish(&sim, 0) == -EAGAIN)
            sim_sleep(&sim, NS_PER_MS);
        sim_step(&sim);
    }
    assert_int_equal(sim_finish(&sim, 0), -ENOTCONN); /* one was lost */
    assert_int_equal(sim.sub[1].messages, 100);
    sim_close(&sim);
}

int run_reconnect_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_publisher_that_makes_no_call_during_the_handshake_joins_later),
        cmocka_unit_test(test_a_subscriber_that_makes_no_call_during_the_handshake_joins_later),
        cmocka_unit_test(test_a_subscriber_that_never_grants_is_given_up_after_connect_timeout),
        cmocka_unit_test(test_a_link_that_is_over_before_its_hello_is_read_ends_no_session),
        cmocka_unit_test(test_batches_under_way_on_a_replaced_link_come_again),
        cmocka_unit_test(test_a_publisher_that_was_given_up_goes_on_without_duplicates),
        cmocka_unit_test(test_a_subscriber_that_was_given_up_and_missed_nothing_finishes_well),
        cmocka_unit_test(test_a_publisher_that_is_lost_after_the_end_has_finished),
        cmocka_unit_test(test_what_was_lost_before_the_first_start_arrived_is_a_gap),
        cmocka_unit_test(test_a_new_publisher_waits_for_the_place_of_one_that_crashed),
        cmocka_unit_test(test_two_addresses_of_one_subscriber_do_not_fight),
        cmocka_unit_test(test_a_subscriber_that_ends_every_link_is_not_called_without_pause),
        cmocka_unit_test(test_attempts_to_come_back_do_not_prolong_a_session),
        cmocka_unit_test(test_subscribers_that_come_and_go_leave_nothing_behind),
        cmocka_unit_test(test_nothing_is_published_to_nobody),
    };

    return cmocka_run_group_tests_name("reconnect", tests, NULL, NULL);
}
