/*
 * embar-pub: publishes files, standard input or generated messages to the subscribers of a stream.
 * Reads its command line, moves messages from a source to the publisher, waits until they have
 * arrived, and reports. Owns the publisher; one thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <embar/embar.h>

#include "common/clock.h"
#include "progress.h"
#include "pub_args.h"
#include "report.h"

struct pub {
    struct pub_args args;
    struct outcome outcome;
    struct input input;
    struct generate generate;
    struct source *source;             /* one of the two */
    struct embar_publisher *publisher; /* owned */
    struct progress progress;
    bool drained; /* an interrupt ended the source before its end */
};

static void read_stats(const void *source, struct embar_stats *stats)
{
    embar_publisher_stats(source, stats);
}

/* A negative result of the publisher, or of a time-out that was its last. Returns false. */
static bool lost(struct pub *pub, int rc)
{
    const struct embar_diag *failure = embar_publisher_failure(pub->publisher);

    outcome_fail(&pub->outcome, TOOL_TRANSPORT, "%s",
                 failure->error ? failure->text : strerror(-rc));
    return false;
}

static bool has_failed(const struct pub *pub)
{
    return embar_publisher_failure(pub->publisher)->error != 0;
}

/* Whether the run goes on after a call on the publisher. */
static bool goes_on(struct pub *pub, int rc)
{
    progress_tick(&pub->progress);
    return rc >= 0 || lost(pub, rc);
}

static void say_what_is_awaited(struct pub *pub)
{
    const char *address = embar_publisher_address(pub->publisher);
    char subscribers[32], connect[1024];

    args_config(&pub->args.common, "publisher.min_subscribers", subscribers, sizeof(subscribers));
    if (address[0])
        tool_say(EMBAR_LOG_INFO, "listening on %s, waiting without bound for subscribers: %s",
                 address, subscribers);
    else
        tool_say(EMBAR_LOG_INFO, "connecting to %s, waiting for subscribers: %s",
                 args_config(&pub->args.common, "publisher.connect", connect, sizeof(connect)),
                 subscribers);
}

