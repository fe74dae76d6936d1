/*
 * The parent's side of a run: forks the workers, brings them to a common start, collects what they
 * measured. It owns the processes and their control sockets, and whatever happens reaps every one
 * before it returns. A socket that closes before its worker has reported is a worker that died.
 * One thread.
 */
#include "perf_run.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "perf_worker.h"

#define LOOK_MS     200 /* how often an interrupt is looked for */
#define SET_UP_NS   (60 * NS_PER_S)
#define OVERTIME_NS (60 * NS_PER_S)

enum progress_of {
    STARTED,
    LISTENING,
    READY,
    DONE,
    ENDED, /* reaped */
};

struct member {
    enum perf_role role;
    unsigned number; /* among those of its role */
    pid_t pid;
    int control;
    enum progress_of progress;
    char address[128];
};

struct crew {
    const struct perf_plan *plan;
    const struct perf_point *point;
    struct perf_result *results;
    struct outcome *outcome;
    struct member members[PERF_WORKERS];
    unsigned count;
    char addresses[PERF_WORKERS * 128]; /* of all subscribers */
};

static const char *name_of(const struct crew *crew, const struct member *member, char *text,
                           size_t text_bytes)
{
    static const char *const names[] = {
        [PERF_PUBLISHER] = "publisher",
        [PERF_SUBSCRIBER] = "subscriber",
        [PERF_PINGER] = "the pinging end",
        [PERF_PONGER] = "the answering end",
    };
    unsigned of_its_role = member->role == PERF_PUBLISHER    ? crew->point->publishers
                           : member->role == PERF_SUBSCRIBER ? crew->point->subscribers
                                                             : 1;

    if (of_its_role == 1)
        snprintf(text, text_bytes, "%s", names[member->role]);
    else
        snprintf(text, text_bytes, "%s %u", names[member->role], member->number + 1);
    return text;
}

static _Noreturn void become(struct crew *crew, struct member *member, unsigned index)
{
    struct perf_worker *worker = calloc(1, sizeof(*worker));

    if (!worker)
        _exit(TOOL_TRANSPORT);
    for (unsigned i = 0; i < crew->count; i++)
        if (&crew->members[i] != member && crew->members[i].control >= 0)
            close(crew->members[i].control);
    worker->plan = crew->plan;
    worker->point = crew->point;
    worker->addresses = crew->addresses;
    worker->index = index;
    worker->control = member->control;
    perf_worker_run(worker, member->role);
}

/* Members stand in the order of their results; `index` is the place. */
static bool start(struct crew *crew, unsigned index, enum perf_role role, unsigned number)
{
    struct member *member = &crew->members[index];
    char name[64];
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        outcome_fail(crew->outcome, TOOL_TRANSPORT, "no socket for a process: %s", strerror(errno));
        return false;
    }
    fflush(NULL); /* or the child has a copy of what is not written yet */
    *member = (struct member){.role = role, .number = number, .control = pair[1]};
    member->pid = fork();
    if (member->pid == 0) {
        close(pair[0]);
        become(crew, member, index);
    }
    close(pair[1]);
    member->control = pair[0];
    if (member->pid < 0) {
        outcome_fail(crew->outcome, TOOL_TRANSPORT,
                     "no process could be started for %s: %s (see ulimit -u and pids.max)",
                     name_of(crew, member, name, sizeof(name)), strerror(errno));
        close(pair[0]);
        /* Not to be ended: a process id of -1 means every process. */
        *member = (struct member){.control = -1, .progress = ENDED};
        return false;
    }
    return true;
}

static void reap(struct member *member, int *wait_status)
{
    while (waitpid(member->pid, wait_status, 0) < 0 && errno == EINTR)
        ;
    close(member->control);
    member->control = -1;
    member->progress = ENDED;
}

