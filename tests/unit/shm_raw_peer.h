/*
 * A raw Unix socket and a region that the test scribbles into on one side, the public API on the
 * other, one thread: what the tests of the shm backend share that speak to it as a peer which is
 * not ours.
 */
#ifndef SHM_RAW_PEER_H
#define SHM_RAW_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <embar/transport.h>

#include "common/clock.h"
#include "shm/packet.h"
#include "shm/place.h"
#include "shm/ring.h"

#define BUFFER_BYTES 8192u
#define BOUND_NS     (30 * NS_PER_S)

/* The side under test. */
static struct {
    struct embar_transport *transport;
    struct embar_listener *listener;
    struct embar_buffer *buffer;
    struct embar_link *link;
    struct embar_key key;
    unsigned count[8];
    int status;
    char reason[EMBAR_DIAG_BYTES];
    char message[SHM_PAYLOAD + 1];
    const uint8_t *arrived; /* where the latest write lies, when it was lent */
} us;

/* The peer. */
static struct {
    int fd;
    struct shm_region *region;
    struct shm_producer tx;
    struct shm_consumer rx;
} peer;

static inline void poll_us(void)
{
    struct embar_event events[16];
    int count = embar_poll(us.transport, events, 16);

    assert_in_range(count, 0, 16);
    for (int i = 0; i < count; i++) {
        const struct embar_event *e = &events[i];

        us.count[e->type]++;
        if (e->type == EMBAR_EVENT_LINK_REQUEST) {
            us.link = e->link;
            assert_int_equal(embar_accept(e->link), 0);
        } else if (e->type == EMBAR_EVENT_LINK_DOWN) {
            us.status = e->status;
            snprintf(us.reason, sizeof(us.reason), "%s", e->reason);
        } else if (e->type == EMBAR_EVENT_ARRIVAL) {
            us.arrived = e->data;
        } else if (e->type == EMBAR_EVENT_MESSAGE) {
            snprintf(us.message, sizeof(us.message), "%.*s", (int)e->len_bytes,
                     (const char *)e->data);
        }
    }
}

#define until(condition)                                                                           \
    do {                                                                                           \
        uint64_t bound_ = env_now_ns(&env_system) + BOUND_NS;                                      \
        while (!(condition)) {                                                                     \
            poll_us();                                                                             \
            if (env_now_ns(&env_system) > bound_)                                                  \
                fail_msg("waited too long for: %s", #condition);                                   \
        }                                                                                          \
    } while (0)

static inline void connect_peer(void)
{
    struct shm_place place;

    assert_int_equal(shm_place_find(embar_listener_address(us.listener), &place, NULL), 0);
    peer.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(peer.fd >= 0);
    assert_int_equal(connect(peer.fd, (struct sockaddr *)&place.name, place.name_bytes), 0);
}

static inline void send_packet(enum shm_packet_type type, int fd, uint64_t key, uint64_t size_bytes)
{
    const struct shm_packet packet = {.type = type, .fd = fd, .key = key, .size_bytes = size_bytes};

    assert_int_equal(shm_packet_send(peer.fd, &packet), 0);
}

/* A link that is up, to which a buffer is exposed. */
static inline void join(void)
{
    int fd = shm_region_create(&peer.region);

    connect_peer();
    assert_true(fd >= 0);
    send_packet(SHM_PACKET_REQUEST, fd, 0, 0);
    close(fd);
    shm_ring_init(&peer.tx, &peer.rx, peer.region, 0);
    until(us.count[EMBAR_EVENT_LINK_UP] == 1);
    assert_int_equal(embar_buffer_expose(us.buffer, us.link, &us.key, NULL), 0);
}

static inline int set_up(void **state)
{
    (void)state;
    memset(&us, 0, sizeof(us));
    memset(&peer, 0, sizeof(peer));
    peer.fd = -1;
    assert_int_equal(embar_transport_open("shm", NULL, &us.transport, NULL), 0);
    assert_int_equal(embar_listen(us.transport, "127.0.0.1:0", &us.listener, NULL), 0);
    assert_int_equal(embar_buffer_alloc(us.transport, BUFFER_BYTES,
                                        &(struct embar_buffer_options){
                                            .hugepages = EMBAR_HUGEPAGES_NEVER, .numa_node = -1},
                                        &us.buffer, NULL),
                     0);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    if (peer.fd >= 0)
        close(peer.fd);
    if (us.link != NULL) {
        until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
        assert_int_equal(embar_link_close(us.link), 0);
    }
    shm_region_close(peer.region);
    assert_int_equal(embar_buffer_free(us.buffer), 0);
    assert_int_equal(embar_listener_close(us.listener), 0);
    assert_int_equal(embar_transport_close(us.transport), 0);
    return 0;
}

static inline void expect_down(int status, const char *words)
{
    until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(us.status, status);
    if (strstr(us.reason, words) == NULL)
        fail_msg("'%s' does not say '%s'", us.reason, words);
}

/* The peer's socket ends; returns what the last packet said before, "" for none. */
static inline const char *expect_closed(void)
{
    static struct shm_packet packet;
    struct embar_diag why;
    uint64_t bound = env_now_ns(&env_system) + BOUND_NS;
    int rc;

    packet.reason[0] = '\0';
    for (;;) {
        rc = shm_packet_receive(peer.fd, &packet, &why);
        if (rc == 0 || rc == -ECONNRESET)
            return packet.reason;
        poll_us();
        assert_true(env_now_ns(&env_system) < bound);
    }
}

#define PEER_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

#endif
