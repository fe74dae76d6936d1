/*
 * The two ends of a ping-pong: each publishes one stream and subscribes to the other's. A lone
 * message goes over, is answered by one of the same size, and half of the time between is recorded.
 * Every message is flushed: nothing waits for company. One thread in each process.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "perf_worker.h"

#define WAIT_MS 100

struct pingpong {
    struct perf_worker *worker;
    struct embar_publisher *publisher;
    struct embar_subscriber *subscriber;
    size_t size;
    bool unsent; /* the transport still needs calls to get rid of the last message */
    char address[1024];
};

static void check_publisher(struct pingpong *p, int rc)
{
    perf_worker_check(p->worker, rc, embar_publisher_failure(p->publisher));
}

static void check_subscriber(struct pingpong *p, int rc)
{
    perf_worker_check(p->worker, rc, embar_subscriber_failure(p->subscriber));
}

/* The other's address: the parent sends it when both listen. */
static void await_address(struct pingpong *p)
{
    struct pollfd fd = {.fd = p->worker->control, .events = POLLIN};
    struct perf_packet packet;
    int rc;

    while ((rc = perf_packet_take(p->worker->control, &packet)) == 0)
        (void)poll(&fd, 1, -1);
    if (rc < 0)
        exit(0); /* the parent is gone */
    memcpy(p->address, packet.text, sizeof(p->address));
    p->address[sizeof(p->address) - 1] = '\0';
    p->worker->addresses = p->address;
}

static bool both_joined(struct pingpong *p, int rc)
{
    struct embar_stats stats;

    embar_subscriber_stats(p->subscriber, &stats);
    return rc == 0 && stats.peers_joined > 0;
}

static void join(struct pingpong *p)
{
    int rc;

    p->subscriber = perf_worker_subscriber(p->worker);
    await_address(p);
    p->publisher = perf_worker_publisher(p->worker);
    p->size = perf_worker_message_size(p->worker, p->publisher);
    do { /* each can join only while the other makes progress */
        rc = embar_publisher_wait(p->publisher, 1);
        check_publisher(p, rc);
        check_subscriber(p, embar_subscriber_poll(p->subscriber, 0));
    } while (!both_joined(p, rc));
    perf_worker_tell(p->worker, PERF_READY, "");
}

/* Who gets the mark that ends the run back leaves at once: to find it gone then is no failure. */
static void check_sent(struct pingpong *p, uint64_t number, int rc)
{
    if (number != PERF_MARK_END || rc != -ENOTCONN)
        check_publisher(p, rc);
}

static void send_message(struct pingpong *p, uint64_t number)
{
    void *data;
    int rc;

    while ((rc = embar_reserve(p->publisher, p->size, &data)) == -EAGAIN) {
        check_publisher(p, embar_publisher_poll(p->publisher, 0));
        check_subscriber(p, embar_subscriber_poll(p->subscriber, 0)); /* it returns credits */
    }
    check_publisher(p, rc);
    memcpy(data, &number, sizeof(number));
    check_publisher(p, embar_commit(p->publisher, p->size));
    rc = embar_flush(p->publisher, EMBAR_SENT, 0);
    p->unsent = rc == -ETIMEDOUT;
    check_sent(p, number, rc);
}

/* Waits for a message and takes its number. The batch is released after `answer`, if there is one:
 * what returns the credit must not stand in the message's way. */
static uint64_t await_message(struct pingpong *p, bool answer)
{
    struct embar_batch *batch;
    struct embar_iter it;
    const void *data;
    size_t len;
    uint64_t number;
    int rc;

    while ((rc = embar_next(p->subscriber, &batch, p->unsent ? 0 : WAIT_MS)) == 0) {
        check_publisher(p, embar_publisher_poll(p->publisher, 0));
        p->unsent = p->unsent && embar_flush(p->publisher, EMBAR_SENT, 0) == -ETIMEDOUT;
    }
    check_subscriber(p, rc);
    it = embar_iterate(batch);
    if (embar_iter_next(&it, &data, &len) != 1 || len != p->size)
        perf_worker_fail(p->worker, TOOL_DATA, "a message of another size came back");
    memcpy(&number, data, sizeof(number));
    if (answer)
        send_message(p, number);
    embar_release(batch);
    return number;
}

static void await_go(struct pingpong *p)
{
    struct perf_packet packet;
    int rc;

    while ((rc = perf_packet_take(p->worker->control, &packet)) == 0) {
        check_publisher(p, embar_publisher_poll(p->publisher, 1));
        check_subscriber(p, embar_subscriber_poll(p->subscriber, 0));
    }
    if (rc < 0)
        exit(0);
}

static void ping_until(struct pingpong *p, uint64_t end_ns)
{
    struct perf_result *result = &p->worker->packet.result;
    uint64_t number = 0, sent_ns = tool_now_ns();

    result->latency = (struct histogram){0};
    while (sent_ns < end_ns) {
        uint64_t got_ns;

        send_message(p, number);
        if (await_message(p, false) != number)
            perf_worker_fail(p->worker, TOOL_DATA, "another message came back than was sent");
        got_ns = tool_now_ns();
        histogram_record(&result->latency, (got_ns - sent_ns) / 2);
        sent_ns = got_ns;
        number++;
    }
    result->messages = number;
    result->size_bytes = p->size;
}

/* The stats are the publisher's; both ends have one. */
static void sample(struct pingpong *p, struct perf_sample *into)
{
    embar_publisher_stats(p->publisher, &into->stats);
    perf_sample_take(into);
}

void perf_pinger_main(struct perf_worker *worker)
{
    struct pingpong p = {.worker = worker};
    struct perf_result *result = &worker->packet.result;

    join(&p);
    await_go(&p);
    ping_until(&p, tool_now_ns() + worker->plan->warmup_ns);
    sample(&p, &result->begin);
    ping_until(&p, result->begin.at_ns + worker->plan->duration_ns);
    sample(&p, &result->end);
    send_message(&p, PERF_MARK_END);
    await_message(&p, false); /* the mark comes back: the other end has it */
    perf_worker_done(worker);
    embar_publisher_close(p.publisher);
    embar_subscriber_close(p.subscriber);
}

/* Its measured time is that of the pinger, the warm-up included. */
void perf_ponger_main(struct perf_worker *worker)
{
    struct pingpong p = {.worker = worker};
    struct perf_result *result = &worker->packet.result;

    join(&p);
    await_go(&p);
    sample(&p, &result->begin);
    while (await_message(&p, true) != PERF_MARK_END)
        result->messages++;
    sample(&p, &result->end);
    check_sent(&p, PERF_MARK_END, embar_flush(p.publisher, EMBAR_SENT, 10 * WAIT_MS));
    perf_worker_done(worker);
    embar_publisher_close(p.publisher);
    embar_subscriber_close(p.subscriber);
}
