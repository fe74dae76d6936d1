/*
 * How fast one link of a transport moves slots: a server exposes a buffer, a client fills it again
 * and again by one-sided writes, each of which the server answers with a credit. What is measured
 * ends with the last credit, so every byte lies in the server's buffer. Or, with latency, how long
 * a small write takes there and an equal one back.
 *
 *   transport_bench server TRANSPORT ADDRESS [KEY=VALUE]...
 *   transport_bench client TRANSPORT ADDRESS MODE SLOT_BYTES SLOTS COUNT [KEY=VALUE]...
 *
 * MODE is write, latency or idle (which only waits for the link to end). The server serves one
 * client and prints "listening on ADDRESS"; the client prints "running" when the link is in use and
 * then one line, "MB/s N" (1e6 bytes) or "us p50 N p99 N". When the link fails, each says how long
 * after "running" that was, "link down after N s: REASON", and exits with 1. One thread each.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <embar/transport.h>

/* What the two say to each other before and besides the writes. */
struct hello {
    struct embar_key key;
    uint64_t slot_bytes, slots, count, latency;
};

struct bench {
    struct embar_transport *transport;
    struct embar_link *link;
    struct embar_buffer *source, *target;
    struct hello own, peer;
    bool up, down, has_peer;
    int status;
    double running_s; /* when the link came into use; 0: not yet */
    uint64_t arrived, credited, done, written, credits_due;
};

static void die(const char *what, const struct embar_diag *diag, int rc)
{
    fprintf(stderr, "transport_bench: %s: %s\n", what,
            diag != NULL && diag->text[0] != '\0' ? diag->text : strerror(-rc));
    exit(1);
}

