/* The event queue: order, growth, and the life of a message's bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "transport/event.h"

#define CELL_BYTES 128

static void push(struct event_queue *queue, uint64_t token)
{
    const struct embar_event event = {.type = EMBAR_EVENT_WRITE_DONE, .token = token};

    assert_int_equal(event_queue_push(queue, &event), 0);
}

static void pop(struct event_queue *queue, uint64_t token)
{
    struct embar_event event = {0};

    assert_int_equal(event_queue_pop(queue, &event, 1), 1);
    assert_int_equal(event.type, EMBAR_EVENT_WRITE_DONE);
    assert_int_equal(event.token, token);
}

static void test_events_come_out_in_the_order_they_went_in_while_the_ring_wraps_and_grows(
    void **state)
{
    struct event_queue queue;
    uint64_t in = 0, out = 0;

    (void)state;
    assert_int_equal(event_queue_init(&queue, CELL_BYTES), 0);
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 37 + round; i++)
            push(&queue, in++);
        for (unsigned i = 0; i < 31; i++)
            pop(&queue, out++);
    }
    assert_int_equal(queue.count, in - out);
    while (out < in)
        pop(&queue, out++);
    assert_int_equal(queue.count, 0);
    event_queue_destroy(&queue);
}

static void test_pop_takes_no_more_than_there_is_or_is_asked_for(void **state)
{
    struct event_queue queue;
    struct embar_event events[8];

    (void)state;
    assert_int_equal(event_queue_init(&queue, CELL_BYTES), 0);
    assert_int_equal(event_queue_pop(&queue, events, 8), 0);
    for (uint64_t i = 0; i < 5; i++)
        push(&queue, i);
    assert_int_equal(event_queue_pop(&queue, events, 3), 3);
    assert_int_equal(event_queue_pop(&queue, events, 8), 2);
    assert_int_equal(events[1].token, 4);
    event_queue_destroy(&queue);
}

static void test_a_message_is_copied_and_valid_until_it_is_reclaimed(void **state)
{
    struct event_queue queue;
    struct embar_event first, second;
    char text[] = "first";

    (void)state;
    assert_int_equal(event_queue_init(&queue, CELL_BYTES), 0);
    assert_int_equal(event_queue_push_message(&queue, NULL, text, sizeof(text)), 0);
    memset(text, 'x', sizeof(text));
    assert_int_equal(event_queue_pop(&queue, &first, 1), 1);
    assert_int_equal(first.type, EMBAR_EVENT_MESSAGE);
    assert_int_equal(first.len_bytes, sizeof(text));
    assert_int_equal(event_queue_push_message(&queue, NULL, "later", 6), 0);
    assert_string_equal(first.data, "first"); /* another cell was used */
    event_queue_reclaim(&queue);
    assert_int_equal(event_queue_pop(&queue, &second, 1), 1);
    assert_string_equal(second.data, "later"); /* not yet lent when reclaimed */
    event_queue_destroy(&queue);
}

static void test_a_message_fills_its_cell_and_never_overflows_it(void **state)
{
    struct event_queue queue;
    unsigned char bytes[CELL_BYTES + 1];
    struct embar_event event;

    (void)state;
    memset(bytes, 7, sizeof(bytes));
    assert_int_equal(event_queue_init(&queue, CELL_BYTES), 0);
    assert_int_equal(event_queue_push_message(&queue, NULL, bytes, CELL_BYTES + 1), -EMSGSIZE);
    assert_int_equal(event_queue_push_message(&queue, NULL, bytes, CELL_BYTES), 0);
    assert_int_equal(queue.count, 1);
    assert_int_equal(event_queue_pop(&queue, &event, 1), 1);
    assert_memory_equal(event.data, bytes, CELL_BYTES);
    event_queue_destroy(&queue);
}

static void test_the_steady_path_reuses_its_cells(void **state)
{
    struct event_queue queue;
    struct embar_event events[4];
    const void *seen[4] = {0};

    (void)state;
    assert_int_equal(event_queue_init(&queue, CELL_BYTES), 0);
    for (unsigned round = 0; round < 100; round++) {
        event_queue_reclaim(&queue);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(event_queue_push_message(&queue, NULL, &i, sizeof(i)), 0);
        assert_int_equal(event_queue_pop(&queue, events, 4), 4);
        for (unsigned i = 0; i < 4; i++) {
            unsigned known = 0;

            while (known < 4 && seen[known] != NULL && seen[known] != events[i].data)
                known++;
            assert_true(known < 4); /* a fifth cell */
            seen[known] = events[i].data;
        }
    }
    event_queue_destroy(&queue);
}

static void test_dropping_a_link_keeps_the_others_in_order(void **state)
{
    struct event_queue queue;
    struct embar_link *gone = (struct embar_link *)(uintptr_t)8;
    struct embar_link *kept = (struct embar_link *)(uintptr_t)16;
    struct embar_event events[8];

    (void)state;
    assert_int_equal(event_queue_init(&queue, CELL_BYTES), 0);
    for (uint64_t i = 0; i < 60; i++)
        push(&queue, i);
    for (uint64_t i = 0; i < 60; i++)
        pop(&queue, i); /* so that what follows wraps */
    for (uint64_t i = 0; i < 8; i++) {
        const struct embar_event event = {
            .type = EMBAR_EVENT_ARRIVAL, .link = i % 2 ? gone : kept, .token = i};
        assert_int_equal(event_queue_push(&queue, &event), 0);
    }
    assert_int_equal(event_queue_push_message(&queue, gone, "x", 1), 0);
    event_queue_drop_link(&queue, gone);
    assert_int_equal(queue.count, 4);
    assert_int_equal(event_queue_pop(&queue, events, 8), 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_ptr_equal(events[i].link, kept);
        assert_int_equal(events[i].token, 2 * i);
    }
    event_queue_destroy(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_events_come_out_in_the_order_they_went_in_while_the_ring_wraps_and_grows),
        cmocka_unit_test(test_pop_takes_no_more_than_there_is_or_is_asked_for),
        cmocka_unit_test(test_a_message_is_copied_and_valid_until_it_is_reclaimed),
        cmocka_unit_test(test_a_message_fills_its_cell_and_never_overflows_it),
        cmocka_unit_test(test_the_steady_path_reuses_its_cells),
        cmocka_unit_test(test_dropping_a_link_keeps_the_others_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
