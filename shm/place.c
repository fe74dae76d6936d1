/*
 * From addresses to abstract Unix sockets, and who is at the other end (see place.h). Owns nothing;
 * any thread.
 */
#include "place.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/address.h"
#include "common/diag.h"
#include "common/text.h"

#define BACKLOG    128
#define PORT_TRIES 32

static void make_place(struct shm_place *place, unsigned port)
{
    int len;

    *place = (struct shm_place){.name.sun_family = AF_UNIX};
    len = snprintf(place->name.sun_path + 1, sizeof(place->name.sun_path) - 1, "embar/%u", port);
    place->name_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

static in_port_t *port_of(struct sockaddr *sa)
{
    return sa->sa_family == AF_INET6 ? &((struct sockaddr_in6 *)(void *)sa)->sin6_port
                                     : &((struct sockaddr_in *)(void *)sa)->sin_port;
}

/* Asks the kernel for a TCP port at that address, which it gives for addresses of this host only. 0
 * and the port, or a negative errno. */
static int borrow_port(const struct addrinfo *ai, unsigned *port)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = ai->ai_addrlen;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = 0;

    if (fd < 0)
        return -errno;
    memcpy(&sa, ai->ai_addr, len);
    *port_of((struct sockaddr *)&sa) = 0;
    if (bind(fd, (struct sockaddr *)&sa, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        rc = -errno;
    else
        *port = ntohs(*port_of((struct sockaddr *)&sa));
    close(fd);
    return rc;
}

/* The first address of the list that is this host's, and a port that is free there. */
static const struct addrinfo *find_local(const struct addrinfo *list, unsigned *free_port)
{
    for (const struct addrinfo *ai = list; ai != NULL; ai = ai->ai_next) {
        if (borrow_port(ai, free_port) == 0)
            return ai;
    }
    return NULL;
}

static int not_local(const char *address, struct embar_diag *diag)
{
    return diag_fail(diag, EADDRNOTAVAIL,
                     "%s is not an address of this host, and shm joins processes of one host; use "
                     "tcp or rdma",
                     address);
}

/* -EADDRINUSE without a sentence; or a socket that listens. */
static int listen_at(unsigned port)
{
    struct shm_place place;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc;

    if (fd < 0)
        return -errno;
    make_place(&place, port);
    if (bind(fd, (struct sockaddr *)&place.name, place.name_bytes) < 0 || listen(fd, BACKLOG) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int listen_on(const struct addrinfo *ai, unsigned free_port, unsigned *port)
{
    int fd = -EADDRINUSE;

    *port = ntohs(*port_of(ai->ai_addr));
    if (*port != 0)
        return listen_at(*port);
    *port = free_port;
    for (int i = 0; i < PORT_TRIES; i++) {
        fd = listen_at(*port);
        if (fd != -EADDRINUSE || borrow_port(ai, port) < 0)
            return fd;
    }
    return fd;
}

int shm_place_listen(const char *address, char *bound, size_t bound_bytes, struct embar_diag *diag)
{
    unsigned free_port = 0, port = 0;
    const struct addrinfo *ai;
    struct addrinfo *list;
    int fd, rc = address_resolve(address, true, &list, diag);

    if (rc < 0)
        return rc;
    ai = find_local(list, &free_port);
    if (ai == NULL) {
        rc = not_local(address, diag);
        goto out;
    }
    fd = listen_on(ai, free_port, &port);
    if (fd < 0) {
        rc = diag_fail(diag, -fd,
                       fd == -EADDRINUSE
                           ? "cannot listen on %s: another process listens on that port over shm "
                             "already, whichever address it gave (%s)"
                           : "cannot listen on %s: %s",
                       address, strerror(-fd));
        goto out;
    }
    *port_of(ai->ai_addr) = htons((in_port_t)port);
    if (address[0] == ':') /* all addresses: of both families */
        text_format(bound, bound_bytes, ":%u", port);
    else
        address_format(ai->ai_addr, ai->ai_addrlen, bound, bound_bytes);
    rc = fd;
out:
    freeaddrinfo(list);
    return rc;
}

int shm_place_find(const char *address, struct shm_place *place, struct embar_diag *diag)
{
    const struct addrinfo *ai;
    struct addrinfo *list;
    unsigned free_port;
    int rc = address_resolve(address, false, &list, diag);

    if (rc < 0)
        return rc;
    ai = find_local(list, &free_port);
    if (ai != NULL)
        make_place(place, ntohs(*port_of(ai->ai_addr)));
    else
        rc = not_local(address, diag);
    freeaddrinfo(list);
    return rc;
}

int shm_place_check_peer(int fd, bool allow_other_users, char *peer, size_t peer_bytes,
                         struct embar_diag *diag)
{
    struct ucred who = {0};
    socklen_t len = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return diag_fail(diag, errno, "cannot find out whose process the peer is: %s",
                         strerror(errno));
    text_format(peer, peer_bytes, "pid:%d", (int)who.pid);
    if (allow_other_users || who.uid == geteuid() || who.uid == 0)
        return 0;
    return diag_fail(diag, EACCES,
                     "process %d belongs to user %u, and process %d takes peers of its own user "
                     "(%u) and of root only; run both as one user, or set shm.allow_other_users",
                     (int)who.pid, (unsigned)who.uid, (int)getpid(), (unsigned)geteuid());
}
