/*
 * A TCP proxy that misbehaves on purpose, for tests of what a network can do to a stream. It
 * listens on a free port of 127.0.0.1, prints "proxy on HOST:PORT", and joins every connection to
 * TARGET. What it counts are the bytes that came from the side that connected, over all
 * connections.
 *
 *   tcp_proxy TARGET [--flip N]... [--cut N]... [--delay MS] [--throttle BYTES_PER_SECOND [--only
 * N]]
 *
 *   --flip N      inverts byte N
 *   --cut N       when byte N is reached, ends all connections with a reset; later ones work
 *   --delay MS    holds back every piece for so long
 *   --throttle B  forwards no more than so many bytes per second
 *   --only N      throttles only connection N, counted from 0 as they are made. Where a slow path
 * has a window, the proxy has a receive buffer: it is kept small then
 *
 * One thread; owns all its sockets; runs until it is killed.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/address.h"
#include "common/clock.h"

#define PIPES             64 /* two for each connection */
#define MARKS             16
#define PIECE_BYTES       65536
#define SLOW_BUFFER_BYTES 16384

/* One direction of a connection. */
struct pipe {
    int from, to; /* owned by the pair: see close_pair */
    bool forward; /* from the side that connected */
    bool slow;    /* throttled */
    bool ended;   /* `from` has been read to its end */
    size_t len_bytes, sent;
    uint64_t ready_ns; /* when the piece may go on */
    uint8_t piece[PIECE_BYTES];
};

static struct {
    const char *target;
    uint64_t flips[MARKS], cuts[MARKS];
    unsigned flip_count, cut_count;
    uint64_t delay_ns, rate;
    uint64_t forwarded;  /* bytes read from connecting sides */
    uint64_t allowed_ns; /* throttle: when the next piece may be read */
    bool one_slow;       /* throttle only connection `slow_one` */
    uint64_t slow_one, connections;
    struct pipe *pipes[PIPES];
} proxy;

static void die(const char *what)
{
    fprintf(stderr, "tcp_proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void usage(void)
{
    fprintf(stderr, "usage: tcp_proxy TARGET [--flip N]... [--cut N]... [--delay MS] [--throttle B "
                    "[--only N]]\n");
    exit(2);
}

static void parse(int argc, char **argv)
{
    if (argc < 2 || argc % 2 != 0)
        usage();
    proxy.target = argv[1];
    for (int i = 2; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 0);

        if (strcmp(argv[i], "--flip") == 0 && proxy.flip_count < MARKS)
            proxy.flips[proxy.flip_count++] = value;
        else if (strcmp(argv[i], "--cut") == 0 && proxy.cut_count < MARKS)
            proxy.cuts[proxy.cut_count++] = value;
        else if (strcmp(argv[i], "--delay") == 0)
            proxy.delay_ns = value * NS_PER_MS;
        else if (strcmp(argv[i], "--throttle") == 0 && value > 0)
            proxy.rate = value;
        else if (strcmp(argv[i], "--only") == 0) {
            proxy.one_slow = true;
            proxy.slow_one = value;
        } else
            usage();
    }
}

static int listen_anywhere(void)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    struct addrinfo *list;
    char text[ADDRESS_BYTES];
    int fd;

    if (address_resolve("127.0.0.1:0", true, &list, NULL) != 0)
        die("resolve");
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, list->ai_addr, list->ai_addrlen) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (struct sockaddr *)&bound, &len) != 0)
        die("listen");
    freeaddrinfo(list);
    printf("proxy on %s\n", address_format((struct sockaddr *)&bound, len, text, sizeof(text)));
    fflush(stdout);
    return fd;
}

/* -1: the target does not answer. */
static int connect_target(void)
{
    struct embar_diag diag = {0};
    struct addrinfo *list;
    int fd;

    if (address_resolve(proxy.target, false, &list, &diag) != 0) {
        fprintf(stderr, "tcp_proxy: %s\n", diag.text);
        exit(2);
    }
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    return fd;
}

static void add_pipe(int from, int to, bool forward, bool slow)
{
    struct pipe *pipe = calloc(1, sizeof(*pipe));

    if (!pipe)
        die("memory");
    pipe->from = from;
    pipe->to = to;
    pipe->forward = forward;
    pipe->slow = slow;
    for (unsigned i = 0; i < PIPES; i++) {
        if (!proxy.pipes[i]) {
            proxy.pipes[i] = pipe;
            return;
        }
    }
    fprintf(stderr, "tcp_proxy: more than %d connections\n", PIPES / 2);
    exit(1);
}

static void accept_one(int listener)
{
    int from = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    bool slow;
    int to;

    if (from < 0)
        return;
    to = connect_target();
    if (to < 0) {
        close(from);
        return;
    }
    slow = proxy.rate && (!proxy.one_slow || proxy.connections == proxy.slow_one);
    proxy.connections++;
    if (slow)
        setsockopt(from, SOL_SOCKET, SO_RCVBUF, &(int){SLOW_BUFFER_BYTES}, sizeof(int));
    add_pipe(from, to, true, slow);
    add_pipe(to, from, false, false);
}

