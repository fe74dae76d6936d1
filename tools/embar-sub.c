/*
 * embar-sub: takes the messages of a stream's publishers, writes and verifies them, and reports.
 * Owns the subscriber; a batch is held only until its messages are written. One thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <embar/embar.h>

#include "common/clock.h"
#include "output.h"
#include "progress.h"
#include "report.h"
#include "sub_args.h"
#include "verify.h"

#define FAREWELL_NS (2 * NS_PER_S) /* how long after --count publishers may take to finish */

struct sub {
    struct sub_args args;
    struct outcome outcome;
    struct output output;
    struct verify verify;
    struct embar_subscriber *subscriber; /* owned */
    struct progress progress;
    uint64_t min_publishers;
    uint64_t taken;     /* messages */
    uint64_t malformed; /* batches */
};

static void read_stats(const void *source, struct embar_stats *stats)
{
    embar_subscriber_stats(source, stats);
}

static bool lost(struct sub *sub, int rc)
{
    const struct embar_diag *failure = embar_subscriber_failure(sub->subscriber);

    outcome_fail(&sub->outcome, TOOL_TRANSPORT, "%s",
                 failure->error ? failure->text : strerror(-rc));
    return false;
}

/* Called while the output takes nothing: links go on, and a second interrupt ends it. */
static bool wait_for_output(int fd, void *user)
{
    struct sub *sub = user;
    struct pollfd fds[2] = {{.fd = fd, .events = POLLOUT},
                            {.fd = embar_subscriber_fd(sub->subscriber), .events = POLLIN}};
    int rc = embar_subscriber_arm(sub->subscriber);

    if (rc == 0)
        (void)poll(fds, 2, progress_wait_ms(&sub->progress));
    if (rc == 0 || rc == -EAGAIN)
        (void)embar_subscriber_poll(sub->subscriber, 0); /* a failure shows at the next batch */
    progress_tick(&sub->progress);
    return tool_interrupts() < 2;
}

/* ---- a batch ------------------------------------------------------------------------------- */

/* Whether each message has to be looked at. */
static bool walks(const struct sub *sub)
{
    return sub->args.verify || output_wanted(&sub->output);
}

static uint64_t left_to_take(const struct sub *sub)
{
    return sub->args.has_count ? sub->args.count - sub->taken : UINT64_MAX;
}

static bool walk(struct sub *sub, const struct embar_batch *batch)
{
    struct embar_iter it = embar_iterate(batch);
    uint64_t left = left_to_take(sub);
    const void *data;
    size_t len;
    int rc = 0;

    while (left > 0 && (rc = embar_iter_next(&it, &data, &len)) == 1) {
        if (sub->args.verify)
            verify_message(&sub->verify, data, len);
        if (output_wanted(&sub->output) &&
            output_message(&sub->output, data, len, &sub->outcome) != TOOL_OK)
            return false;
        sub->taken++;
        left--;
    }
    if (rc < 0)
        sub->malformed++;
    return true;
}

/* Writes and checks a batch. False: the output failed. */
static bool take(struct sub *sub, const struct embar_batch *batch)
{
    struct embar_batch_info info;

    embar_batch_info(batch, &info);
    if (!walks(sub)) {
        uint64_t left = left_to_take(sub);

        sub->taken += info.messages < left ? info.messages : left;
        return true;
    }
    if (sub->args.verify && verify_batch(&sub->verify, &info) != 0) {
        outcome_fail(&sub->outcome, TOOL_DATA, "no memory to verify one more publisher");
        return false;
    }
    if (!output_wanted(&sub->output))
        return walk(sub, batch);
    return output_begin(&sub->output, info.publisher, &sub->outcome) == TOOL_OK &&
           walk(sub, batch) && output_end(&sub->output, &sub->outcome) == TOOL_OK;
}

/* ---- the run ------------------------------------------------------------------------------- */

/* --once: enough publishers have joined, and all that have joined have ended. */
static bool publishers_are_done(const struct sub *sub)
{
    struct embar_stats stats;

    embar_subscriber_stats(sub->subscriber, &stats);
    return stats.peers_joined >= sub->min_publishers &&
           stats.peers_finished + stats.peers_lost >= stats.peers_joined;
}

static bool counted(const struct sub *sub)
{
    return sub->args.has_count && sub->taken >= sub->args.count;
}

/* Takes batches until a condition of the command line or an interrupt ends it. False: it failed. */
static bool take_all(struct sub *sub)
{
    while (!counted(sub) && tool_interrupts() == 0) {
        struct embar_batch *batch;
        int rc = embar_next(sub->subscriber, &batch, progress_wait_ms(&sub->progress));

        if (rc < 0)
            return lost(sub, rc);
        if (rc == 1) {
            bool written = take(sub, batch);

            embar_release(batch);
            if (!written)
                return false;
        } else if (sub->args.once && publishers_are_done(sub)) {
            return true;
        }
        progress_tick(&sub->progress);
    }
    return true;
}

/*
 * After an interrupt: takes what is placed already. Batches are held until all of it is written, so
 * that publishers get no credit for more.
 */
