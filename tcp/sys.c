/*
 * The kernel behind struct tcp_sys. Owns nothing; runs on any thread.
 */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE_BYTES 4096u

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

static ssize_t kernel_vmsplice(void *user, int pipe_fd, const void *data, size_t len_bytes)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len_bytes};
    ssize_t n;

    (void)user;
    do {
        n = vmsplice(pipe_fd, &iov, 1, SPLICE_F_NONBLOCK);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* splice(2) has no MSG_NOSIGNAL: the signal of a broken connection is held back, and taken unless
 * it was pending before. */
static ssize_t kernel_splice(void *user, int pipe_fd, int fd, size_t len_bytes, bool more)
{
    unsigned flags = SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0u);
    const struct timespec at_once = {0};
    sigset_t sigpipe, before, pending;
    ssize_t n;
    int error;

    (void)user;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    sigpending(&pending);
    do {
        n = splice(pipe_fd, NULL, fd, NULL, len_bytes, flags);
    } while (n < 0 && errno == EINTR);
    error = errno;
    if (n < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
        (void)sigtimedwait(&sigpipe, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n < 0 ? -error : n;
}

static int kernel_pipe_open(void *user, int fds[2], uint32_t want_bytes)
{
    int size = -1;

    (void)user;
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    /* Beyond fs.pipe-max-size or the user's fs.pipe-user-pages-soft: half of it may do. */
    for (uint32_t want = want_bytes; size < 0 && want >= PAGE_BYTES; want /= 2)
        size = fcntl(fds[0], F_SETPIPE_SZ, (int)want);
    if (size < 0)
        size = fcntl(fds[0], F_GETPIPE_SZ);
    return size > (int)want_bytes ? (int)want_bytes : size;
}

static void kernel_pipe_close(void *user, const int fds[2])
{
    (void)user;
    close(fds[0]);
    close(fds[1]);
}

/* While something is unacknowledged the kernel sends no keepalive, and retransmits for a quarter of
 * an hour: the state alone says nothing of a network that has failed. */
static bool kernel_is_over(void *user, int fd, uint32_t silence_ms)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    (void)user;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 || info.tcpi_state == BPF_TCP_CLOSE)
        return true;
    return silence_ms > 0 && info.tcpi_unacked > 0 && info.tcpi_last_ack_recv >= silence_ms;
}

const struct tcp_sys tcp_sys_kernel = {
    .sendmsg = kernel_sendmsg,
    .recvmsg = kernel_recvmsg,
    .so_error = kernel_so_error,
    .vmsplice = kernel_vmsplice,
    .splice = kernel_splice,
    .pipe_open = kernel_pipe_open,
    .pipe_close = kernel_pipe_close,
    .is_over = kernel_is_over,
};
