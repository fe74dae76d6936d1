/*
 * What TCP_ZEROCOPY_RECEIVE maps of a stream over loopback, for each way of sending it: the
 * receiver asks for pages first and receives what the kernel does not map. No part of Embar is in
 * it; the verdict is in docs/decisions/015-tcp-receive.md. bench_zerocopy_receive copy|splice
 * hugetlb|small SECONDS Prints the share of the bytes that was mapped, and the rate, as one line of
 * JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

#define SPAN_BYTES (2u << 20)
#define PIPE_BYTES (1 << 20)

static uint8_t *map_source(bool hugetlb)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | (hugetlb ? MAP_HUGETLB : 0);
    uint8_t *source = mmap(NULL, SPAN_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (source == MAP_FAILED)
        bench_fail("no %s pages for the source: %s", hugetlb ? "hugetlb" : "small",
                   strerror(errno));
    if (!hugetlb)
        madvise(source, SPAN_BYTES, MADV_NOHUGEPAGE);
    memset(source, 'e', SPAN_BYTES);
    return source;
}

/* Hands a span over; false when the receiver has gone. */
static bool send_copy(int fd, const uint8_t *source)
{
    for (size_t done = 0; done < SPAN_BYTES;) {
        ssize_t n = send(fd, source + done, SPAN_BYTES - done, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static bool send_splice(int fd, const int pipe_fds[2], uint8_t *source)
{
    for (size_t done = 0; done < SPAN_BYTES;) {
        struct iovec iov = {.iov_base = source + done, .iov_len = SPAN_BYTES - done};
        ssize_t waiting = vmsplice(pipe_fds[1], &iov, 1, SPLICE_F_NONBLOCK);

        if (waiting <= 0)
            bench_fail("vmsplice: %s", strerror(errno));
        done += (size_t)waiting;
        while (waiting > 0) {
            ssize_t n = splice(pipe_fds[0], NULL, fd, NULL, (size_t)waiting, SPLICE_F_MORE);

            if (n <= 0)
                return false;
            waiting -= n;
        }
    }
    return true;
}

static _Noreturn void sender(const struct sockaddr_in *to, uint8_t *source, bool spliced)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), pipe_fds[2];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    bench_pin(0);
    if (pipe(pipe_fds) != 0 || fcntl(pipe_fds[0], F_SETPIPE_SZ, PIPE_BYTES) < 0)
        bench_fail("no pipe of %d bytes: %s", PIPE_BYTES, strerror(errno));
    if (connect(fd, (const struct sockaddr *)to, sizeof *to) != 0)
        bench_fail("connect: %s", strerror(errno));
    while (spliced ? send_splice(fd, pipe_fds, source) : send_copy(fd, source))
        ;
    _exit(0);
}

/* Asks for pages, then receives what lies before the next one that could be mapped. Adds up what
 * came. */
static void take(int fd, void *window, uint8_t *place, uint64_t *mapped, uint64_t *copied)
{
    struct tcp_zerocopy_receive ask = {.address = (uintptr_t)window, .length = SPAN_BYTES};
    socklen_t len = sizeof ask;
    size_t rest;
    ssize_t n;

    if (getsockopt(fd, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &ask, &len) != 0)
        bench_fail("TCP_ZEROCOPY_RECEIVE: %s", strerror(errno));
    *mapped += ask.length;
    rest = ask.recv_skip_hint > 0 ? ask.recv_skip_hint : ask.length > 0 ? 0 : 1;
    if (rest == 0)
        return;
    n = recv(fd, place, rest < SPAN_BYTES ? rest : SPAN_BYTES, 0);
    if (n <= 0)
        bench_fail("the sender has gone");
    *copied += (uint64_t)n;
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd;
    uint64_t mapped = 0, copied = 0, begin_ns;
    uint8_t *place = malloc(SPAN_BYTES);
    double seconds, all;
    uint8_t *source;
    void *window;
    pid_t child;

    if (argc != 4 || (strcmp(argv[1], "copy") != 0 && strcmp(argv[1], "splice") != 0) ||
        (strcmp(argv[2], "hugetlb") != 0 && strcmp(argv[2], "small") != 0))
        bench_fail("usage: bench_zerocopy_receive copy|splice hugetlb|small SECONDS");
    if (bind(listener, (struct sockaddr *)&addr, len) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) != 0 || place == NULL)
        bench_fail("no port: %s", strerror(errno));
    source = map_source(strcmp(argv[2], "hugetlb") == 0);
    child = fork();
    if (child == 0)
        sender(&addr, source, strcmp(argv[1], "splice") == 0);
    bench_pin(1);
    fd = accept(listener, NULL, NULL);
    window = mmap(NULL, SPAN_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (window == MAP_FAILED)
        bench_fail("the socket cannot be mapped: %s", strerror(errno));
    begin_ns = bench_now_ns();
    do
        take(fd, window, place, &mapped, &copied);
    while ((double)(bench_now_ns() - begin_ns) < strtod(argv[3], NULL) * 1e9);
    seconds = (double)(bench_now_ns() - begin_ns) * 1e-9;
    all = (double)(mapped + copied);
    printf("{\"mapped_percent\": %.1f, \"gbps\": %.2f}\n", 100 * (double)mapped / all,
           all / seconds * 1e-9);
    munmap(window, SPAN_BYTES); /* it keeps the connection open */
    close(fd);
    waitpid(child, NULL, 0);
    return 0;
}
