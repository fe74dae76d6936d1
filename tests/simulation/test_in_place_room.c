/* The room that embar_reserve gives in a subscriber's buffer: it is the caller's until
 * embar_commit, whatever becomes of the batch, the link, the subscriber and the publisher
 * meanwhile; and nothing of it is left behind. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "simulation/in_place.h"
#include "simulation/tests.h"
#include "stream/publisher.h"
#include "support/backend_mem.h"

/* Whether there is memory at the address. */
static bool is_mapped(const void *addr)
{
    uintptr_t page = (uintptr_t)addr & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
    unsigned char resident;

    return mincore((void *)page, 1, &resident) == 0;
}

static void test_a_message_under_way_survives_the_loss_of_the_link_and_a_new_one(void **state)
{
    struct sim sim;
    struct slow_message slow;

    (void)state;
    join_in_place(&sim, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(sim_publish(&sim, 0), 0);
    begin_slowly(&sim, &slow);
    assert_false(is_own(sim.pub[0], slow.room));
    cut_and_come_back(&sim);
    assert_int_equal(sim_pub_stats(&sim, 0).reconnects, 1);
    end_slowly(&sim, &slow); /* its address is good still */
    assert_int_equal(sim_publish(&sim, 0), 0);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 5);
    sim_close(&sim);
}

static void test_nothing_else_is_written_where_a_message_is_being_built(void **state)
{
    struct sim sim;
    struct slow_message slow;
    const struct peer *peer;

    (void)state;
    join_in_place(&sim, NULL);
    begin_slowly(&sim, &slow);
    cut_and_come_back(&sim);
    peer = sim.pub[0]->peers;
    assert_int_equal(sim.pub[0]->reserving, ROOM_MOVED);
    assert_true(slot_pool_is_taken(&peer->remote, sim.pub[0]->away.slot));
    end_slowly(&sim, &slow);
    assert_int_equal(peer->remote.free_count, peer->remote.slot_count);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim.sub[0].messages, 1);
    sim_close(&sim);
}

static void test_a_room_that_is_taken_back_after_a_loss_leaves_nothing_behind(void **state)
{
    struct sim sim;
    struct slow_message slow;

    (void)state;
    join_in_place(&sim, NULL);
    begin_slowly(&sim, &slow);
    cut_and_come_back(&sim);
    assert_int_equal(sim_publish(&sim, 0), 0); /* which takes it back */
    assert_int_equal(embar_commit(sim.pub[0], 1), -EINVAL);
    begin_slowly(&sim, &slow);
    cut_and_come_back(&sim);
    sim_close_publisher(&sim, 0); /* closes the link that was kept for it */
    sim_close(&sim);
}

static void test_a_room_outlives_the_publishers_failure(void **state)
{
    struct sim sim;
    struct slow_message slow;

    (void)state;
    join_in_place(&sim, "reconnect_timeout=1s");
    begin_slowly(&sim, &slow);
    sim_close_subscriber(&sim, 0);
    for (int i = 0; i < 3000 && !embar_publisher_failure(sim.pub[0])->error; i++) {
        embar_publisher_poll(sim.pub[0], 0);
        sim_sleep(&sim, NS_PER_MS);
    }
    assert_int_equal(embar_publisher_failure(sim.pub[0])->error, ENOTCONN);
    memset(slow.room, 1, 16); /* the caller has not looked yet */
    assert_int_equal(embar_commit(sim.pub[0], 16), -ENOTCONN);
    sim_close(&sim);
}

static void test_flush_and_finish_take_a_room_back(void **state)
{
    struct sim sim;
    void *room;

    (void)state;
    join_in_place(&sim, NULL);
    assert_int_equal(embar_reserve(sim.pub[0], 16, &room), 0);
    assert_int_equal(embar_flush(sim.pub[0], EMBAR_SENT, 0), 0);
    assert_int_equal(embar_commit(sim.pub[0], 16), -EINVAL);
    assert_int_equal(embar_reserve(sim.pub[0], 16, &room), 0);
    assert_int_equal(embar_publisher_finish(sim.pub[0], 0), -ETIMEDOUT);
    assert_int_equal(embar_commit(sim.pub[0], 16), -EINVAL);
    assert_int_equal(sim_finish(&sim, 0), 0);
    assert_int_equal(sim_pub_stats(&sim, 0).messages, 0);
    sim_close(&sim);
}