static bool drain(struct sub *sub)
{
    struct embar_batch **held = NULL, *batch;
    size_t count = 0;
    bool good = true;
    int rc = 0;

    while (good && !counted(sub) && tool_interrupts() < 2 &&
           (rc = embar_next(sub->subscriber, &batch, 0)) == 1) {
        struct embar_batch **grown = realloc(held, (count + 1) * sizeof(*grown));

        good = take(sub, batch);
        if (!grown) {
            embar_release(batch);
            continue;
        }
        held = grown;
        held[count++] = batch;
    }
    for (size_t i = 0; i < count; i++)
        embar_release(held[i]);
    free(held);
    if (rc < 0)
        return lost(sub, rc);
    (void)embar_subscriber_poll(sub->subscriber, 0); /* the credits go out */
    return good;
}

/* After --count: lets publishers that have published just that many finish in order. */
static void farewell(struct sub *sub)
{
    uint64_t until_ns = tool_now_ns() + FAREWELL_NS;

    while (!publishers_are_done(sub) && tool_now_ns() < until_ns && tool_interrupts() == 0) {
        struct embar_batch *batch;
        int rc = embar_next(sub->subscriber, &batch, progress_wait_ms(&sub->progress));

        if (rc == 1)
            embar_release(batch);
        if (rc != 0) /* there is more than was asked for, or nobody left */
            break;
    }
}

/* What the run makes of what came. */
static void judge(struct sub *sub)
{
    struct outcome *outcome = &sub->outcome;
    struct embar_stats stats;

    embar_subscriber_stats(sub->subscriber, &stats);
    if (sub->verify.mismatches > 0)
        outcome_fail(outcome, TOOL_DATA, "%" PRIu64 " messages are wrong; the first: %s",
                     sub->verify.mismatches, sub->verify.first);
    if (sub->malformed > 0)
        outcome_fail(outcome, TOOL_DATA,
                     "%" PRIu64 " batches were built wrongly by their publisher", sub->malformed);
    if (stats.gaps > 0)
        outcome_fail(outcome, TOOL_DATA, "%" PRIu64 " messages are missing", stats.gaps);
    if (sub->args.has_count) {
        if (!counted(sub))
            outcome_fail(outcome, TOOL_DATA, "%" PRIu64 " of --count %" PRIu64 " messages came",
                         sub->taken, sub->args.count);
        return; /* what comes after the count was not asked for */
    }
    if (stats.peers_lost > 0)
        outcome_fail(outcome, TOOL_DATA,
                     "%" PRIu32 " of %" PRIu32 " publishers were lost before they had finished",
                     stats.peers_lost, stats.peers_joined);
    if (sub->args.once && !publishers_are_done(sub))
        outcome_fail(outcome, TOOL_DATA,
                     "interrupted before all publishers had finished: %" PRIu32 " joined, %" PRIu32
                     " finished",
                     stats.peers_joined, stats.peers_finished);
}

static void say_what_is_awaited(struct sub *sub)
{
    const char *address = embar_subscriber_address(sub->subscriber);
    char connect[1024];

    if (address[0])
        tool_say(EMBAR_LOG_INFO, "listening on %s for publishers", address);
    else
        tool_say(EMBAR_LOG_INFO, "connecting to %s",
                 args_config(&sub->args.common, "subscriber.connect", connect, sizeof(connect)));
}

static void subscribe(struct sub *sub)
{
    bool good;

    say_what_is_awaited(sub);
    good = take_all(sub);
    if (good && tool_interrupts() > 0)
        good = drain(sub);
    if (good && counted(sub))
        farewell(sub);
    judge(sub);
}

static void run(struct sub *sub, struct embar_stats *stats)
{
    struct embar_diag diag = {0};
    char publishers[32];
    int rc;

    args_config(&sub->args.common, "subscriber.min_publishers", publishers, sizeof(publishers));
    sub->min_publishers = strtoull(publishers, NULL, 10);
    verify_init(&sub->verify);
    rc = embar_subscriber_open(sub->args.common.config, &sub->subscriber, &diag);
    if (rc != 0) {
        outcome_fail(&sub->outcome, rc == -EINVAL ? TOOL_USAGE : TOOL_TRANSPORT, "%s", diag.text);
        return;
    }
    /* Opened after the subscriber, so that a run that cannot start leaves an old output as it was.
     */
    if (output_open(&sub->output, sub->args.output, sub->args.format, wait_for_output, sub,
                    &sub->outcome) == TOOL_OK) {
        progress_start(&sub->progress, sub->args.common.stats_ns, sub->args.progress, read_stats,
                       sub->subscriber);
        subscribe(sub);
        output_finish(&sub->output, &sub->outcome);
        progress_end(&sub->progress);
    }
    embar_subscriber_stats(sub->subscriber, stats);
    embar_subscriber_close(sub->subscriber);
}

int main(int argc, char **argv)
{
    static struct sub sub;
    struct embar_stats stats = {0};
    char stream[256];

    tool_start("embar-sub");
    if (sub_args_parse(&sub.args, argc, argv, &sub.outcome) == ARGS_RUN)
        run(&sub, &stats);
    if (sub.args.common.report)
        report_write(sub.args.common.report,
                     args_config(&sub.args.common, "stream", stream, sizeof(stream)), &stats,
                     sub.args.verify ? &sub.verify : NULL, &sub.outcome);
    verify_destroy(&sub.verify);
    sub_args_destroy(&sub.args);
    return (int)sub.outcome.status;
}
