/*
 * A thread that does one job at a time for its owner, handed over and taken back by a word in
 * memory: both sides look at it for a moment before they sleep, so that jobs which follow each
 * other closely cost no system call, and an idle thread costs nothing. What the owner wrote before
 * it gave is visible to the job, and what the job wrote to the owner once it is over. The threads
 * of an owner share a bell, on which it can wait for whichever is first.
 *
 * Knows nothing of lanes. All functions are the owner's; only the job runs on the thread.
 */
#ifndef TCP_LANE_THREAD_H
#define TCP_LANE_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Rung when a job is over. */
struct tcp_bell {
    _Atomic uint32_t rings; /* a futex */
    _Atomic bool awaited;
    uint32_t patience; /* the owner's: looks before it sleeps */
};

struct tcp_lane_thread;

typedef void tcp_job_fn(void *user);

/* `name` has at most 15 characters. Borrows bell and user. Negative errno: there is no thread. */
int tcp_lane_thread_create(struct tcp_lane_thread **thread, struct tcp_bell *bell, const char *name,
                           tcp_job_fn *run, void *user);

/* Waits for the job, ends the thread, frees it. NULL is harmless. */
void tcp_lane_thread_destroy(struct tcp_lane_thread *thread);

/* Has it run its job once. The job before must be over. */
void tcp_lane_thread_give(struct tcp_lane_thread *thread);

/* Whether the last job is over; also when there was none. */
bool tcp_lane_thread_is_over(const struct tcp_lane_thread *thread);

/* Waits until it is. */
void tcp_lane_thread_wait(struct tcp_lane_thread *thread);

/* Waits until a job has ended on any thread of the bell since it had rung `rings` times. */
void tcp_bell_wait(struct tcp_bell *bell, uint32_t rings);
uint32_t tcp_bell_rings(const struct tcp_bell *bell);

#endif
