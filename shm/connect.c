/*
 * Connecting: the place is found, the Unix socket connected, and the REQUEST goes out with the
 * control region. Runs on the transport's thread.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "shm.h"

#define RETRY_NS (5 * NS_PER_MS) /* while the listener's backlog is full */

/* Makes the region and asks. 0 or a negative errno. */
static int ask(struct shm_link *link)
{
    struct shm_packet request = {.type = SHM_PACKET_REQUEST};
    struct shm_region *region;
    int rc;

    request.fd = shm_region_create(&region);
    if (request.fd < 0)
        return request.fd;
    shm_link_set_region(link, region, 0);
    rc = shm_packet_send(link->fd, &request);
    close(request.fd);
    return rc;
}

static void connected(struct shm_link *link)
{
    const struct shm_settings *settings = link->transport->settings;
    const char *where = embar_link_peer(link->link);
    struct embar_diag why = {0};
    char peer[SHM_PEER_BYTES];
    int rc = shm_place_check_peer(link->fd, settings->allow_other_users, peer, sizeof(peer), &why);

    if (rc < 0) {
        shm_link_end(link, rc, "the listener at %s is not to be trusted: %s", where, why.text);
        return;
    }
    rc = ask(link);
    if (rc == -EPIPE)
        rc = 0; /* closed already: the listener's refusal, with its reason, waits to be read */
    if (rc == 0)
        rc = shm_transport_watch(link->transport, link->fd, link);
    if (rc < 0) {
        shm_link_end(link, rc, "cannot ask %s for a link: %s", where, strerror(-rc));
        return;
    }
    shm_link_set_state(link, SHM_LINK_ASKING);
    shm_link_set_deadline(link, link->connect_ns);
}

static void try_connect(struct shm_link *link)
{
    const char *where = embar_link_peer(link->link);

    if (connect(link->fd, (struct sockaddr *)&link->place.name, link->place.name_bytes) == 0)
        connected(link);
    else if (errno == EAGAIN || errno == EINTR) /* no event would tell that there is room */
        shm_link_set_deadline(link, shm_transport_now(link->transport) + RETRY_NS);
    else if (errno == ECONNREFUSED)
        shm_link_end(link, -ECONNREFUSED,
                     "cannot connect to %s over shm: no process of this host and network namespace "
                     "listens there; start the other side first, or check the port",
                     where);
    else
        shm_link_end(link, -errno, "cannot connect to %s over shm: %s", where, strerror(errno));
}

int shm_link_connect(struct embar_link *core, const char *address, struct embar_diag *diag)
{
    struct shm_transport *t = transport_private(embar_link_transport(core));
    struct shm_link *link = link_private(core);
    int rc = shm_place_find(address, &link->place, diag);

    if (rc < 0)
        return rc;
    link->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0)
        return diag_fail(diag, errno, "cannot open a Unix socket: %s", strerror(errno));
    shm_link_init(link, core, t);
    link->connect_ns = shm_transport_now(t) + t->settings->connect_timeout_ns;
    shm_link_set_state(link, SHM_LINK_CONNECTING);
    try_connect(link);
    return 0;
}

void shm_connect_timeout(struct shm_link *link)
{
    if (link->transport->now_ns < link->connect_ns)
        try_connect(link);
    else
        shm_link_end(link, -ETIMEDOUT,
                     "%s takes no connections: it is too busy, or stopped (shm.connect_timeout)",
                     embar_link_peer(link->link));
}
