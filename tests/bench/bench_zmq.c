/*
 * ZeroMQ over TCP or ipc:, push/pull or publish/subscribe, as fast as it goes:
 *   bench_zmq push|pub ENDPOINT SIZE SECONDS
 * Large messages are handed over without a copy (zmq_msg_init_data); small ones are copied into a
 * new message, as an application has to. The high-water marks leave room for 16 MiB, and the
 * publisher waits for a slow subscriber rather than dropping (ZMQ_XPUB_NODROP).
 */
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "bench.h"

#define ROOM_BYTES      (16 * 1024 * 1024)
#define ZERO_COPY_BYTES (64 * 1024)

static void check(int rc, const char *what)
{
    if (rc < 0)
        bench_fail("%s: %s", what, zmq_strerror(zmq_errno()));
}

static void *open_socket(const struct bench *bench, int type)
{
    size_t room = ROOM_BYTES / bench->size_bytes;
    int mark = room < 8 ? 8 : room > 100000 ? 100000 : (int)room;
    int buffer = 4 * 1024 * 1024;
    void *context = zmq_ctx_new();
    void *socket = context ? zmq_socket(context, type) : NULL;

    if (!socket)
        bench_fail("no ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    check(zmq_setsockopt(socket, ZMQ_SNDHWM, &mark, sizeof mark), "ZMQ_SNDHWM");
    check(zmq_setsockopt(socket, ZMQ_RCVHWM, &mark, sizeof mark), "ZMQ_RCVHWM");
    check(zmq_setsockopt(socket, ZMQ_SNDBUF, &buffer, sizeof buffer), "ZMQ_SNDBUF");
    check(zmq_setsockopt(socket, ZMQ_RCVBUF, &buffer, sizeof buffer), "ZMQ_RCVBUF");
    return socket;
}

static void keep(void *data, void *hint)
{
    (void)data;
    (void)hint;
}

static void send_all(const struct bench *bench)
{
    void *socket = open_socket(bench, bench->is_pub ? ZMQ_XPUB : ZMQ_PUSH);
    char *payload = malloc(bench->size_bytes);
    char subscription[16];
    int yes = 1;

    if (!payload)
        bench_fail("out of memory");
    memset(payload, 0x5a, bench->size_bytes);
    if (bench->is_pub)
        check(zmq_setsockopt(socket, ZMQ_XPUB_NODROP, &yes, sizeof yes), "ZMQ_XPUB_NODROP");
    check(zmq_bind(socket, bench->endpoint), "zmq_bind");
    if (bench->is_pub)
        check(zmq_recv(socket, subscription, sizeof subscription, 0), "a subscription");
    for (;;) {
        zmq_msg_t message;

        if (bench->size_bytes >= ZERO_COPY_BYTES) {
            check(zmq_msg_init_data(&message, payload, bench->size_bytes, keep, NULL), "a message");
        } else {
            check(zmq_msg_init_size(&message, bench->size_bytes), "a message");
            memcpy(zmq_msg_data(&message), payload, bench->size_bytes);
        }
        check(zmq_msg_send(&message, socket, 0), "zmq_msg_send");
    }
}

static void receive_all(const struct bench *bench)
{
    void *socket = open_socket(bench, bench->is_pub ? ZMQ_SUB : ZMQ_PULL);
    zmq_msg_t message;
    int got;

    if (bench->is_pub)
        check(zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0), "ZMQ_SUBSCRIBE");
    check(zmq_connect(socket, bench->endpoint), "zmq_connect");
    zmq_msg_init(&message);
    do {
        got = zmq_msg_recv(&message, socket, 0);
        check(got, "zmq_msg_recv");
    } while (bench_count(bench, (size_t)got));
}

int main(int argc, char **argv)
{
    return bench_main(argc, argv, send_all, receive_all);
}
