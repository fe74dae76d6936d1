/* The ring of cells: what goes in comes out in order, and what a peer scribbles is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "shm/ring.h"

static struct shm_region *region;
static struct shm_producer tx, other_tx;
static struct shm_consumer rx, other_rx;

static int set_up(void **state)
{
    int fd = shm_region_create(&region);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    shm_ring_init(&tx, &other_rx, region, 0);
    shm_ring_init(&other_tx, &rx, region, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    shm_region_close(region);
    return 0;
}

static struct shm_item take(void)
{
    struct shm_item item;

    assert_true(shm_ring_ready(&rx));
    assert_int_equal(shm_ring_peek(&rx, &item), 0);
    shm_ring_take(&rx);
    return item;
}

static void put_write(uint32_t number)
{
    assert_int_equal(shm_ring_room(&tx), 1);
    shm_ring_put_write(&tx, SHM_CELL_WRITE, 7, number * 10ull, number + 1, number);
}

static void test_writes_come_out_in_order_over_many_laps(void **state)
{
    (void)state;
    for (uint32_t i = 0, taken = 0; i < 10 * SHM_CELLS; i++) {
        put_write(i);
        for (; taken + i % 200 < i + 1; taken++) {
            struct shm_item item = take();

            assert_int_equal(item.type, SHM_CELL_WRITE);
            assert_int_equal(item.immediate, taken);
            assert_int_equal(item.len_bytes, taken + 1);
            assert_int_equal(item.key, 7);
            assert_int_equal(item.offset, taken * 10ull);
        }
        shm_ring_tell(&rx);
    }
}

static void test_messages_of_every_size_come_out_whole(void **state)
{
    uint8_t bytes[SHM_PAYLOAD];

    (void)state;
    for (uint32_t len = 1; len <= SHM_PAYLOAD; len += len < 200 ? 1 : 557) {
        struct shm_item item;

        memset(bytes, (int)(len % 251), sizeof(bytes));
        assert_int_equal(shm_ring_room(&tx), 1);
        shm_ring_put_message(&tx, bytes, len);
        item = take();
        assert_int_equal(item.type, SHM_CELL_MESSAGE);
        assert_int_equal(item.len_bytes, len);
        assert_memory_equal(item.bytes, bytes, len);
        shm_ring_tell(&rx);
    }
}

static void test_a_full_ring_has_room_again_once_the_consumer_tells(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < SHM_CELLS; i++)
        put_write(i);
    assert_int_equal(shm_ring_room(&tx), 0);
    take();
    assert_int_equal(shm_ring_room(&tx), 0);
    assert_true(shm_ring_tell(&rx));
    assert_false(shm_ring_tell(&rx)); /* no news */
    assert_int_equal(shm_ring_room(&tx), 1);
    put_write(SHM_CELLS);
    assert_int_equal(shm_ring_room(&tx), 0);
}

static void test_a_counter_that_cannot_be_is_refused(void **state)
{
    static const uint64_t lies[] = {SHM_CELLS + 1, UINT64_MAX, UINT64_MAX / 2};

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        if (i > 0) {
            tear_down(state);
            set_up(state);
        }
        for (uint32_t k = 0; k < SHM_CELLS; k++)
            put_write(k);
        atomic_store(&region->halves[1].consumed, lies[i]);
        assert_int_equal(shm_ring_room(&tx), -EPROTO);
    }
    /* And one that goes back. */
    tear_down(state);
    set_up(state);
    for (uint32_t k = 0; k < SHM_CELLS; k++)
        put_write(k);
    atomic_store(&region->halves[1].consumed, 100);
    for (uint32_t k = 0; k < 100; k++)
        put_write(k);
    atomic_store(&region->halves[1].consumed, 99);
    assert_int_equal(shm_ring_room(&tx), -EPROTO);
}

static void test_cells_that_are_none_are_refused(void **state)
{
    static const struct {
        uint32_t type, len_bytes;
    } bad[] = {{0, 1},
               {4, 1},
               {UINT32_MAX, 1},
               {SHM_CELL_MESSAGE, 0},
               {SHM_CELL_MESSAGE, SHM_PAYLOAD + 1},
               {SHM_CELL_MESSAGE, UINT32_MAX}};
    struct shm_item item;

    (void)state;
    put_write(0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        region->halves[0].cells[0].type = bad[i].type;
        region->halves[0].cells[0].len_bytes = bad[i].len_bytes;
        assert_int_equal(shm_ring_peek(&rx, &item), -EPROTO);
    }
}

static void test_only_the_next_position_is_ready(void **state)
{
    static const uint64_t others[] = {0, 2, SHM_CELLS + 1, UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        atomic_store(&region->halves[0].cells[0].commit, others[i]);
        assert_false(shm_ring_ready(&rx));
    }
    atomic_store(&region->halves[0].cells[0].commit, 1);
    assert_true(shm_ring_ready(&rx));
}

#define RING_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(test_writes_come_out_in_order_over_many_laps),
        RING_TEST(test_messages_of_every_size_come_out_whole),
        RING_TEST(test_a_full_ring_has_room_again_once_the_consumer_tells),
        RING_TEST(test_a_counter_that_cannot_be_is_refused),
        RING_TEST(test_cells_that_are_none_are_refused),
        RING_TEST(test_only_the_next_position_is_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
