/*
 * The kernel behind struct tcp_sys. Owns nothing; runs on the transport's thread.
 */
#include "sys.h"

#include <errno.h>

static ssize_t kernel_sendmsg(void *user, int fd, const struct msghdr *msg, int flags)
{
    ssize_t n;

    (void)user;
    do {
        n = sendmsg(fd, msg, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t kernel_recvmsg(void *user, int fd, struct msghdr *msg, int flags)
{
    ssize_t n;

    (void)user;
    do {
        n = recvmsg(fd, msg, flags | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static int kernel_so_error(void *user, int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    (void)user;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return errno;
    return error;
}

const struct tcp_sys tcp_sys_kernel = {
    .sendmsg = kernel_sendmsg,
    .recvmsg = kernel_recvmsg,
    .so_error = kernel_so_error,
};
