/*
 * The system calls of a lane's data path as a table, so that a test can answer short sends,
 * ENOBUFS, EAGAIN and completions in any order.
 */
#ifndef TCP_SYS_H
#define TCP_SYS_H

#include <sys/socket.h>
#include <sys/types.h>

struct tcp_sys {
    /* As sendmsg(2) and recvmsg(2), never blocking, interrupted calls repeated; bytes or a negative
     * errno. */
    ssize_t (*sendmsg)(void *user, int fd, const struct msghdr *msg, int flags);
    ssize_t (*recvmsg)(void *user, int fd, struct msghdr *msg, int flags);
    /* Takes SO_ERROR: 0 or a positive errno. */
    int (*so_error)(void *user, int fd);
    void *user;
};

extern const struct tcp_sys tcp_sys_kernel;

#endif
