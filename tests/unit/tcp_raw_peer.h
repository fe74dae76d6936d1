/*
 * Raw sockets on one side, the public API on the other, one thread: what the tests of the TCP
 * backend share that speak to it as a peer which is not ours.
 */
#ifndef TCP_RAW_PEER_H
#define TCP_RAW_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <embar/transport.h>

#include "common/clock.h"
#include "tcp/frame.h"

#define BOUND_NS (30 * NS_PER_S)

/* The side under test: one transport, and the last event of each type. */
static struct {
    struct embar_transport *transport;
    struct embar_listener *listener;
    struct embar_event last[8];
    unsigned count[8];
    char reason[EMBAR_DIAG_BYTES];
    char message[TCP_MAX_SEND_BYTES];
    unsigned errors; /* lines of that level in the log: what should never happen */
} us;

static inline uint64_t now_ns(void)
{
    return env_now_ns(&env_system);
}

static inline void count_errors(enum embar_log_level level, const char *line, void *user)
{
    (void)line;
    (void)user;
    us.errors += level == EMBAR_LOG_ERROR;
}

static inline void open_transport(const char *const *settings)
{
    memset(&us, 0, sizeof(us));
    embar_log_set(EMBAR_LOG_DEBUG, count_errors, NULL);
    assert_int_equal(embar_transport_open("tcp", settings, &us.transport, NULL), 0);
}

static inline void open_listener(const char *address, const char *const *settings)
{
    open_transport(settings);
    assert_int_equal(embar_listen(us.transport, address, &us.listener, NULL), 0);
}

static inline void note(const struct embar_event *event)
{
    us.last[event->type] = *event;
    us.count[event->type]++;
    if (event->type == EMBAR_EVENT_LINK_DOWN)
        snprintf(us.reason, sizeof(us.reason), "%s", event->reason);
    if (event->type == EMBAR_EVENT_MESSAGE)
        memcpy(us.message, event->data, event->len_bytes);
}

/* Sleeps as an application would, so that a lost wake-up shows, and polls. */
static inline void turn(int timeout_ms)
{
    struct pollfd fd = {.fd = embar_fd(us.transport), .events = POLLIN};
    struct embar_event events[16];
    int count;

    if (embar_arm(us.transport) == 0)
        poll(&fd, 1, timeout_ms);
    count = embar_poll(us.transport, events, 16);
    assert_true(count >= 0);
    for (int i = 0; i < count; i++)
        note(&events[i]);
}

static inline void turn_for(uint64_t ns)
{
    uint64_t end = now_ns() + ns;

    while (now_ns() < end)
        turn(5);
}

#define until(condition)                                                                           \
    for (uint64_t bound_ = now_ns() + BOUND_NS; !(condition);) {                                   \
        assert_true(now_ns() < bound_);                                                            \
        turn(100);                                                                                 \
    }

static inline const struct embar_event *await(enum embar_event_type type)
{
    until(us.count[type] > 0);
    return &us.last[type];
}

static inline void close_link(struct embar_link *link)
{
    unsigned downs = us.count[EMBAR_EVENT_LINK_DOWN];

    if (embar_link_close(link) == 0)
        return;
    assert_int_equal(embar_link_abort(link), 0);
    until(us.count[EMBAR_EVENT_LINK_DOWN] > downs);
    assert_int_equal(embar_link_close(link), 0);
}

static inline void close_transport(void)
{
    if (us.listener != NULL)
        assert_int_equal(embar_listener_close(us.listener), 0);
    assert_int_equal(embar_transport_close(us.transport), 0);
    assert_int_equal(us.errors, 0);
}

/* Whether a thread that goes to sleep now stays asleep for so long. */
static inline bool sleeps_for(int timeout_ms)
{
    struct pollfd fd = {.fd = embar_fd(us.transport), .events = POLLIN};

    return embar_arm(us.transport) == 0 && poll(&fd, 1, timeout_ms) == 0;
}

