/*
 * The pipe between a buffer's pages and a socket. Owns the pipe; runs on the thread that sends.
 */
#include "splice.h"

#include <errno.h>

void tcp_splice_init(struct tcp_splice *splice)
{
    *splice = (struct tcp_splice){.read_fd = -1, .write_fd = -1};
}

int tcp_splice_open(struct tcp_splice *splice, const struct tcp_sys *sys)
{
    int fds[2], size;

    if (splice->read_fd >= 0)
        return 0;
    size = sys->pipe_open(sys->user, fds, TCP_PIPE_BYTES);
    if (size < 0)
        return size;
    splice->read_fd = fds[0];
    splice->write_fd = fds[1];
    splice->size_bytes = (uint32_t)size;
    splice->waiting_bytes = 0;
    if (splice->size_bytes >= TCP_PIPE_MIN_BYTES)
        return 0;
    tcp_splice_close(splice, sys);
    return -EPERM;
}

void tcp_splice_close(struct tcp_splice *splice, const struct tcp_sys *sys)
{
    if (splice->read_fd >= 0)
        sys->pipe_close(sys->user, (const int[2]){splice->read_fd, splice->write_fd});
    tcp_splice_init(splice);
}

ssize_t tcp_splice_fill(struct tcp_splice *splice, const struct tcp_sys *sys, const void *data,
                        uint64_t len_bytes)
{
    size_t len = len_bytes < splice->size_bytes ? (size_t)len_bytes : splice->size_bytes;
    ssize_t n = sys->vmsplice(sys->user, splice->write_fd, data, len);

    /* An empty pipe has room, and there was something to put into it. */
    if (n == 0 || n == -EAGAIN)
        return -EIO;
    if (n > 0)
        splice->waiting_bytes = (uint32_t)n;
    return n;
}

ssize_t tcp_splice_drain(struct tcp_splice *splice, const struct tcp_sys *sys, int fd, bool more)
{
    ssize_t n = sys->splice(sys->user, splice->read_fd, fd, splice->waiting_bytes, more);

    if (n == 0)
        return -EIO;
    if (n > 0)
        splice->waiting_bytes -= (uint32_t)n;
    return n;
}
