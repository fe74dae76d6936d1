/*
 * How an endpoint waits. `progress: poll` never sleeps; `event` sleeps at once; `adaptive` spins
 * for a little longer than a wake-up costs and sleeps then, so that a stream that flows pays no
 * wake-ups and one that is idle costs nothing.
 */
#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "stream/endpoint.h"

#define WAKE_EVENTS (ENDPOINT_TRANSPORTS + 1)

static int arm_transports(struct endpoint *endpoint)
{
    for (unsigned t = 0; t < endpoint->transport_count; t++) {
        int rc = embar_arm(endpoint->transports[t].transport);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void set_timer(struct endpoint *endpoint, uint64_t when_ns)
{
    struct itimerspec when = {0};

    if (endpoint->timer_ns == when_ns)
        return;
    if (when_ns != UINT64_MAX) {
        when.it_value.tv_sec = (time_t)(when_ns / NS_PER_S);
        when.it_value.tv_nsec = (long)(when_ns % NS_PER_S);
    }
    /* Setting the time also clears an expiry, which nobody reads. */
    timerfd_settime(endpoint->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    endpoint->timer_ns = when_ns;
}

bool endpoint_is_quiet(const struct endpoint *endpoint)
{
    return endpoint->options->progress == PROGRESS_EVENT ||
           endpoint->now_ns - endpoint->active_ns >= endpoint->spin_ns;
}

void endpoint_wait(struct endpoint *endpoint, uint64_t until_ns)
{
    struct epoll_event woken[WAKE_EVENTS];
    struct timespec timeout;
    uint64_t now, left_ns;

    /* The caller polls between calls: a wait that follows work closely only returns, and does not
     * even look at the clock. Judged by the clock of that poll, so that what waits for a quiet
     * moment has been done before a sleep. */
    if (endpoint->options->progress == PROGRESS_POLL || !endpoint_is_quiet(endpoint))
        return;
    now = env_now_ns(endpoint->env);
    left_ns = until_ns > now ? until_ns - now : 0;
    if (left_ns == 0)
        return;
    timeout = (struct timespec){.tv_sec = (time_t)(left_ns / NS_PER_S),
                                .tv_nsec = (long)(left_ns % NS_PER_S)};
    set_timer(endpoint, UINT64_MAX); /* one that has expired would end every wait at once */
    if (arm_transports(endpoint) < 0)
        return;
    epoll_pwait2(endpoint->epoll_fd, woken, WAKE_EVENTS, until_ns == UINT64_MAX ? NULL : &timeout,
                 NULL);
}

int endpoint_arm(struct endpoint *endpoint, uint64_t until_ns)
{
    int rc = arm_transports(endpoint);

    if (rc < 0)
        return rc;
    if (until_ns != UINT64_MAX && until_ns <= env_now_ns(endpoint->env))
        return -EAGAIN;
    set_timer(endpoint, until_ns);
    return 0;
}
