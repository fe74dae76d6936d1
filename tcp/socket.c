/*
 * Opening, setting and closing of sockets. Owns nothing that outlives a call; runs on the
 * transport's thread. The numbers of the settings become the units of the kernel here and nowhere
 * else.
 */
#include "socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/clock.h"
#include "common/diag.h"
#include "common/log.h"
#include "common/text.h"

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int whole_seconds(uint64_t ns)
{
    return (int)((ns + NS_PER_S - 1) / NS_PER_S);
}

static int fail_option(const char *key, int rc, struct embar_diag *diag)
{
    return diag_fail(diag, -rc, "%s: the kernel refuses the value: %s", key, strerror(-rc));
}

static int set_keepalive(int fd, const struct tcp_settings *s)
{
    int rc;

    if (s->keepalive_idle_ns == 0)
        return 0;
    rc = set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (rc == 0)
        rc = set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, whole_seconds(s->keepalive_idle_ns));
    if (rc == 0)
        rc = set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, whole_seconds(s->keepalive_interval_ns));
    if (rc == 0)
        rc = set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, (int)s->keepalive_count);
    return rc;
}

static int set_congestion_control(int fd, const struct tcp_settings *s, struct embar_diag *diag)
{
    size_t len = strlen(s->congestion_control);

    if (len == 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, s->congestion_control, (socklen_t)len) == 0)
        return 0;
    if (errno == EPERM)
        return diag_fail(diag, EPERM,
                         "tcp.congestion_control: '%s' is reserved for root; add it to "
                         "net.ipv4.tcp_allowed_congestion_control",
                         s->congestion_control);
    return diag_fail(diag, EINVAL,
                     "tcp.congestion_control: this kernel has no '%s'; it has those that 'sysctl "
                     "net.ipv4.tcp_available_congestion_control' prints",
                     s->congestion_control);
}

/* A dual-stack socket sends to both families, so both marks are set where the family allows. */
static int set_dscp(int fd, const struct tcp_settings *s)
{
    int domain = AF_INET, tos = (int)s->dscp << 2, rc;
    socklen_t len = sizeof(domain);

    if (tos == 0)
        return 0;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    rc = set_int(fd, IPPROTO_IP, IP_TOS, tos);
    if (domain == AF_INET6)
        rc = set_int(fd, IPPROTO_IPV6, IPV6_TCLASS, tos);
    return rc;
}

int tcp_socket_prepare(int fd, const struct tcp_settings *s, struct embar_diag *diag)
{
    int rc;

    rc = s->send_buffer > 0 ? set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)s->send_buffer) : 0;
    if (rc < 0)
        return fail_option("tcp.send_buffer", rc, diag);
    rc = s->receive_buffer > 0 ? set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)s->receive_buffer) : 0;
    if (rc < 0)
        return fail_option("tcp.receive_buffer", rc, diag);
    rc = set_int(fd, IPPROTO_TCP, TCP_NODELAY, s->nodelay);
    if (rc < 0)
        return fail_option("tcp.nodelay", rc, diag);
    rc = set_keepalive(fd, s);
    if (rc < 0)
        return fail_option("tcp.keepalive_idle, tcp.keepalive_interval, tcp.keepalive_count", rc,
                           diag);
    rc = set_dscp(fd, s);
    if (rc < 0)
        return fail_option("tcp.dscp", rc, diag);
    return set_congestion_control(fd, s, diag);
}

int tcp_socket_open(int family, const struct tcp_settings *settings, struct embar_diag *diag)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    int rc;

    if (fd < 0)
        return diag_fail(diag, errno, "cannot open a TCP socket: %s", strerror(errno));
    rc = tcp_socket_prepare(fd, settings, diag);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

/* The kernel doubles what it is asked for, for its own bookkeeping, and cuts it silently. */
static void warn_if_cut(int fd, int name, uint64_t asked, const char *key, const char *limit)
{
    int granted = 0;
    socklen_t len = sizeof(granted);

    if (asked == 0 || getsockopt(fd, SOL_SOCKET, name, &granted, &len) < 0)
        return;
    if ((uint64_t)granted / 2 < asked)
        log_warn("%s: the kernel grants %d of %llu bytes; raise it with 'sysctl -w %s=%llu'", key,
                 granted / 2, (unsigned long long)asked, limit, (unsigned long long)asked);
}

