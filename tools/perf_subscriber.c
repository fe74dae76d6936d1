/*
 * The subscriber of a run: takes batches, does with them what --touch says, and counts between the
 * marks that the publishers put into the stream, so that its CPU time is that of the measured time
 * alone. It talks to the parent before and after, never in between. One thread.
 */
#include <string.h>

#include "perf_worker.h"

#define CACHE_LINE 64

/* One publisher, known by its session. */
struct origin {
    uint64_t session;
    uint64_t next; /* number that is due */
    bool measured; /* between its marks */
};

struct subscribing {
    struct perf_worker *worker;
    struct embar_subscriber *subscriber;
    struct perf_result *result;
    struct origin origins[PERF_WORKERS];
    unsigned origin_count;
    unsigned begun, ended; /* publishers whose marks have come */
};

static struct origin *find_origin(struct subscribing *s, uint64_t session)
{
    for (unsigned i = 0; i < s->origin_count; i++)
        if (s->origins[i].session == session)
            return &s->origins[i];
    if (s->origin_count == PERF_WORKERS)
        perf_worker_fail(s->worker, TOOL_TRANSPORT, "more publishers joined than were started");
    s->origins[s->origin_count] = (struct origin){.session = session};
    return &s->origins[s->origin_count++];
}

/* A message that does not bear the number that is due: a mark, or a mistake. */
static void __attribute__((noinline, cold))
take_odd(struct subscribing *s, struct origin *origin, uint64_t number, size_t len)
{
    struct perf_result *result = s->result;

    if (len == PERF_SIZE_MIN && number == PERF_MARK_BEGIN) {
        origin->measured = true;
        origin->next = 0;
        if (s->begun++ == 0) {
            embar_subscriber_stats(s->subscriber, &result->begin.stats);
            perf_sample_take(&result->begin);
        }
    } else if (len == PERF_SIZE_MIN && number == PERF_MARK_END) {
        origin->measured = false;
        if (++s->ended == s->worker->point->publishers) {
            perf_sample_take(&result->end);
            embar_subscriber_stats(s->subscriber, &result->end.stats);
        }
    } else {
        result->wrong++;
        origin->next = number + 1;
    }
}

/* One word of every cache line: each has come into this core's reach then. */
static uint64_t read_lines(const unsigned char *data, size_t len)
{
    uint64_t sum = 0, word;

    for (size_t at = 0; at + sizeof(word) <= len; at += CACHE_LINE) {
        memcpy(&word, data + at, sizeof(word));
        sum += word;
    }
    return sum;
}

static inline uint64_t number_of(const void *data, size_t len)
{
    uint64_t number = 0;

    memcpy(&number, data, len < sizeof(number) ? len : sizeof(number));
    return number;
}

static void record_latency(struct subscribing *s, const unsigned char *data, size_t len)
{
    uint64_t due_ns, now_ns = tool_now_ns();

    if (len < PERF_SIZE_MIN)
        return; /* no time in it */
    memcpy(&due_ns, data + sizeof(uint64_t), sizeof(due_ns));
    histogram_record(&s->result->latency, now_ns > due_ns ? now_ns - due_ns : 0);
}

static int take_messages(struct subscribing *s, struct origin *origin, struct embar_iter *it,
                         bool read_all)
{
    bool timed = s->worker->plan->mode == PERF_LOAD && origin->measured;
    uint64_t sum = 0;
    const void *data;
    size_t len;
    int rc;

    while ((rc = embar_iter_next(it, &data, &len)) == 1) {
        uint64_t number = number_of(data, len);

        if (number == origin->next) {
            origin->next++;
            if (timed)
                record_latency(s, data, len);
        } else {
            take_odd(s, origin, number, len);
        }
        if (read_all)
            sum += read_lines(data, len);
    }
    s->result->sum += sum;
    return rc;
}

static void take_batch(struct subscribing *s, struct embar_batch *batch)
{
    struct embar_iter it = embar_iterate(batch);
    struct embar_batch_info info;
    struct origin *origin;
    const void *data;
    size_t len;
    int rc = 0;

    embar_batch_info(batch, &info);
    origin = find_origin(s, info.publisher);
    if (origin->measured)
        s->result->messages += info.messages;
    if (s->worker->plan->touch == PERF_TOUCH_NONE) {
        rc = embar_iter_next(&it, &data, &len);
        if (rc == 1 && len == PERF_SIZE_MIN && number_of(data, len) >= PERF_MARK_BEGIN)
            take_odd(s, origin, number_of(data, len), len);
    } else if (s->worker->plan->touch == PERF_TOUCH_HEADERS) {
        rc = take_messages(s, origin, &it, false);
    } else {
        rc = take_messages(s, origin, &it, true);
    }
    if (rc < 0)
        perf_worker_fail(s->worker, TOOL_DATA, "a batch was built wrongly");
    embar_release(batch);
}

static void take_all(struct subscribing *s)
{
    unsigned publishers = s->worker->point->publishers;

    while (s->ended < publishers) {
        struct embar_batch *batch;
        int rc = embar_next(s->subscriber, &batch, -1);

        perf_worker_check(s->worker, rc, embar_subscriber_failure(s->subscriber));
        if (rc == 1)
            take_batch(s, batch);
    }
}

/* The publishers want their totals confirmed. */
static void see_them_off(struct subscribing *s)
{
    struct embar_stats stats;

    for (;;) {
        embar_subscriber_stats(s->subscriber, &stats);
        if (stats.peers_finished + stats.peers_lost >= s->worker->point->publishers)
            return;
        perf_worker_check(s->worker, embar_subscriber_poll(s->subscriber, 100),
                          embar_subscriber_failure(s->subscriber));
    }
}

void perf_subscriber_main(struct perf_worker *worker)
{
    struct subscribing s = {.worker = worker, .result = &worker->packet.result};

    s.subscriber = perf_worker_subscriber(worker);
    take_all(&s);
    /* The mark of the end is a message too; the batch it came in was counted. */
    s.result->messages -= s.ended;
    perf_worker_done(worker);
    see_them_off(&s);
    embar_subscriber_close(s.subscriber);
}
