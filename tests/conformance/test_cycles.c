/*
 * Conformance: what a link took is given back when it is closed, over many cycles. Runs on the
 * test's one thread.
 */
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "conformance/tests.h"

#define CYCLES        1000u
#define WARM_UP       50u
#define MEMORY_MARGIN 32768u /* bytes: less than 36 a cycle */

static unsigned open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* Bytes in use on the heap; 0 under a sanitizer, which has an allocator and a leak check of its
 * own. */
static size_t heap_bytes(void)
{
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static void cycle(struct world *world, unsigned i)
{
    struct joined joined = world_join(world);
    struct window window = world_window(world, &joined, 8192);
    struct embar_write write = {.buffer = window.source, .len_bytes = 8192, .key = window.key};

    world_write(world, joined.client, &write);
    world_send(world, joined.server, "answer", 6);
    if (i % 3 == 0) /* and sometimes the end comes in the middle of it */
        world_until(world, joined.client->done_count == 1 && joined.client->message_count == 1);
    if (i % 3 == 2)
        assert_int_equal(embar_link_abort(joined.server->link), 0);
    world_part(world, &joined);
    side_free(&world->client, window.source);
    side_free(&world->server, window.target);
}

static void test_a_thousand_cycles_leave_no_descriptor_and_no_memory_behind(void **state)
{
    struct world *world = *state;
    unsigned descriptors = 0;
    size_t heap = 0;

    for (unsigned i = 0; i < CYCLES; i++) {
        if (i == WARM_UP) {
            descriptors = open_descriptors();
            heap = heap_bytes();
        }
        cycle(world, i);
    }
    assert_in_range(open_descriptors(), 0, descriptors);
    assert_in_range(heap_bytes(), 0, heap + MEMORY_MARGIN);
}

static void test_a_hundred_transports_leave_no_descriptor_behind(void **state)
{
    unsigned descriptors = open_descriptors();

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        struct embar_transport *transport = subject_open();
        struct embar_listener *listener = NULL;
        struct embar_event event;

        assert_int_equal(embar_listen(transport, subject.address, &listener, NULL), 0);
        assert_int_equal(embar_poll(transport, &event, 1), 0);
        assert_int_equal(embar_listener_close(listener), 0);
        assert_int_equal(embar_transport_close(transport), 0);
    }
    assert_int_equal(open_descriptors(), descriptors);
}

const struct CMUnitTest cycle_tests[] = {
    WORLD_TEST(test_a_thousand_cycles_leave_no_descriptor_and_no_memory_behind),
    WORLD_TEST(test_a_hundred_transports_leave_no_descriptor_behind),
};
const size_t cycle_test_count = sizeof(cycle_tests) / sizeof(cycle_tests[0]);
