/*
 * The pipe of a lane through which payloads go from their pages to the socket: vmsplice(2) refers
 * to the pages, splice(2) hands them on, nothing is copied. Whatever lies in the pipe is the next
 * of the stream and must reach the socket before anything else. Owns the pipe, which is made when
 * it is first needed; runs on the thread that sends, the transport's or the lane's.
 */
#ifndef TCP_SPLICE_H
#define TCP_SPLICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sys.h"

/* What the pipe is to hold (F_SETPIPE_SZ), and the least that is worth a splice: the kernel gives
 * a user who has many pipes (fs.pipe-user-pages-soft) one of two pages. */
#define TCP_PIPE_BYTES     (1u << 20)
#define TCP_PIPE_MIN_BYTES (64u << 10)

struct tcp_splice {
    int read_fd, write_fd;  /* owned; -1: no pipe */
    uint32_t size_bytes;    /* that it holds, in whole pages */
    uint32_t waiting_bytes; /* that lie in it */
};

void tcp_splice_init(struct tcp_splice *splice);

/* Makes the pipe if there is none. Negative errno; -EPERM: the kernel grants too small a one. */
int tcp_splice_open(struct tcp_splice *splice, const struct tcp_sys *sys);

/* Closes it and so lets go of the pages in it. */
void tcp_splice_close(struct tcp_splice *splice, const struct tcp_sys *sys);

/* Puts a first part of `data` into the pipe, which must be empty; the pages must not change until
 * their receiver has read them. Bytes, at least 1, or a negative errno. */
ssize_t tcp_splice_fill(struct tcp_splice *splice, const struct tcp_sys *sys, const void *data,
                        uint64_t len_bytes);

/* Hands on what lies in the pipe; `more` follows it at once. Bytes, at least 1; -EAGAIN: the socket
 * is full; or another negative errno. */
ssize_t tcp_splice_drain(struct tcp_splice *splice, const struct tcp_sys *sys, int fd, bool more);

#endif
