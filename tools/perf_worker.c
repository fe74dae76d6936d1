/*
 * What all processes of a run have in common. A worker ends with exit status 0 whenever it could
 * tell the parent what happened; any other end is a crash, and the parent says so.
 */
#include "perf_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "perf_sweep.h"

bool perf_packet_send(int fd, const struct perf_packet *packet)
{
    size_t len = packet->word == PERF_DONE
                     ? sizeof(*packet)
                     : offsetof(struct perf_packet, text) + sizeof(packet->text);

    while (send(fd, packet, len, MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return false;
    return true;
}

int perf_packet_take(int fd, struct perf_packet *packet)
{
    ssize_t got;

    do
        got = recv(fd, packet, sizeof(*packet), MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return got > 0 ? 1 : -1;
}

void perf_worker_fail(struct perf_worker *worker, enum tool_status status, const char *fmt, ...)
{
    struct perf_packet packet = {.word = PERF_FAILED, .status = status};
    va_list args;

    va_start(args, fmt);
    vsnprintf(packet.text, sizeof(packet.text), fmt, args);
    va_end(args);
    perf_packet_send(worker->control, &packet);
    _exit(0);
}

void perf_worker_tell(struct perf_worker *worker, enum perf_word word, const char *text)
{
    struct perf_packet packet = {.word = word};

    snprintf(packet.text, sizeof(packet.text), "%s", text);
    if (!perf_packet_send(worker->control, &packet))
        _exit(0); /* the parent is gone: nobody wants to know */
}

void perf_worker_done(struct perf_worker *worker)
{
    worker->packet.word = PERF_DONE;
    if (!perf_packet_send(worker->control, &worker->packet))
        _exit(0);
}

void perf_worker_check(struct perf_worker *worker, int rc, const struct embar_diag *failure)
{
    if (rc == -EBADMSG && !failure->error)
        perf_worker_fail(worker, TOOL_DATA,
                         "a subscriber counted other totals than were published");
    if (failure->error || (rc < 0 && rc != -EAGAIN && rc != -ETIMEDOUT))
        perf_worker_fail(worker, TOOL_TRANSPORT, "%s",
                         failure->error ? failure->text : strerror(-rc));
}

struct embar_publisher *perf_worker_publisher(struct perf_worker *worker)
{
    struct embar_publisher *publisher;
    struct embar_diag diag = {0};
    int rc = perf_config_set(worker->config, &diag, "publisher.connect=%s", worker->addresses);

    if (rc == 0)
        rc = embar_publisher_open(worker->config, &publisher, &diag);
    if (rc != 0)
        perf_worker_fail(worker, rc == -EINVAL ? TOOL_USAGE : TOOL_TRANSPORT, "%s", diag.text);
    return publisher;
}

size_t perf_worker_message_size(struct perf_worker *worker, const struct embar_publisher *publisher)
{
    size_t most = embar_publisher_max_message(publisher);
    size_t size = worker->point->size_bytes ? worker->point->size_bytes : most;

    if (size > most)
        perf_worker_fail(worker, TOOL_USAGE,
                         "--size %zu: the largest message of such a batch is %zu bytes; raise "
                         "--batch",
                         size, most);
    return size;
}

struct embar_subscriber *perf_worker_subscriber(struct perf_worker *worker)
{
    bool is_v6 = strchr(worker->plan->address, ':') != NULL;
    struct embar_subscriber *subscriber;
    struct embar_diag diag = {0};
    int rc = perf_config_set(worker->config, &diag, "subscriber.listen=%s%s%s:0", is_v6 ? "[" : "",
                             worker->plan->address, is_v6 ? "]" : "");

    if (rc == 0)
        rc = embar_subscriber_open(worker->config, &subscriber, &diag);
    if (rc != 0)
        perf_worker_fail(worker, rc == -EINVAL ? TOOL_USAGE : TOOL_TRANSPORT, "%s", diag.text);
    perf_worker_tell(worker, PERF_LISTENING, embar_subscriber_address(subscriber));
    return subscriber;
}

static uint64_t nanoseconds(const struct timeval *t)
{
    return (uint64_t)t->tv_sec * NS_PER_S + (uint64_t)t->tv_usec * NS_PER_US;
}

void perf_sample_take(struct perf_sample *sample)
{
    struct rusage usage = {0};

    getrusage(RUSAGE_SELF, &usage);
    sample->at_ns = tool_now_ns();
    sample->user_ns = nanoseconds(&usage.ru_utime);
    sample->system_ns = nanoseconds(&usage.ru_stime);
}

static void pin(struct perf_worker *worker)
{
    const struct perf_plan *plan = worker->plan;
    cpu_set_t set;
    int cpu;

    if (plan->cpu_count == 0)
        return;
    cpu = plan->cpus[worker->index % plan->cpu_count];
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        perf_worker_fail(worker, TOOL_USAGE, "--cpus: this process may not run on core %d: %s", cpu,
                         strerror(errno));
}

static void enter_netns(struct perf_worker *worker, const char *name)
{
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "/run/netns/%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
        perf_worker_fail(worker, TOOL_USAGE, "--subscriber-netns: cannot enter %s: %s", path,
                         strerror(errno));
    close(fd);
}

void perf_worker_run(struct perf_worker *worker, enum perf_role role)
{
    static void (*const bodies[])(struct perf_worker *) = {
        [PERF_PUBLISHER] = perf_publisher_main,
        [PERF_SUBSCRIBER] = perf_subscriber_main,
        [PERF_PINGER] = perf_pinger_main,
        [PERF_PONGER] = perf_ponger_main,
    };
    struct embar_diag diag = {0};
    int rc;

    /* A terminal's ctrl-C goes to all processes, but to stop a run is the parent's business. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!worker->plan->verbose)
        embar_log_set(EMBAR_LOG_ERROR, NULL, NULL); /* what fails is told to the parent */
    pin(worker);
    if (worker->plan->subscriber_netns && (role == PERF_SUBSCRIBER || role == PERF_PONGER))
        enter_netns(worker, worker->plan->subscriber_netns);
    rc = perf_sweep_config(worker->plan, worker->point, &worker->config, &diag);
    if (rc != 0)
        perf_worker_fail(worker, TOOL_USAGE, "%s", diag.text);
    bodies[role](worker);
    embar_config_destroy(worker->config);
    exit(0);
}
