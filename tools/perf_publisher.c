/*
 * The publisher of a run: joins, warms up, waits for the word to go, marks the beginning in the
 * stream, publishes for the given time by one of the ways to make a message, waits until all is
 * consumed, marks the end. Throughput, one-way latency under load and idling differ in the middle
 * only. One thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "perf_worker.h"
#include "source.h"

#define WAIT_MS 100

struct publishing {
    struct perf_worker *worker;
    struct embar_publisher *publisher;
    size_t size;
    uint64_t number;         /* of the next message */
    unsigned char *template; /* owned; what PERF_FILL copies */
};

static void check(struct publishing *p, int rc)
{
    perf_worker_check(p->worker, rc, embar_publisher_failure(p->publisher));
}

static void flush(struct publishing *p)
{
    int rc;

    do {
        rc = embar_flush(p->publisher, EMBAR_CONSUMED, WAIT_MS);
        check(p, rc);
    } while (rc == -ETIMEDOUT);
}

/* One message in a batch of its own. */
static void mark(struct publishing *p, uint64_t number)
{
    unsigned char message[PERF_SIZE_MIN] = {0};
    int rc;

    memcpy(message, &number, sizeof(number));
    while ((rc = embar_publish(p->publisher, message, sizeof(message))) == -EAGAIN)
        check(p, embar_publisher_poll(p->publisher, WAIT_MS));
    check(p, rc);
    flush(p);
}

/* 0, or what the publisher said. */
static inline int publish_one(struct publishing *p, enum perf_source source)
{
    void *data;
    int rc;

    if (source == PERF_FILL) {
        memcpy(p->template, &p->number, sizeof(p->number));
        rc = embar_publish(p->publisher, p->template, p->size);
    } else {
        rc = embar_reserve(p->publisher, p->size, &data);
        if (rc < 0)
            return rc;
        if (source == PERF_IN_PLACE)
            memset(data, (int)(p->number & 0xff), p->size);
        memcpy(data, &p->number, sizeof(p->number));
        rc = embar_commit(p->publisher, p->size);
    }
    if (rc == 0)
        p->number++;
    return rc;
}

/* A bounded piece, so that the clock is looked at and progress made between pieces. A branch of its
 * own for each source: the choice is no part of the loop. */
static int publish_some(struct publishing *p)
{
    size_t count = SOURCE_STEP_BYTES / p->size;
    int rc = 0;

    if (count < 1)
        count = 1;
    if (count > SOURCE_STEP_MESSAGES)
        count = SOURCE_STEP_MESSAGES;
    switch (p->worker->plan->source) {
    case PERF_NUMBER:
        while (rc == 0 && count-- > 0)
            rc = publish_one(p, PERF_NUMBER);
        break;
    case PERF_FILL:
        while (rc == 0 && count-- > 0)
            rc = publish_one(p, PERF_FILL);
        break;
    case PERF_IN_PLACE:
        while (rc == 0 && count-- > 0)
            rc = publish_one(p, PERF_IN_PLACE);
        break;
    }
    return rc;
}

static void publish_until(struct publishing *p, uint64_t end_ns)
{
    while (tool_now_ns() < end_ns) {
        int rc = publish_some(p);

        check(p, rc);
        check(p, embar_publisher_poll(p->publisher, rc == -EAGAIN ? WAIT_MS : 0));
    }
}

/* Messages leave by the schedule and carry the time at which they were due: that of one which had
 * to wait, and of all behind it, runs on, so that a stall counts for every message it delayed. */
static void publish_by_schedule(struct publishing *p, uint64_t begin_ns, uint64_t end_ns)
{
    double interval_ns = 1e9 / (double)p->worker->plan->load_rate;
    uint64_t count = 0;
    uint64_t due_ns = begin_ns;

    while (due_ns < end_ns) {
        uint64_t now_ns = tool_now_ns();
        bool open = false;

        while (due_ns <= now_ns && due_ns < end_ns) {
            void *data;
            int rc = embar_reserve(p->publisher, p->size, &data);

            check(p, rc);
            if (rc < 0)
                break;
            memcpy(data, &p->number, sizeof(p->number));
            memcpy((unsigned char *)data + sizeof(p->number), &due_ns, sizeof(due_ns));
            check(p, embar_commit(p->publisher, p->size));
            p->number++;
            due_ns = begin_ns + (uint64_t)((double)++count * interval_ns);
            open = true;
        }
        /* Closes the batch and makes one round of progress. */
        check(p, open ? embar_flush(p->publisher, EMBAR_SENT, 0)
                      : embar_publisher_poll(p->publisher, 0));
    }
}

static void stay_silent(struct publishing *p, uint64_t end_ns)
{
    uint64_t now_ns;

    while ((now_ns = tool_now_ns()) < end_ns)
        check(p, embar_publisher_poll(p->publisher, (int)((end_ns - now_ns) / NS_PER_MS) + 1));
}

static void wait_for_go(struct publishing *p)
{
    struct perf_packet packet;
    int rc;

    perf_worker_tell(p->worker, PERF_READY, "");
    while ((rc = perf_packet_take(p->worker->control, &packet)) == 0)
        check(p, embar_publisher_poll(p->publisher, 1));
    if (rc < 0)
        exit(0); /* the parent is gone */
}

static void prepare(struct publishing *p)
{
    int rc;

    p->size = perf_worker_message_size(p->worker, p->publisher);
    p->template = calloc(1, p->size);
    if (!p->template)
        perf_worker_fail(p->worker, TOOL_TRANSPORT, "out of memory for a message of %zu bytes",
                         p->size);
    memset(p->template, 0x5a, p->size);
    do {
        rc = embar_publisher_wait(p->publisher, WAIT_MS);
        check(p, rc);
    } while (rc == -ETIMEDOUT);
    if (p->worker->plan->warmup_ns > 0)
        publish_until(p, tool_now_ns() + p->worker->plan->warmup_ns);
    flush(p);
}

static void measure(struct publishing *p)
{
    const struct perf_plan *plan = p->worker->plan;
    struct perf_result *result = &p->worker->packet.result;

    mark(p, PERF_MARK_BEGIN);
    p->number = 0;
    embar_publisher_stats(p->publisher, &result->begin.stats);
    perf_sample_take(&result->begin);
    if (plan->mode == PERF_LOAD)
        publish_by_schedule(p, result->begin.at_ns, result->begin.at_ns + plan->duration_ns);
    else if (plan->mode == PERF_IDLE)
        stay_silent(p, result->begin.at_ns + plan->duration_ns);
    else
        publish_until(p, result->begin.at_ns + plan->duration_ns);
    flush(p);
    perf_sample_take(&result->end);
    embar_publisher_stats(p->publisher, &result->end.stats);
    result->messages = p->number;
    result->size_bytes = p->size;
    mark(p, PERF_MARK_END);
}

void perf_publisher_main(struct perf_worker *worker)
{
    struct publishing p = {.worker = worker, .publisher = perf_worker_publisher(worker)};
    int rc;

    prepare(&p);
    wait_for_go(&p);
    measure(&p);
    do {
        rc = embar_publisher_finish(p.publisher, WAIT_MS);
        check(&p, rc);
    } while (rc == -ETIMEDOUT);
    perf_worker_done(worker);
    embar_publisher_close(p.publisher);
    free(p.template);
}
