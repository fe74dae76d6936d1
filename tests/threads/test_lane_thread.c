/* The hand-over to a lane's thread, without any lane. The test's thread is the owner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "tcp/lane_thread.h"

#define JOBS 20000u

struct work {
    uint64_t count; /* plain: the hand-over alone makes it visible */
    unsigned sleep_ms;
    _Atomic bool done;
    char name[16];
    sigset_t mask;
};

static struct tcp_bell bell;

static void run(void *user)
{
    struct work *work = user;

    if (work->sleep_ms > 0)
        usleep(work->sleep_ms * 1000);
    work->count++;
    pthread_getname_np(pthread_self(), work->name, sizeof(work->name));
    pthread_sigmask(SIG_SETMASK, NULL, &work->mask);
    work->done = true;
}

static struct tcp_lane_thread *begin(struct work *work)
{
    struct tcp_lane_thread *thread = NULL;

    assert_int_equal(tcp_lane_thread_create(&thread, &bell, "embar-lane-15", run, work), 0);
    return thread;
}

static uint64_t cpu_ns(void)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void test_each_job_is_done_once_and_seen_by_the_owner(void **state)
{
    struct work work = {0};
    struct tcp_lane_thread *thread = begin(&work);

    (void)state;
    assert_true(tcp_lane_thread_is_over(thread));
    for (uint64_t i = 0; i < JOBS; i++) {
        assert_int_equal(work.count, i);
        if (i % 1000 == 0)
            usleep(1000); /* it has gone to sleep */
        tcp_lane_thread_give(thread);
        tcp_lane_thread_wait(thread);
    }
    assert_int_equal(work.count, JOBS);
    tcp_lane_thread_destroy(thread);
}

static void test_destroying_waits_for_the_job(void **state)
{
    struct work work = {.sleep_ms = 20};
    struct tcp_lane_thread *thread = begin(&work);

    (void)state;
    tcp_lane_thread_give(thread);
    tcp_lane_thread_destroy(thread);
    assert_true(work.done);
    tcp_lane_thread_destroy(NULL);
}

static void test_the_bell_is_rung_by_whichever_is_first(void **state)
{
    struct work slow = {.sleep_ms = 300}, quick = {.sleep_ms = 10};
    struct tcp_lane_thread *threads[] = {begin(&slow), begin(&quick)};
    uint32_t rings = tcp_bell_rings(&bell);

    (void)state;
    tcp_lane_thread_give(threads[0]);
    tcp_lane_thread_give(threads[1]);
    tcp_bell_wait(&bell, rings);
    assert_true(quick.done);
    assert_false(slow.done);
    tcp_lane_thread_wait(threads[0]);
    assert_true(slow.done);
    tcp_lane_thread_destroy(threads[0]);
    tcp_lane_thread_destroy(threads[1]);
}

static void test_waiting_and_idling_cost_nothing(void **state)
{
    struct work work = {.sleep_ms = 200};
    struct tcp_lane_thread *thread = begin(&work);
    uint64_t before = cpu_ns();

    (void)state;
    tcp_lane_thread_give(thread);
    tcp_lane_thread_wait(thread);
    usleep(200000);
    assert_in_range(cpu_ns() - before, 0, 40 * NS_PER_MS);
    tcp_lane_thread_destroy(thread);
}

static void test_a_thread_has_a_name_and_takes_no_signals(void **state)
{
    struct work work = {0};
    struct tcp_lane_thread *thread = begin(&work);
    sigset_t mine;

    (void)state;
    tcp_lane_thread_give(thread);
    tcp_lane_thread_wait(thread);
    assert_string_equal(work.name, "embar-lane-15");
    assert_true(sigismember(&work.mask, SIGINT) && sigismember(&work.mask, SIGTERM) &&
                sigismember(&work.mask, SIGCHLD));
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mine), 0);
    assert_false(sigismember(&mine, SIGINT));
    tcp_lane_thread_destroy(thread);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_job_is_done_once_and_seen_by_the_owner),
        cmocka_unit_test(test_destroying_waits_for_the_job),
        cmocka_unit_test(test_the_bell_is_rung_by_whichever_is_first),
        cmocka_unit_test(test_waiting_and_idling_cost_nothing),
        cmocka_unit_test(test_a_thread_has_a_name_and_takes_no_signals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
