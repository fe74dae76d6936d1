/*
 * A proxy for the Unix sockets of the shm transport, so that a test can end an shm link without
 * ending either process: it listens where "HOST:LISTEN_PORT" is looked for, joins every connection
 * to TARGET_PORT, and passes packets and descriptors on. Data goes past it, through the memory.
 *
 *   shm_proxy LISTEN_PORT TARGET_PORT     prints "shm proxy on PORT"; killing it ends all links
 *
 * One thread; owns all its sockets; runs until it is killed.
 */
#include <errno.h>
#include <poll.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS  16
#define PACKET_BYTES 1024

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* The abstract name of docs/wire-shm.md. */
static socklen_t place(const char *port, struct sockaddr_un *name)
{
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                       (size_t)snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "embar/%s",
                                        port));
}

static int open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket");
    return fd;
}

/* One packet and the descriptor beside it; whether the connection goes on. */
static int pass(int from, int to)
{
    char bytes[PACKET_BYTES];
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(from, &msg, MSG_CMSG_CLOEXEC);
    struct cmsghdr *c;
    int fd = -1;

    if (n <= 0)
        return 0;
    c = CMSG_FIRSTHDR(&msg);
    if (c != NULL)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    iov.iov_len = (size_t)n;
    n = sendmsg(to, &msg, MSG_NOSIGNAL);
    if (fd >= 0)
        close(fd);
    return n > 0;
}

static void join(int listener, const char *target, struct pollfd *fds, nfds_t *count)
{
    struct sockaddr_un name;
    socklen_t len = place(target, &name);
    int in = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int out = open_socket();

    if (in < 0)
        die("accept");
    if (*count + 2 > 1 + 2 * CONNECTIONS || connect(out, (struct sockaddr *)&name, len) < 0) {
        close(in);
        close(out);
        return;
    }
    fds[(*count)++] = (struct pollfd){.fd = in, .events = POLLIN};
    fds[(*count)++] = (struct pollfd){.fd = out, .events = POLLIN};
}

int main(int argc, char **argv)
{
    struct pollfd fds[1 + 2 * CONNECTIONS]; /* the listener, then pairs; -1: ended */
    nfds_t count = 1;
    struct sockaddr_un name;
    socklen_t len;

    if (argc != 3) {
        fprintf(stderr, "usage: shm_proxy LISTEN_PORT TARGET_PORT\n");
        return 2;
    }
    len = place(argv[1], &name);
    fds[0] = (struct pollfd){.fd = open_socket(), .events = POLLIN};
    if (bind(fds[0].fd, (struct sockaddr *)&name, len) < 0 || listen(fds[0].fd, CONNECTIONS) < 0)
        die("listen");
    printf("shm proxy on %s\n", argv[1]);
    fflush(stdout);
    for (;;) {
        if (poll(fds, count, -1) < 0 && errno != EINTR)
            die("poll");
        for (nfds_t i = 1; i < count; i++) {
            nfds_t other = i % 2 ? i + 1 : i - 1;

            if (fds[i].fd < 0 || fds[i].revents == 0 || pass(fds[i].fd, fds[other].fd))
                continue;
            close(fds[i].fd);
            close(fds[other].fd);
            fds[i].fd = fds[other].fd = -1;
        }
        if (fds[0].revents != 0)
            join(fds[0].fd, argv[2], fds, &count);
    }
}
