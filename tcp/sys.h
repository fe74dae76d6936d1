/*
 * The system calls of a lane's data path as a table, so that a test can answer short sends,
 * ENOBUFS, EAGAIN and completions in any order.
 */
#ifndef TCP_SYS_H
#define TCP_SYS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct tcp_sys {
    /* As sendmsg(2) and recvmsg(2), never blocking, interrupted calls repeated; bytes or a negative
     * errno. */
    ssize_t (*sendmsg)(void *user, int fd, const struct msghdr *msg, int flags);
    ssize_t (*recvmsg)(void *user, int fd, struct msghdr *msg, int flags);
    /* Takes SO_ERROR: 0 or a positive errno. */
    int (*so_error)(void *user, int fd);
    /* As vmsplice(2) of one range and as splice(2) from a pipe to a socket, never blocking, never
     * raising SIGPIPE; bytes or a negative errno. */
    ssize_t (*vmsplice)(void *user, int pipe_fd, const void *data, size_t len_bytes);
    ssize_t (*splice)(void *user, int pipe_fd, int fd, size_t len_bytes, bool more);
    /* A pipe that holds `want_bytes`, or as much of that as the limits on pipes allow; returns how
     * much, or a negative errno. */
    int (*pipe_open)(void *user, int fds[2], uint32_t want_bytes);
    void (*pipe_close)(void *user, const int fds[2]);
    /* The connection is over in both directions: reset, aborted or given up, by either side; or it
     * may be at the other end, which has not acknowledged what was sent for `silence_ms` (0: never
     * taken for that). What was received before that can be read all the same. */
    bool (*is_over)(void *user, int fd, uint32_t silence_ms);
    void *user;
};

extern const struct tcp_sys tcp_sys_kernel;

#endif