/* Its socket closed. False: it did so without having reported. */
static bool take_end(struct crew *crew, struct member *member)
{
    bool was_done = member->progress == DONE;
    int wait_status = 0;
    char name[64];

    name_of(crew, member, name, sizeof(name));
    reap(member, &wait_status);
    if (WIFSIGNALED(wait_status))
        outcome_fail(crew->outcome, TOOL_TRANSPORT, "%s was killed by signal %d (%s)", name,
                     WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
    else if (WEXITSTATUS(wait_status) != 0 || !was_done)
        outcome_fail(crew->outcome, TOOL_TRANSPORT, "%s ended unexpectedly with exit status %d",
                     name, WEXITSTATUS(wait_status));
    else
        return true;
    return false;
}

static bool take_failure(struct crew *crew, struct member *member, struct perf_packet *packet)
{
    char name[64];

    packet->text[sizeof(packet->text) - 1] = '\0';
    if (packet->status == TOOL_USAGE)
        outcome_fail(crew->outcome, packet->status, "%.500s", packet->text);
    else
        outcome_fail(crew->outcome, packet->status, "%s: %.500s",
                     name_of(crew, member, name, sizeof(name)), packet->text);
    return false;
}

static bool take_packet(struct crew *crew, struct member *member)
{
    static struct perf_packet packet; /* large */
    int rc = perf_packet_take(member->control, &packet);

    if (rc == 0)
        return true;
    if (rc < 0)
        return take_end(crew, member);
    switch (packet.word) {
    case PERF_LISTENING:
        snprintf(member->address, sizeof(member->address), "%.127s", packet.text);
        member->progress = LISTENING;
        return true;
    case PERF_READY:
        member->progress = READY;
        return true;
    case PERF_DONE:
        crew->results[member - crew->members] = packet.result;
        member->progress = DONE;
        return true;
    case PERF_FAILED:
        return take_failure(crew, member, &packet);
    case PERF_CONNECT:
    case PERF_GO:
        break;
    }
    outcome_fail(crew->outcome, TOOL_TRANSPORT, "a process said what only its parent says");
    return false;
}

/* Closed sockets first: a crash explains the failures that others report because of it. */
static bool take_packets(struct crew *crew, const struct pollfd *fds)
{
    for (unsigned i = 0; i < crew->count; i++)
        if ((fds[i].revents & (POLLHUP | POLLERR)) && !(fds[i].revents & POLLIN) &&
            !take_end(crew, &crew->members[i]))
            return false;
    for (unsigned i = 0; i < crew->count; i++)
        if ((fds[i].revents & POLLIN) && !take_packet(crew, &crew->members[i]))
            return false;
    return true;
}

static bool all_are(const struct crew *crew, unsigned from, unsigned to, enum progress_of progress)
{
    for (unsigned i = from; i < to; i++)
        if (crew->members[i].progress < progress)
            return false;
    return true;
}

/* Until members [from, to) have come so far. */
static bool await(struct crew *crew, unsigned from, unsigned to, enum progress_of progress,
                  uint64_t patience_ns, const char *what)
{
    uint64_t end_ns = tool_now_ns() + patience_ns;
    struct pollfd fds[PERF_WORKERS];

    while (!all_are(crew, from, to, progress)) {
        for (unsigned i = 0; i < crew->count; i++)
            fds[i] = (struct pollfd){.fd = crew->members[i].control, .events = POLLIN};
        if (poll(fds, crew->count, LOOK_MS) > 0 && !take_packets(crew, fds))
            return false;
        if (tool_interrupts() > 0) {
            outcome_fail(crew->outcome, TOOL_DATA, "interrupted in the middle of a run");
            return false;
        }
        if (tool_now_ns() > end_ns) {
            outcome_fail(crew->outcome, TOOL_TRANSPORT,
                         "after %" PRIu64 " s not all processes had %s",
                         (uint64_t)(patience_ns / NS_PER_S), what);
            return false;
        }
    }
    return true;
}

static bool tell(struct crew *crew, unsigned from, unsigned to, enum perf_word word,
                 const char *text)
{
    static struct perf_packet packet;

    packet.word = word;
    snprintf(packet.text, sizeof(packet.text), "%s", text);
    for (unsigned i = from; i < to; i++)
        if (!perf_packet_send(crew->members[i].control, &packet)) {
            take_end(crew, &crew->members[i]);
            return false;
        }
    return true;
}

static uint64_t run_time_ns(const struct perf_plan *plan)
{
    /* A schedule that cannot be kept is still sent to its end. */
    return plan->duration_ns * (plan->mode == PERF_LOAD ? 4 : 1) + OVERTIME_NS;
}

static bool run_stream(struct crew *crew)
{
    unsigned publishers = crew->point->publishers, all = publishers + crew->point->subscribers;

    for (unsigned i = 0; i < publishers; i++)
        crew->members[i] = (struct member){.control = -1, .progress = ENDED};
    for (crew->count = publishers; crew->count < all; crew->count++)
        if (!start(crew, crew->count, PERF_SUBSCRIBER, crew->count - publishers))
            return false;
    if (!await(crew, publishers, all, LISTENING, SET_UP_NS, "begun to listen"))
        return false;
    for (unsigned i = publishers; i < all; i++)
        snprintf(crew->addresses + strlen(crew->addresses),
                 sizeof(crew->addresses) - strlen(crew->addresses), "%s%s",
                 i > publishers ? "," : "", crew->members[i].address);
    for (unsigned i = 0; i < publishers; i++)
        if (!start(crew, i, PERF_PUBLISHER, i))
            return false;
    return await(crew, 0, publishers, READY, SET_UP_NS + crew->plan->warmup_ns,
                 "joined and warmed up") &&
           tell(crew, 0, publishers, PERF_GO, "") &&
           await(crew, 0, all, DONE, run_time_ns(crew->plan), "finished") &&
           await(crew, 0, all, ENDED, OVERTIME_NS, "ended");
}

static bool run_pingpong(struct crew *crew)
{
    for (crew->count = 0; crew->count < 2; crew->count++)
        if (!start(crew, crew->count, crew->count == 0 ? PERF_PINGER : PERF_PONGER, 0))
            return false;
    return await(crew, 0, 2, LISTENING, SET_UP_NS, "begun to listen") &&
           tell(crew, 0, 1, PERF_CONNECT, crew->members[1].address) &&
           tell(crew, 1, 2, PERF_CONNECT, crew->members[0].address) &&
           await(crew, 0, 2, READY, SET_UP_NS, "joined") && tell(crew, 0, 2, PERF_GO, "") &&
           await(crew, 0, 2, DONE, run_time_ns(crew->plan) + crew->plan->warmup_ns, "finished") &&
           await(crew, 0, 2, ENDED, OVERTIME_NS, "ended");
}

static void end_all(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++)
        if (crew->members[i].progress != ENDED) {
            kill(crew->members[i].pid, SIGKILL);
            reap(&crew->members[i], NULL);
        }
}

