/*
 * A raw TCP ping-pong on loopback, both sides spinning on recv with MSG_DONTWAIT: what no library
 * on top of TCP can be faster than. With 2 CONNECTIONS each direction has its own, as two streams
 * have; then no segment carries an acknowledgement along.
 *   bench_pingpong SIZE SECONDS [CONNECTIONS]
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

/* The connections of one side; the same one when there is only one. */
struct side {
    int out, in;
};

static void answer(int listener, size_t size, int connections)
{
    struct side side;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_pin(1);
    side.in = accept(listener, NULL, NULL);
    side.out = connections == 2 ? accept(listener, NULL, NULL) : side.in;
    prepare(side.in);
    prepare(side.out);
    while (take(side.in, size))
        put(side.out, size);
    _exit(0);
}

static void ping(struct side side, size_t size, double seconds)
{
    static struct histogram times;
    uint64_t begin_ns = bench_now_ns(), sent_ns = begin_ns, got_ns;
    double warmup_ns = 0.2e9;

    while ((double)(sent_ns - begin_ns) < seconds * 1e9 + warmup_ns) {
        put(side.out, size);
        if (!take(side.in, size))
            bench_fail("the other side closed");
        got_ns = bench_now_ns();
        if ((double)(got_ns - begin_ns) > warmup_ns)
            histogram_record(&times, (got_ns - sent_ns) / 2);
        sent_ns = got_ns;
    }
    printf("{\"us\": %.3f, \"us_p99\": %.3f}\n", (double)histogram_quantile(&times, 0.5) * 1e-3,
           (double)histogram_quantile(&times, 0.99) * 1e-3);
}

static int reach(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (connect(fd, (const struct sockaddr *)addr, sizeof *addr) != 0)
        bench_fail("connect: %s", strerror(errno));
    prepare(fd);
    return fd;
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0), connections;
    struct side side;
    size_t size;
    pid_t child;

    if (argc != 3 && argc != 4)
        bench_fail("usage: bench_pingpong SIZE SECONDS [CONNECTIONS]");
    size = strtoul(argv[1], NULL, 10);
    if (size < 1 || size > sizeof message)
        bench_fail("SIZE is 1 to %zu", sizeof message);
    connections = argc == 4 ? atoi(argv[3]) : 1;
    if (connections != 1 && connections != 2)
        bench_fail("CONNECTIONS is 1 or 2");
    if (bind(listener, (struct sockaddr *)&addr, len) != 0 || listen(listener, 2) != 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) != 0)
        bench_fail("no port: %s", strerror(errno));
    child = fork();
    if (child == 0)
        answer(listener, size, connections);
    bench_pin(0);
    side.out = reach(&addr);
    side.in = connections == 2 ? reach(&addr) : side.out;
    ping(side, size, strtod(argv[2], NULL));
    close(side.out);
    waitpid(child, NULL, 0);
    return 0;
}
