/*
 * nng over TCP or ipc:, push/pull or publish/subscribe, as fast as it goes:
 *   bench_nng push|pub ENDPOINT SIZE SECONDS
 * Messages are made in place (nng_msg_alloc, not filled again) and handed over without a copy.
 * nng's publisher drops what a slow subscriber has no room for; only what arrived counts.
 */
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

#define ROOM_BYTES (16 * 1024 * 1024)

static void check(int rc, const char *what)
{
    if (rc != 0)
        bench_fail("%s: %s", what, nng_strerror(rc));
}

static int room(const struct bench *bench)
{
    size_t count = ROOM_BYTES / bench->size_bytes;

    return count < 8 ? 8 : count > 8192 ? 8192 : (int)count;
}

static void send_all(const struct bench *bench)
{
    nng_socket socket;

    check(bench->is_pub ? nng_pub0_open(&socket) : nng_push0_open(&socket), "a socket");
    check(nng_socket_set_int(socket, NNG_OPT_SENDBUF, room(bench)), "NNG_OPT_SENDBUF");
    check(nng_listen(socket, bench->endpoint, NULL, 0), "nng_listen");
    for (;;) {
        nng_msg *message;

        check(nng_msg_alloc(&message, bench->size_bytes), "a message");
        check(nng_sendmsg(socket, message, 0), "nng_sendmsg");
    }
}

static void receive_all(const struct bench *bench)
{
    nng_socket socket;
    size_t len;

    check(bench->is_pub ? nng_sub0_open(&socket) : nng_pull0_open(&socket), "a socket");
    if (bench->is_pub)
        check(nng_socket_set(socket, NNG_OPT_SUB_SUBSCRIBE, "", 0), "NNG_OPT_SUB_SUBSCRIBE");
    check(nng_socket_set_int(socket, NNG_OPT_RECVBUF, room(bench)), "NNG_OPT_RECVBUF");
    check(nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, 0), "NNG_OPT_RECVMAXSZ");
    while (nng_dial(socket, bench->endpoint, NULL, 0) != 0)
        usleep(10000); /* until the sender listens */
    do {
        nng_msg *message;

        check(nng_recvmsg(socket, &message, 0), "nng_recvmsg");
        len = nng_msg_len(message);
        nng_msg_free(message);
    } while (bench_count(bench, len));
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, send_all, receive_all);
}
