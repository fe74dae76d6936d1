/* Two pinned processes and the counting of what arrives, alike for every peer. */
#include "bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WARMUP_NS 250000000ull
#define GIVE_UP_S 60

struct figures {
    double gbps, messages_per_s;
    uint64_t all_bytes; /* the warm-up's too, for which CPU time was spent as well */
};

uint64_t bench_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bench_pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        bench_fail("no core %d: %s", core, strerror(errno));
}

void bench_fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

int bench_count(const struct bench *bench, size_t len_bytes)
{
    static uint64_t all_bytes, bytes, messages, first_ns, begin_ns, look;
    uint64_t now_ns;
    struct figures figures;

    all_bytes += len_bytes;
    bytes += len_bytes;
    messages++;
    /* The clock is looked at for every 128 KiB: it must not be what is measured. */
    if (all_bytes < look)
        return 1;
    look = all_bytes + 128 * 1024;
    now_ns = bench_now_ns();
    if (first_ns == 0)
        first_ns = now_ns;
    if (begin_ns == 0) {
        if (now_ns - first_ns >= WARMUP_NS) {
            begin_ns = now_ns;
            bytes = messages = 0;
        }
        return 1;
    }
    if ((double)(now_ns - begin_ns) < bench->seconds * 1e9)
        return 1;
    figures.gbps = (double)bytes / (double)(now_ns - begin_ns);
    figures.messages_per_s = (double)messages / (double)(now_ns - begin_ns) * 1e9;
    figures.all_bytes = all_bytes;
    if (write(bench->report, &figures, sizeof figures) != sizeof figures)
        bench_fail("the result could not be written");
    return 0;
}

static double cpu_seconds(const struct rusage *usage)
{
    return (double)usage->ru_utime.tv_sec + (double)usage->ru_utime.tv_usec * 1e-6 +
           (double)usage->ru_stime.tv_sec + (double)usage->ru_stime.tv_usec * 1e-6;
}

static pid_t start(struct bench *bench, int core, void (*body)(const struct bench *))
{
    pid_t pid = fork();

    if (pid < 0)
        bench_fail("no process: %s", strerror(errno));
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_pin(core);
    alarm(GIVE_UP_S);
    body(bench);
    _exit(0);
}

int bench_run(struct bench *bench, void (*sender)(const struct bench *),
              void (*receiver)(const struct bench *))
{
    struct rusage sent = {0}, received = {0};
    struct figures figures;
    pid_t from, to;
    int ends[2];
    ssize_t got;

    if (pipe(ends) != 0)
        bench_fail("no pipe: %s", strerror(errno));
    bench->report = ends[1];
    to = start(bench, 1, receiver);
    close(ends[1]); /* the receiver's end of it is the only one: its death is seen at once */
    from = start(bench, 0, sender);
    do
        got = read(ends[0], &figures, sizeof figures);
    while (got < 0 && errno == EINTR);
    kill(from, SIGKILL);
    kill(to, SIGKILL);
    wait4(from, NULL, 0, &sent);
    wait4(to, NULL, 0, &received);
    if (got != sizeof figures)
        bench_fail("the receiver ended without a result");
    printf("{\"gbps\": %.6f, \"messages_per_s\": %.1f, \"sender_cpu\": %.4f, "
           "\"receiver_cpu\": %.4f}\n",
           figures.gbps, figures.messages_per_s,
           cpu_seconds(&sent) * 1e9 / (double)figures.all_bytes,
           cpu_seconds(&received) * 1e9 / (double)figures.all_bytes);
    return 0;
}

int bench_main(int argc, char **argv, void (*sender)(const struct bench *),
               void (*receiver)(const struct bench *))
{
    struct bench bench = {0};

    if (argc != 5)
        bench_fail("usage: %s push|pub ENDPOINT SIZE SECONDS", argv[0]);
    bench.is_pub = strcmp(argv[1], "pub") == 0;
    bench.endpoint = argv[2];
    bench.size_bytes = strtoul(argv[3], NULL, 10);
    bench.seconds = strtod(argv[4], NULL);
    return bench_run(&bench, sender, receiver);
}