static void drop(int fd, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

/* Ends the connection that a pipe belongs to. */
static void close_pair(const struct pipe *pipe, bool reset)
{
    int a = pipe->from, b = pipe->to;

    for (unsigned i = 0; i < PIPES; i++) {
        struct pipe *other = proxy.pipes[i];

        if (other && (other->from == a || other->from == b)) {
            free(other);
            proxy.pipes[i] = NULL;
        }
    }
    drop(a, reset);
    drop(b, reset);
}

static void cut_all(void)
{
    for (unsigned i = 0; i < PIPES; i++)
        if (proxy.pipes[i])
            close_pair(proxy.pipes[i], true);
}

/* Whether a mark lies in the piece that was just read; it is used up then. */
static bool take_mark(uint64_t *marks, unsigned *count, uint64_t begin, uint64_t end, uint64_t *at)
{
    for (unsigned i = 0; i < *count; i++) {
        if (marks[i] >= begin && marks[i] < end) {
            *at = marks[i];
            marks[i] = marks[--*count];
            return true;
        }
    }
    return false;
}

/* Damages what was read. False: the connections are gone. */
static bool misbehave(struct pipe *pipe)
{
    uint64_t begin = proxy.forwarded, end = begin + pipe->len_bytes, at;

    proxy.forwarded = end;
    if (take_mark(proxy.cuts, &proxy.cut_count, begin, end, &at)) {
        cut_all();
        return false;
    }
    while (take_mark(proxy.flips, &proxy.flip_count, begin, end, &at))
        pipe->piece[at - begin] = (uint8_t)~pipe->piece[at - begin];
    return true;
}

static void read_piece(struct pipe *pipe, uint64_t now_ns)
{
    ssize_t got = recv(pipe->from, pipe->piece, sizeof(pipe->piece), MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < 0) {
        close_pair(pipe, true);
        return;
    }
    if (got == 0) {
        pipe->ended = true;
        shutdown(pipe->to, SHUT_WR);
        return;
    }
    pipe->len_bytes = (size_t)got;
    pipe->sent = 0;
    pipe->ready_ns = now_ns + proxy.delay_ns;
    if (pipe->slow)
        proxy.allowed_ns = now_ns + (uint64_t)((double)got / (double)proxy.rate * 1e9);
    if (pipe->forward)
        misbehave(pipe);
}

static void send_piece(struct pipe *pipe)
{
    ssize_t sent = send(pipe->to, pipe->piece + pipe->sent, pipe->len_bytes - pipe->sent,
                        MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        close_pair(pipe, true);
        return;
    }
    if (sent > 0)
        pipe->sent += (size_t)sent;
    if (pipe->sent == pipe->len_bytes)
        pipe->len_bytes = pipe->sent = 0;
}

/* Both directions have ended: the connection is over. */
static bool is_over(const struct pipe *pipe)
{
    for (unsigned i = 0; i < PIPES; i++)
        if (proxy.pipes[i] && proxy.pipes[i]->from == pipe->to)
            return pipe->ended && pipe->len_bytes == 0 && proxy.pipes[i]->ended &&
                   proxy.pipes[i]->len_bytes == 0;
    return true;
}

/* What a pipe waits for; false: for time only, until `*until_ns`. */
static bool wants(const struct pipe *pipe, uint64_t now_ns, struct pollfd *fd, uint64_t *until_ns)
{
    if (pipe->len_bytes > 0) {
        *until_ns = pipe->ready_ns;
        *fd = (struct pollfd){.fd = pipe->to, .events = POLLOUT};
    } else {
        *until_ns = pipe->slow ? proxy.allowed_ns : 0;
        *fd = (struct pollfd){.fd = pipe->from, .events = POLLIN};
    }
    return !pipe->ended && *until_ns <= now_ns;
}

static void move(struct pollfd *fds, const unsigned *index, nfds_t count, uint64_t now_ns)
{
    for (nfds_t i = 1; i < count; i++) {
        struct pipe *pipe = proxy.pipes[index[i]];

        if (!fds[i].revents || !pipe)
            continue;
        if (pipe->len_bytes > 0)
            send_piece(pipe);
        else
            read_piece(pipe, now_ns);
    }
    for (unsigned i = 0; i < PIPES; i++)
        if (proxy.pipes[i] && is_over(proxy.pipes[i]))
            close_pair(proxy.pipes[i], false);
}

int main(int argc, char **argv)
{
    struct pollfd fds[PIPES + 1];
    unsigned index[PIPES + 1];
    int listener;

    parse(argc, argv);
    listener = listen_anywhere();
    for (;;) {
        uint64_t now_ns = env_now_ns(&env_system), wake_ns = now_ns + NS_PER_S;
        struct timespec left;
        nfds_t count = 1;

        fds[0] = (struct pollfd){.fd = listener, .events = POLLIN};
        for (unsigned i = 0; i < PIPES; i++) {
            uint64_t until_ns;

            if (!proxy.pipes[i])
                continue;
            if (wants(proxy.pipes[i], now_ns, &fds[count], &until_ns))
                index[count++] = i;
            else if (until_ns > now_ns && until_ns < wake_ns)
                wake_ns = until_ns;
        }
        left = (struct timespec){.tv_sec = (time_t)((wake_ns - now_ns) / NS_PER_S),
                                 .tv_nsec = (long)((wake_ns - now_ns) % NS_PER_S)};
        if (ppoll(fds, count, &left, NULL) < 0 && errno != EINTR)
            die("poll");
        move(fds, index, count, now_ns);
        if (fds[0].revents)
            accept_one(listener);
    }
}