/* ---- raw peers ------------------------------------------------------------------------------ */

static inline int raw_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    return fd;
}

static inline struct sockaddr_in loopback(unsigned port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline unsigned port_of(const char *address)
{
    return (unsigned)atoi(strrchr(address, ':') + 1);
}

static inline int raw_connect(void)
{
    struct sockaddr_in sa = loopback(port_of(embar_listener_address(us.listener)));
    int fd = raw_socket();

    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

/* A server of something else; the address is written for embar_connect. */
static inline int raw_listen(char *address, size_t address_bytes)
{
    struct sockaddr_in sa = loopback(0);
    socklen_t len = sizeof(sa);
    int fd = raw_socket();

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    snprintf(address, address_bytes, "127.0.0.1:%u", (unsigned)ntohs(sa.sin_port));
    return fd;
}

static inline void raw_send(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), len);
}

static inline void raw_frame(int fd, const struct tcp_frame *frame)
{
    uint8_t header[TCP_FRAME_BYTES];

    tcp_frame_pack(frame, header);
    raw_send(fd, header, sizeof(header));
}

/* Reads up to `len` bytes while our side runs; returns fewer at the end of the stream. */
static inline size_t raw_read(int fd, void *data, size_t len)
{
    size_t have = 0;

    for (uint64_t bound = now_ns() + BOUND_NS; have < len;) {
        ssize_t n = recv(fd, (char *)data + have, len - have, MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno == ECONNRESET))
            break;
        have += n > 0 ? (size_t)n : 0;
        assert_true(now_ns() < bound);
        turn(1);
    }
    return have;
}

static inline bool raw_is_closed(int fd)
{
    char byte;

    return raw_read(fd, &byte, 1) == 0;
}

/* The reason of a REJECT or BYE. */
static inline struct tcp_frame raw_read_reason(int fd, char *reason)
{
    uint8_t header[TCP_FRAME_BYTES];
    struct tcp_frame frame = {0};

    assert_int_equal(raw_read(fd, header, sizeof(header)), sizeof(header));
    assert_int_equal(tcp_frame_unpack(header, &frame, NULL), 0);
    assert_int_equal(raw_read(fd, reason, frame.len_bytes), frame.len_bytes);
    reason[frame.len_bytes] = '\0';
    return frame;
}

static const struct tcp_frame request = {
    .type = TCP_FRAME_REQUEST, .key = 1, .offset = UINT64_C(1) << 32};

/* A raw peer with a link that is up. */
static inline int raw_join(struct embar_link **link)
{
    unsigned ups = us.count[EMBAR_EVENT_LINK_UP], requests = us.count[EMBAR_EVENT_LINK_REQUEST];
    uint8_t accepted[TCP_FRAME_BYTES];
    int fd = raw_connect();

    raw_frame(fd, &request);
    until(us.count[EMBAR_EVENT_LINK_REQUEST] > requests);
    *link = us.last[EMBAR_EVENT_LINK_REQUEST].link;
    assert_int_equal(embar_accept(*link), 0);
    until(us.count[EMBAR_EVENT_LINK_UP] > ups);
    assert_int_equal(raw_read(fd, accepted, sizeof(accepted)), sizeof(accepted));
    return fd;
}

static inline void assert_link_works(int fd)
{
    unsigned messages = us.count[EMBAR_EVENT_MESSAGE];
    struct tcp_frame frame = {.type = TCP_FRAME_SEND, .len_bytes = 5};

    raw_frame(fd, &frame);
    raw_send(fd, "alive", 5);
    until(us.count[EMBAR_EVENT_MESSAGE] > messages);
    assert_memory_equal(us.message, "alive", 5);
}

/* For tests in a network of their own (unshare(2)). */
static inline void set_loopback_up(bool up)
{
    struct ifreq ifr = {.ifr_name = "lo"};
    int fd = raw_socket();

    assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
    ifr.ifr_flags = (short)(up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
    close(fd);
}

#endif