enum way_back { COMMIT, PUBLISH, FLUSH, FINISH, WAYS_BACK };

/* The mapping goes with the link: the subscriber's memory is not held for longer than it is used.
 */
static void test_the_link_of_a_room_lives_until_the_room_is_back_and_no_longer(void **state)
{
    (void)state;
    for (int way = 0; way < WAYS_BACK; way++) {
        struct sim sim;
        struct slow_message slow;
        void *room;

        join_in_place(&sim, NULL);
        begin_slowly(&sim, &slow);
        room = slow.room;
        cut_and_come_back(&sim);
        for (int step = 0; step < 100; step++)
            sim_step(&sim);
        assert_true(is_mapped(room));
        if (way == COMMIT)
            end_slowly(&sim, &slow);
        else if (way == PUBLISH)
            assert_int_equal(sim_publish(&sim, 0), 0);
        else if (way == FLUSH)
            assert_int_equal(embar_flush(sim.pub[0], EMBAR_SENT, 0), 0);
        else
            assert_int_equal(embar_publisher_finish(sim.pub[0], 0), -ETIMEDOUT);
        assert_false(is_mapped(room));
        assert_int_equal(sim_finish(&sim, 0), 0);
        assert_int_equal(sim.sub[0].messages, sim.published[0]);
        sim_close(&sim);
    }
}

/* It lies in the buffer of a subscriber that has come back, by a way that maps nothing, and then
 * left for good. */
static void test_a_room_outlives_the_subscriber_that_it_lies_in(void **state)
{
    struct sim sim;
    struct slow_message slow;

    (void)state;
    join_in_place(&sim, "publisher.connect=127.0.0.1:9400,127.0.0.1:9501");
    begin_slowly(&sim, &slow);
    backend_memmap_refuse(true);
    cut_and_come_back(&sim);
    assert_true(sim.pub[0]->away.slot_taken);
    sim_subscriber(&sim, 1, "transport=memmap,mem", "subscriber.listen=127.0.0.1:9501", NULL);
    for (int step = 0; step < 200000 && sim_pub_stats(&sim, 0).peers_up < 2; step++)
        sim_step(&sim);
    sim_close_subscriber(&sim, 0);
    for (int step = 0; step < 10000 && sim_pub_stats(&sim, 0).peers_lost == 0; step++)
        sim_step(&sim);
    assert_int_equal(sim_pub_stats(&sim, 0).peers_lost, 1);
    assert_null(sim.pub[0]->away.peer); /* nothing is given back to what was freed */
    end_slowly(&sim, &slow);
    assert_int_equal(sim_publish(&sim, 0), 0);
    assert_int_equal(sim_finish(&sim, 0), -ENOTCONN); /* one was lost; the other has it all */
    assert_int_equal(sim.sub[1].messages, 2);
    backend_memmap_refuse(false);
    sim_close(&sim);
}

int run_in_place_room_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_under_way_survives_the_loss_of_the_link_and_a_new_one),
        cmocka_unit_test(test_nothing_else_is_written_where_a_message_is_being_built),
        cmocka_unit_test(test_a_room_that_is_taken_back_after_a_loss_leaves_nothing_behind),
        cmocka_unit_test(test_the_link_of_a_room_lives_until_the_room_is_back_and_no_longer),
        cmocka_unit_test(test_a_room_outlives_the_subscriber_that_it_lies_in),
        cmocka_unit_test(test_a_room_outlives_the_publishers_failure),
        cmocka_unit_test(test_flush_and_finish_take_a_room_back),
    };

    return cmocka_run_group_tests_name("room in place", tests, NULL, NULL);
}
