/*
 * Connecting: the addresses of a name are tried in turn, without blocking, within one deadline;
 * then the REQUEST goes out. Owns the list of addresses while it is needed. Runs on the transport's
 * thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/diag.h"
#include "common/log.h"
#include "common/text.h"
#include "socket.h"
#include "tcp.h"

/* What an operator reads about one address that could not be reached. */
static void explain(int error, const char *where, char *text, size_t text_bytes)
{
    switch (error) {
    case ECONNREFUSED:
        text_format(text, text_bytes,
                    "cannot connect to %s: nobody listens there (connection refused); start the "
                    "other side first, or check address and port",
                    where);
        break;
    case ETIMEDOUT:
        text_format(
            text, text_bytes,
            "cannot connect to %s: no answer within tcp.connect_timeout; check the address, "
            "and that no firewall drops the packets",
            where);
        break;
    case ENETUNREACH:
    case EHOSTUNREACH:
        text_format(text, text_bytes,
                    "cannot connect to %s: no route to that address (%s); check the network "
                    "('ip route get' shows the way)",
                    where, strerror(error));
        break;
    default:
        text_format(text, text_bytes, "cannot connect to %s: %s", where, strerror(error));
        break;
    }
}

/* Begins with the address. 0: made or under way; or a positive errno. */
static int begin(struct tcp_link *link, const struct addrinfo *ai)
{
    int fd = tcp_socket_open(ai->ai_family, link->transport->settings, NULL);
    int rc;

    if (fd < 0)
        return -fd;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS) {
        rc = errno;
        tcp_socket_close(fd, false);
        return rc;
    }
    rc = tcp_lane_open(&link->lanes[0], fd, EPOLLOUT);
    if (rc < 0)
        tcp_socket_close(fd, false);
    return -rc;
}

static unsigned addresses_left(const struct tcp_link *link)
{
    unsigned count = 0;

    for (const struct addrinfo *ai = link->next_address; ai != NULL; ai = ai->ai_next)
        count++;
    return count;
}

/* Goes on with the next address; ends the link when there is none. `error` is why the last one
 * failed, `where` which it was. */
static void try_next(struct tcp_link *link, int error, const char *where)
{
    char why[EMBAR_DIAG_BYTES], text[ADDRESS_BYTES];
    uint64_t now = tcp_transport_now(link->transport);

    explain(error, where, why, sizeof(why));
    while (link->next_address != NULL && now < link->limit_ns) {
        struct addrinfo *ai = link->next_address;
        unsigned left = addresses_left(link);

        if (error != 0)
            log_info("link %" PRIu64 ": %s", embar_link_id(link->link), why);
        link->next_address = ai->ai_next;
        link_set_peer(link->link, address_format(ai->ai_addr, ai->ai_addrlen, text, sizeof(text)));
        error = begin(link, ai);
        if (error == 0) {
            tcp_link_set_deadline(link, now + (link->limit_ns - now) / left);
            return;
        }
        explain(error, text, why, sizeof(why));
    }
    tcp_link_end(link, -error, "%s", why);
}

int tcp_link_connect(struct embar_link *core, const char *address, struct embar_diag *diag)
{
    struct tcp_link *link = link_private(core);
    struct tcp_transport *t = transport_private(embar_link_transport(core));
    struct addrinfo *list;
    int rc = address_resolve(address, false, &list, diag);

    if (rc < 0)
        return rc;
    rc = tcp_link_init(link, core, t, (uint32_t)t->settings->lanes);
    if (rc < 0) {
        freeaddrinfo(list);
        return diag_fail(diag, -rc, "out of memory for a link to %s", address);
    }
    link->is_connector = true;
    link->addresses = list;
    link->next_address = list;
    link->limit_ns = tcp_transport_now(t) + t->settings->connect_timeout_ns;
    tcp_link_set_state(link, TCP_LINK_CONNECTING);
    try_next(link, 0, address);
    return 0;
}

static void ask(struct tcp_link *link)
{
    struct tcp_frame frame = {.type = TCP_FRAME_REQUEST, .offset = (uint64_t)link->lane_room << 32};
    struct tcp_lane *lane = &link->lanes[0];

    link->wire_id = env_random(link->transport->env);
    frame.key = link->wire_id;
    tcp_link_set_state(link, TCP_LINK_ASKING);
    tcp_link_set_deadline(link, link->limit_ns);
    lane->rx.allowed = TCP_FRAME_BIT(TCP_FRAME_ACCEPT) | TCP_FRAME_BIT(TCP_FRAME_REJECT) |
                       TCP_FRAME_BIT(TCP_FRAME_BYE);
    tcp_lane_set_interest(lane, EPOLLIN);
    /* The sender is empty: there is room. */
    (void)tcp_sender_control(&lane->tx, &frame, NULL);
    tcp_lane_send(lane);
}

void tcp_connect_ready(struct tcp_link *link)
{
    struct tcp_lane *lane = &link->lanes[0];
    char where[ADDRESS_BYTES];
    int error = tcp_sys_kernel.so_error(NULL, lane->fd);

    /* Without a listener, a port out of the ephemeral range may connect to itself. */
    if (error == 0 && tcp_socket_is_own_peer(lane->fd))
        error = ECONNREFUSED;
    lane->readable = false;
    lane->completions = false;
    if (error == 0) {
        ask(link);
        return;
    }
    text_format(where, sizeof(where), "%s", embar_link_peer(link->link));
    tcp_lane_close(lane, true);
    try_next(link, error, where);
}

void tcp_connect_timeout(struct tcp_link *link)
{
    char where[ADDRESS_BYTES];

    text_format(where, sizeof(where), "%s", embar_link_peer(link->link));
    tcp_lane_close(&link->lanes[0], true);
    try_next(link, ETIMEDOUT, where);
}