/* Until publisher.min_subscribers have joined. False: it ends here. */
static bool wait_for_subscribers(struct pub *pub)
{
    say_what_is_awaited(pub);
    for (;;) {
        int rc = embar_publisher_wait(pub->publisher, progress_wait_ms(&pub->progress));

        if (rc == 0)
            return true;
        if (rc != -ETIMEDOUT || has_failed(pub))
            return lost(pub, rc);
        progress_tick(&pub->progress);
        if (tool_interrupts() > 0) {
            outcome_fail(&pub->outcome, TOOL_DATA,
                         "interrupted before enough subscribers had joined; nothing was published");
            return false;
        }
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a && a < b ? a : b;
}

/* Sleeps until the source or the publisher has something to do. */
static bool idle(struct pub *pub, const struct source_wait *wait)
{
    struct pollfd fds[2] = {{.fd = wait->fd, .events = POLLIN},
                            {.fd = embar_publisher_fd(pub->publisher), .events = POLLIN}};
    int rc = embar_publisher_arm(pub->publisher);

    if (rc == 0) {
        uint64_t now_ns = tool_now_ns();
        unsigned wait_ms = (unsigned)progress_wait_ms(&pub->progress);
        uint64_t until_ns = earlier(wait->until_ns, now_ns + wait_ms * NS_PER_MS);
        uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
        struct timespec left = {.tv_sec = (time_t)(left_ns / NS_PER_S),
                                .tv_nsec = (long)(left_ns % NS_PER_S)};

        /* An interrupt that comes just before this sleep is seen when it ends. */
        (void)ppoll(fds, 2, &left, NULL);
    } else if (rc != -EAGAIN) {
        return lost(pub, rc);
    }
    return goes_on(pub, embar_publisher_poll(pub->publisher, 0));
}

/* Until the source ends or an interrupt comes. False: something failed. */
static bool publish_all(struct pub *pub)
{
    for (;;) {
        struct source_wait wait = {.fd = -1};
        bool go_on = false;

        if (tool_interrupts() > 0) {
            pub->drained = true;
            return true;
        }
        switch (pub->source->step(pub->source, pub->publisher, &wait, &pub->outcome)) {
        case SOURCE_MORE:
            go_on = goes_on(pub, embar_publisher_poll(pub->publisher, 0));
            break;
        case SOURCE_FULL:
            go_on = goes_on(pub,
                            embar_publisher_poll(pub->publisher, progress_wait_ms(&pub->progress)));
            break;
        case SOURCE_IDLE:
            go_on = idle(pub, &wait);
            break;
        case SOURCE_END:
            return true;
        case SOURCE_FAILED:
            return false;
        }
        if (!go_on)
            return false;
    }
}

/* Repeats `embar_flush`, or with `finish` `embar_publisher_finish`, until it is done, it fails, or
 * an interrupt more than had come before asks to end at once. */
static bool flush(struct pub *pub, enum embar_level level, bool finish)
{
    int interrupts = pub->drained ? 1 : 0;

    for (;;) {
        int wait_ms = progress_wait_ms(&pub->progress);
        int rc = finish ? embar_publisher_finish(pub->publisher, wait_ms)
                        : embar_flush(pub->publisher, level, wait_ms);

        if (rc == 0)
            return true;
        if (rc == -EBADMSG) {
            outcome_fail(&pub->outcome, TOOL_DATA, "%s",
                         has_failed(pub) ? embar_publisher_failure(pub->publisher)->text
                                         : "a subscriber counted other totals than were published");
            return false;
        }
        if (rc != -ETIMEDOUT || has_failed(pub))
            return lost(pub, rc);
        progress_tick(&pub->progress);
        if (tool_interrupts() > interrupts) {
            outcome_fail(&pub->outcome, TOOL_DATA,
                         "interrupted before all that was published had been %s",
                         level == EMBAR_CONSUMED ? "consumed"
                         : level == EMBAR_PLACED ? "placed"
                                                 : "sent");
            return false;
        }
    }
}

/*
 * The end of a stream whose source has come to its end. With a level below consumed the totals are
 * sent, but nobody waits for their confirmation.
 */
static void finish(struct pub *pub)
{
    struct embar_stats stats;
    int rc;

    if (pub->args.flush_level == EMBAR_CONSUMED) {
        if (!flush(pub, EMBAR_CONSUMED, true))
            return;
    } else {
        if (!flush(pub, pub->args.flush_level, false))
            return;
        rc = embar_publisher_finish(pub->publisher, 0);
        if (rc != 0 && rc != -ETIMEDOUT) {
            lost(pub, rc);
            return;
        }
    }
    embar_publisher_stats(pub->publisher, &stats);
    if (stats.gaps > 0)
        outcome_fail(&pub->outcome, TOOL_DATA,
                     "%" PRIu64 " messages were dropped for a slow subscriber", stats.gaps);
    if (stats.peers_lost > 0)
        outcome_fail(&pub->outcome, TOOL_DATA, "%" PRIu32 " of %" PRIu32 " subscribers were lost",
                     stats.peers_lost, stats.peers_joined);
    if (pub->drained && !pub->source->open_ended)
        outcome_fail(&pub->outcome, TOOL_DATA,
                     "interrupted after %" PRIu64
                     " messages, which were delivered; the rest of the "
                     "input was not published",
                     stats.messages);
}

/* Settles what depends on the largest message. */
static bool prepare_source(struct pub *pub)
{
    size_t max_message = embar_publisher_max_message(pub->publisher);
    char batch_size[32], linger[32];
    uint64_t linger_ns = 0;

    args_config(&pub->args.common, "batch.size", batch_size, sizeof(batch_size));
    if (!pub->args.generating) {
        args_config(&pub->args.common, "batch.linger", linger, sizeof(linger));
        if (value_time("batch.linger", linger, &linger_ns, &pub->outcome) != TOOL_OK)
            return false;
        input_limit(&pub->input, max_message, batch_size, linger_ns);
        return true;
    }
    if (pub->args.size_bytes > max_message) {
        outcome_fail(&pub->outcome, TOOL_USAGE,
                     "--size %" PRIu64
                     ": the largest message with batch.size %s is %zu bytes; raise "
                     "batch.size",
                     pub->args.size_bytes, batch_size, max_message);
        return false;
    }
    return true;
}

static void publish(struct pub *pub)
{
    if (!prepare_source(pub) || !wait_for_subscribers(pub))
        return;
    if (publish_all(pub)) {
        finish(pub);
    } else if (!has_failed(pub)) {
        /* The input failed. What came before arrives, but without the totals that would tell the
         * subscribers that this is all. */
        flush(pub, EMBAR_CONSUMED, false);
    }
}

static bool open_source(struct pub *pub)
{
    const struct pub_args *args = &pub->args;

    if (args->generating) {
        generate_init(&pub->generate);
        pub->generate.size_bytes = args->size_bytes;
        pub->generate.has_total = args->has_total;
        pub->generate.has_count = args->has_count;
        pub->generate.has_duration = args->has_duration;
        pub->generate.total_bytes = args->total_bytes;
        pub->generate.count = args->count;
        pub->generate.duration_ns = args->duration_ns;
        pub->generate.rate = args->rate;
        pub->generate.source.open_ended = !args->has_total && !args->has_count;
        pub->source = &pub->generate.source;
        return true;
    }
    pub->source = &pub->input.source;
    return input_open(&pub->input, args->paths, args->path_count, args->format, &pub->outcome) ==
           TOOL_OK;
}

static void run(struct pub *pub, struct embar_stats *stats)
{
    struct embar_diag diag = {0};
    int rc;

    if (!open_source(pub))
        return;
    rc = embar_publisher_open(pub->args.common.config, &pub->publisher, &diag);
    if (rc != 0) {
        outcome_fail(&pub->outcome, rc == -EINVAL ? TOOL_USAGE : TOOL_TRANSPORT, "%s", diag.text);
        return;
    }
    progress_start(&pub->progress, pub->args.common.stats_ns, pub->args.progress, read_stats,
                   pub->publisher);
    publish(pub);
    progress_end(&pub->progress);
    embar_publisher_stats(pub->publisher, stats);
    embar_publisher_close(pub->publisher);
    input_close(&pub->input);
}

int main(int argc, char **argv)
{
    static struct pub pub = {.input = {.fd = -1}};
    struct embar_stats stats = {0};
    char stream[256];

    tool_start("embar-pub");
    if (pub_args_parse(&pub.args, argc, argv, &pub.outcome) == ARGS_RUN)
        run(&pub, &stats);
    if (pub.args.common.report)
        report_write(pub.args.common.report,
                     args_config(&pub.args.common, "stream", stream, sizeof(stream)), &stats, NULL,
                     &pub.outcome);
    pub_args_destroy(&pub.args);
    return (int)pub.outcome.status;
}
