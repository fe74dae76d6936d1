/*
 * A raw TCP ping-pong on loopback, both sides spinning on recv with MSG_DONTWAIT: what no library
 * on top of TCP can be faster than.
 *   bench_pingpong SIZE SECONDS
 * Prints half the round trip in microseconds as one line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "common/histogram.h"

static char message[65536];

static void prepare(int fd)
{
    int yes = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5) != 0)
        bench_fail("socket options: %s", strerror(errno));
}

static void put(int fd, size_t size)
{
    if (send(fd, message, size, MSG_NOSIGNAL) != (ssize_t)size)
        bench_fail("send: %s", strerror(errno));
}

/* 0 when the other side has closed. */
static int take(int fd, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t n = recv(fd, message, size - got, MSG_DONTWAIT);

        if (n == 0)
            return 0;
        if (n > 0)
            got += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            bench_fail("recv: %s", strerror(errno));
    }
    return 1;
}

static void answer(int listener, size_t size)
{
    int fd = accept(listener, NULL, NULL);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_pin(1);
    prepare(fd);
    while (take(fd, size))
        put(fd, size);
    _exit(0);
}

static void ping(int fd, size_t size, double seconds)
{
    static struct histogram times;
    uint64_t begin_ns = bench_now_ns(), sent_ns = begin_ns, got_ns;
    double warmup_ns = 0.2e9;

    while ((double)(sent_ns - begin_ns) < seconds * 1e9 + warmup_ns) {
        put(fd, size);
        if (!take(fd, size))
            bench_fail("the other side closed");
        got_ns = bench_now_ns();
        if ((double)(got_ns - begin_ns) > warmup_ns)
            histogram_record(&times, (got_ns - sent_ns) / 2);
        sent_ns = got_ns;
    }
    printf("{\"us\": %.3f, \"us_p99\": %.3f}\n", (double)histogram_quantile(&times, 0.5) * 1e-3,
           (double)histogram_quantile(&times, 0.99) * 1e-3);
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t size;
    pid_t child;

    if (argc != 3)
        bench_fail("usage: bench_pingpong SIZE SECONDS");
    size = strtoul(argv[1], NULL, 10);
    if (size < 1 || size > sizeof message)
        bench_fail("SIZE is 1 to %zu", sizeof message);
    if (bind(listener, (struct sockaddr *)&addr, len) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) != 0)
        bench_fail("no port: %s", strerror(errno));
    child = fork();
    if (child == 0) {
        close(fd); /* or the connection would outlive the pinging side's end of it */
        answer(listener, size);
    }
    bench_pin(0);
    if (connect(fd, (struct sockaddr *)&addr, len) != 0)
        bench_fail("connect: %s", strerror(errno));
    prepare(fd);
    ping(fd, size, strtod(argv[2], NULL));
    close(fd);
    waitpid(child, NULL, 0);
    return 0;
}