static void print_log(enum embar_log_level level, const char *line, void *user)
{
    (void)level;
    (void)user;
    fprintf(stderr, "%s\n", line);
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void take_message(struct bench *b, const struct embar_event *event)
{
    if (event->len_bytes == sizeof(b->peer)) {
        memcpy(&b->peer, event->data, sizeof(b->peer));
        b->has_peer = true;
    } else {
        uint32_t credits;
        memcpy(&credits, event->data, sizeof(credits));
        b->credited += credits;
    }
}

static void take(struct bench *b, const struct embar_event *event)
{
    switch (event->type) {
    case EMBAR_EVENT_LINK_REQUEST:
        b->link = event->link;
        if (embar_accept(event->link) < 0)
            die("accept", NULL, -EIO);
        break;
    case EMBAR_EVENT_LINK_UP:
        b->up = true;
        break;
    case EMBAR_EVENT_LINK_DOWN:
        b->down = true;
        b->status = event->status;
        if (event->status < 0)
            fprintf(stderr, "transport_bench: link down after %.2f s: %s\n",
                    b->running_s > 0 ? now_s() - b->running_s : 0.0, event->reason);
        break;
    case EMBAR_EVENT_MESSAGE:
        take_message(b, event);
        break;
    case EMBAR_EVENT_WRITE_DONE:
        b->done++;
        if (event->status < 0)
            fprintf(stderr, "transport_bench: write %lu: %s\n", (unsigned long)event->token,
                    strerror(-event->status));
        break;
    case EMBAR_EVENT_ARRIVAL:
        b->arrived++;
        b->credits_due++;
        break;
    }
}

static void step(struct bench *b, bool sleepy)
{
    struct embar_event events[64];
    int count = embar_poll(b->transport, events, 64);

    if (count < 0)
        die("poll", NULL, count);
    for (int i = 0; i < count; i++)
        take(b, &events[i]);
    if (count == 0 && sleepy && embar_arm(b->transport) == 0) {
        struct pollfd fd = {.fd = embar_fd(b->transport), .events = POLLIN};
        poll(&fd, 1, 1000);
    }
}

static void open_transport(struct bench *b, const char *name, char **settings)
{
    struct embar_diag diag = {0};
    int rc = embar_transport_open(name, (const char *const *)settings, &b->transport, &diag);

    if (rc < 0)
        die("open", &diag, rc);
}

static struct embar_buffer *alloc(struct bench *b, size_t size_bytes, uint32_t access)
{
    struct embar_buffer_options options = {.numa_node = -1, .access = access};
    struct embar_diag diag = {0};
    struct embar_buffer *buffer;
    int rc = embar_buffer_alloc(b->transport, size_bytes, &options, &buffer, &diag);

    if (rc < 0)
        die("buffer", &diag, rc);
    return buffer;
}

static void say_hello(struct bench *b)
{
    struct embar_diag diag = {0};
    int rc = embar_buffer_expose(b->target, b->link, &b->own.key, &diag);

    if (rc < 0)
        die("expose", &diag, rc);
    while ((rc = embar_send(b->link, &b->own, sizeof(b->own))) == -EAGAIN)
        step(b, false);
    if (rc < 0)
        die("send", NULL, rc);
}

static void say_running(struct bench *b)
{
    if (b->running_s > 0)
        return;
    b->running_s = now_s();
    printf("running\n");
    fflush(stdout);
}

static int write_slot(struct bench *b, uint64_t number)
{
    struct embar_write write = {
        .buffer = b->source,
        .offset = number % b->own.slots * b->own.slot_bytes,
        .len_bytes = b->own.slot_bytes,
        .key = b->peer.key,
        .remote_offset = number % b->own.slots * b->own.slot_bytes,
        .immediate = (uint32_t)number,
        .token = number,
    };

    return embar_write(b->link, &write);
}

static void end(struct bench *b)
{
    struct embar_link_stats stats;

    if (!b->down)
        embar_link_disconnect(b->link);
    while (!b->down)
        step(b, true);
    embar_link_stats(b->link, &stats);
    if (stats.receiver_not_ready > 0 || stats.registrations > 0) {
        fprintf(stderr, "transport_bench: RNR %lu, registrations %lu\n",
                (unsigned long)stats.receiver_not_ready, (unsigned long)stats.registrations);
        exit(1);
    }
    embar_link_close(b->link);
    embar_buffer_free(b->source);
    embar_buffer_free(b->target);
    embar_transport_close(b->transport);
    exit(b->status < 0 ? 1 : 0);
}

/* ---- server ------------------------------------------------------------------------------- */

static void give_credits(struct bench *b)
{
    uint32_t credits = (uint32_t)b->credits_due;

    if (credits > 0 && embar_send(b->link, &credits, sizeof(credits)) == 0)
        b->credits_due = 0;
}

static void serve_latency(struct bench *b)
{
    uint64_t answered = 0;

    while (!b->down) {
        step(b, false);
        if (answered < b->arrived && write_slot(b, answered) == 0)
            answered++;
    }
}

static void serve(char **argv)
{
    struct bench b = {0};
    struct embar_listener *listener;
    struct embar_diag diag = {0};
    int rc;

    open_transport(&b, argv[2], argv + 4);
    rc = embar_listen(b.transport, argv[3], &listener, &diag);
    if (rc < 0)
        die("listen", &diag, rc);
    printf("listening on %s\n", embar_listener_address(listener));
    fflush(stdout);
    while (!b.has_peer && !b.down)
        step(&b, true);
    b.own = b.peer;
    b.source = alloc(&b, b.own.slot_bytes * b.own.slots, EMBAR_ACCESS_LOCAL);
    b.target = alloc(&b, b.own.slot_bytes * b.own.slots, EMBAR_ACCESS_REMOTE);
    say_hello(&b);
    if (b.own.latency)
        serve_latency(&b);
    b.running_s = now_s();
    while (!b.down) {
        step(&b, true);
        give_credits(&b);
    }
    embar_listener_close(listener);
    end(&b);
}

/* ---- client ------------------------------------------------------------------------------- */

static void run_writes(struct bench *b)
{
    double start = now_s();

    while (b->credited < b->own.count && !b->down) {
        while (b->written < b->own.count && b->written - b->credited < b->own.slots &&
               write_slot(b, b->written) == 0)
            b->written++;
        step(b, true);
        if (b->credited > 0)
            say_running(b);
    }
    if (!b->down)
        printf("MB/s %.1f\n", (double)(b->own.count * b->own.slot_bytes) / 1e6 / (now_s() - start));
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void run_latency(struct bench *b)
{
    double *us = calloc(b->own.count, sizeof(*us));

    if (us == NULL)
        die("latencies", NULL, -ENOMEM);
    say_running(b);

    for (uint64_t i = 0; i < b->own.count && !b->down; i++) {
        double start = now_s();
        while (write_slot(b, i) == -EAGAIN)
            step(b, false);
        while (b->arrived <= i && !b->down)
            step(b, false);
        us[i] = (now_s() - start) / 2 * 1e6;
    }
    qsort(us, b->own.count, sizeof(*us), compare);
    printf("us p50 %.1f p99 %.1f\n", us[b->own.count / 2], us[b->own.count * 99 / 100]);
    free(us);
}

static void run_idle(struct bench *b)
{
    say_running(b);
    while (!b->down)
        step(b, true);
}

static void run_client(int argc, char **argv)
{
    struct bench b = {0};
    struct embar_diag diag = {0};
    int rc;

    if (argc < 8) {
        fprintf(stderr,
                "usage: transport_bench client TRANSPORT ADDRESS write|latency|idle SLOT_BYTES "
                "SLOTS COUNT [KEY=VALUE]...\n");
        exit(2);
    }
    b.own.latency = strcmp(argv[4], "latency") == 0;
    b.own.slot_bytes = strtoull(argv[5], NULL, 0);
    b.own.slots = strtoull(argv[6], NULL, 0);
    b.own.count = strtoull(argv[7], NULL, 0);
    open_transport(&b, argv[2], argv + 8);
    b.source = alloc(&b, b.own.slot_bytes * b.own.slots, EMBAR_ACCESS_LOCAL);
    b.target = alloc(&b, b.own.slot_bytes * b.own.slots, EMBAR_ACCESS_REMOTE);
    rc = embar_connect(b.transport, argv[3], &b.link, &diag);
    if (rc < 0)
        die("connect", &diag, rc);
    while (!b.up && !b.down)
        step(&b, true);
    if (!b.down)
        say_hello(&b);
    while (!b.has_peer && !b.down)
        step(&b, true);
    if (b.down)
        exit(1);
    if (b.own.latency)
        run_latency(&b);
    else if (strcmp(argv[4], "idle") == 0)
        run_idle(&b);
    else
        run_writes(&b);
    end(&b);
}

int main(int argc, char **argv)
{
    const char *level = getenv("BENCH_LOG");

    if (level != NULL)
        embar_log_set((enum embar_log_level)atoi(level), print_log, NULL);
    if (argc >= 4 && strcmp(argv[1], "server") == 0)
        serve(argv);
    if (argc >= 4 && strcmp(argv[1], "client") == 0)
        run_client(argc, argv);
    fprintf(stderr, "usage: transport_bench server|client TRANSPORT ADDRESS ...\n");
    return 2;
}