int tcp_socket_try_settings(const struct tcp_settings *settings, struct embar_diag *diag)
{
    int fd = tcp_socket_open(AF_INET, settings, diag);

    if (fd == -EAFNOSUPPORT)
        fd = tcp_socket_open(AF_INET6, settings, diag);
    if (fd < 0)
        return fd;
    warn_if_cut(fd, SO_SNDBUF, settings->send_buffer, "tcp.send_buffer", "net.core.wmem_max");
    warn_if_cut(fd, SO_RCVBUF, settings->receive_buffer, "tcp.receive_buffer", "net.core.rmem_max");
    close(fd);
    return 0;
}

static bool is_wildcard(const char *address)
{
    return address[0] == ':';
}

static int bind_one(const struct addrinfo *ai, bool both_families,
                    const struct tcp_settings *settings, struct embar_diag *diag)
{
    int fd = tcp_socket_open(ai->ai_family, settings, diag);
    int rc;

    if (fd < 0)
        return fd;
    /* Whoever names an IPv6 address means it alone; only ":PORT" means both families. */
    rc = ai->ai_family == AF_INET6 ? set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !both_families) : 0;
    if (rc == 0)
        rc = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0 && bind(fd, ai->ai_addr, ai->ai_addrlen) < 0)
        rc = -errno;
    if (rc == 0 && listen(fd, (int)settings->backlog) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

static int fail_listen(const char *address, int rc, struct embar_diag *diag)
{
    switch (-rc) {
    case EADDRINUSE:
        return diag_fail(diag, EADDRINUSE,
                         "cannot listen on %s: the port is in use; stop the other process ('ss "
                         "-ltnp' shows it) or choose another port",
                         address);
    case EADDRNOTAVAIL:
        return diag_fail(
            diag, EADDRNOTAVAIL,
            "cannot listen on %s: this host has no such address; 'ip addr' shows those "
            "it has",
            address);
    case EACCES:
        return diag_fail(diag, EACCES,
                         "cannot listen on %s: ports below net.ipv4.ip_unprivileged_port_start are "
                         "reserved for root",
                         address);
    default:
        return diag_fail(diag, -rc, "cannot listen on %s: %s", address, strerror(-rc));
    }
}

int tcp_socket_listen(const char *address, const struct tcp_settings *settings,
                      struct embar_diag *diag)
{
    struct addrinfo *list;
    bool both = is_wildcard(address);
    int rc = address_resolve(address, true, &list, diag), first_rc = 0;

    if (rc < 0)
        return rc;
    rc = -EADDRNOTAVAIL;
    /* Two passes: for ":PORT" the IPv6 wildcard, which serves both families, comes first. */
    for (int pass = both ? 0 : 1; pass < 2 && rc < 0; pass++) {
        for (struct addrinfo *ai = list; ai != NULL && rc < 0; ai = ai->ai_next) {
            if (pass == 0 && ai->ai_family != AF_INET6)
                continue;
            rc = bind_one(ai, both, settings, NULL);
            if (rc < 0 && first_rc == 0)
                first_rc = rc;
        }
    }
    freeaddrinfo(list);
    return rc < 0 ? fail_listen(address, first_rc != 0 ? first_rc : rc, diag) : rc;
}

int tcp_socket_enable_zerocopy(int fd)
{
    return set_int(fd, SOL_SOCKET, SO_ZEROCOPY, 1);
}

bool tcp_socket_is_own_peer(int fd)
{
    struct sockaddr_storage own, peer;
    socklen_t own_len = sizeof(own), peer_len = sizeof(peer);

    memset(&own, 0, sizeof(own));
    memset(&peer, 0, sizeof(peer));
    return getsockname(fd, (struct sockaddr *)&own, &own_len) == 0 &&
           getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 && own_len == peer_len &&
           memcmp(&own, &peer, own_len) == 0;
}

const char *tcp_socket_peer(int fd, char *text, size_t text_bytes)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
        return text_format(text, text_bytes, "an unknown peer");
    return address_format((struct sockaddr *)&peer, len, text, text_bytes);
}

void tcp_socket_abort(int fd)
{
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    /* Fails only when the connection is gone already, which is what is wanted. */
    (void)connect(fd, &nobody, sizeof(nobody));
}

void tcp_socket_close(int fd, bool reset)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

void tcp_socket_set_low_water(int fd, uint32_t bytes)
{
    (void)set_int(fd, SOL_SOCKET, SO_RCVLOWAT, (int)bytes);
}

uint64_t tcp_socket_unacked(int fd)
{
    int waiting = 0;

    return ioctl(fd, SIOCOUTQ, &waiting) == 0 && waiting > 0 ? (uint64_t)waiting : 0;
}