/* What was published has arrived, once each, in order: otherwise the figures mean nothing. */
static void check_delivery(struct crew *crew)
{
    uint64_t published = 0;
    char name[64];

    for (unsigned i = 0; i < crew->count; i++) {
        const struct perf_result *result = &crew->results[i];

        if (crew->members[i].role == PERF_PUBLISHER)
            published += result->messages;
        if (crew->members[i].role != PERF_SUBSCRIBER)
            continue;
        name_of(crew, &crew->members[i], name, sizeof(name));
        if (result->messages != published)
            outcome_fail(crew->outcome, TOOL_DATA,
                         "%s got %" PRIu64 " messages of %" PRIu64 " published", name,
                         result->messages, published);
        else if (result->wrong > 0)
            outcome_fail(crew->outcome, TOOL_DATA, "%s got %" PRIu64 " messages out of sequence",
                         name, result->wrong);
    }
}

enum tool_status perf_run(const struct perf_plan *plan, const struct perf_point *point,
                          struct perf_result *results, struct outcome *outcome)
{
    struct crew *crew = calloc(1, sizeof(*crew));

    if (!crew)
        return outcome_fail(outcome, TOOL_TRANSPORT, "out of memory");
    crew->plan = plan;
    crew->point = point;
    crew->results = results;
    crew->outcome = outcome;
    if (plan->mode == PERF_LATENCY ? run_pingpong(crew) : run_stream(crew))
        check_delivery(crew);
    else if (outcome->status == TOOL_OK)
        outcome_fail(outcome, TOOL_TRANSPORT, "the run did not come to its end");
    end_all(crew);
    free(crew);
    return outcome->status;
}
