/*
 * The events of the connection manager and the listeners. Each event is copied and acknowledged
 * before it is acted on. Owns what listens. Runs on the transport's thread.
 */
#include "cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cm_text.h"
#include "common/address.h"
#include "common/diag.h"
#include "common/log.h"
#include "transport.h"

#define BACKLOG 128

/* ---- listeners ---------------------------------------------------------------------------- */

void rdma_listen_put(struct rdma_listen *listen)
{
    if (listen == NULL || --listen->references > 0)
        return;
    if (listen->id != NULL)
        rdma_destroy_id(listen->id);
    free(listen);
}

static int explain_bind(int error, const char *address, struct embar_diag *diag)
{
    switch (error) {
    case EADDRINUSE:
        return diag_fail(diag, error,
                         "cannot listen on %s over RDMA: the port is in use; `rdma "
                         "resource show "
                         "cm_id` shows by whom",
                         address);
    case EADDRNOTAVAIL:
    case ENODEV:
        return diag_fail(diag, EADDRNOTAVAIL,
                         "cannot listen on %s over RDMA: the address is not that "
                         "of an RDMA device "
                         "of this host (`rdma link` and `ip address` show them)",
                         address);
    case EACCES:
        return diag_fail(diag, error,
                         "cannot listen on %s over RDMA: not permitted; ports below "
                         "1024 need CAP_NET_BIND_SERVICE",
                         address);
    default:
        return diag_fail(diag, error, "cannot listen on %s over RDMA: %s", address,
                         strerror(error));
    }
}

/* Tries the addresses that the name has; the first that binds is taken. */
static int bind_first(struct rdma_listen *listen, const char *address, const struct addrinfo *list,
                      struct embar_diag *diag)
{
    int error = EADDRNOTAVAIL;

    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        if (rdma_create_id(listen->t->cm, &listen->id, listen, RDMA_PS_TCP) != 0) {
            listen->id = NULL;
            return diag_fail(diag, errno, "the connection manager gives no identifier: %s",
                             strerror(errno));
        }
        if (rdma_bind_addr(listen->id, a->ai_addr) == 0 && rdma_listen(listen->id, BACKLOG) == 0)
            return 0;
        error = errno;
        rdma_destroy_id(listen->id);
        listen->id = NULL;
        if (error == EADDRINUSE)
            break;
    }
    return explain_bind(error, address, diag);
}

/* An address of one device leads to that device alone. */
static int use_device(struct rdma_listen *listen, const char *address, struct embar_diag *diag)
{
    struct rdma_device *device;
    int rc;

    if (listen->id->verbs == NULL)
        return 0;
    rc = rdma_device_for(listen->t, listen->id->verbs, &device, diag);
    if (rc < 0 && diag != NULL)
        diag_prefix(diag, "cannot listen on %s over RDMA", address);
    return rc;
}

static int listener_listen(struct embar_listener *listener, const char *address, char *bound,
                           size_t bound_bytes, struct embar_diag *diag)
{
    struct rdma_listener *own = listener_private(listener);
    struct rdma_listen *listen;
    struct addrinfo *list;
    struct sockaddr *at;
    int rc;

    rc = address_resolve(address, true, &list, diag);
    if (rc < 0)
        return rc;
    listen = calloc(1, sizeof(*listen));
    if (listen == NULL) {
        rc = diag_fail(diag, ENOMEM, "out of memory for a listener on %s", address);
        goto free_list;
    }
    listen->owner = RDMA_OWNER_LISTEN;
    listen->t = transport_private(listener_transport(listener));
    listen->listener = listener;
    listen->references = 1;
    rc = bind_first(listen, address, list, diag);
    if (rc == 0)
        rc = use_device(listen, address, diag);
    if (rc < 0) {
        rdma_listen_put(listen);
        goto free_list;
    }
    at = rdma_get_local_addr(listen->id);
    address_format(
        at, at->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in),
        bound, bound_bytes);
    own->listen = listen;

free_list:
    freeaddrinfo(list);
    return rc;
}

static void listener_close(struct embar_listener *listener)
{
    struct rdma_listener *own = listener_private(listener);

    own->listen->listener = NULL;
    rdma_listen_put(own->listen);
}

const struct backend_listener_ops rdma_listener_ops = {.listen = listener_listen,
                                                       .close = listener_close};

/* ---- events ------------------------------------------------------------------------------- */

static void rejected(struct rdma_lane *lane, const struct rdma_note *note)
{
    struct rdma_cm_text text = rdma_reject_text(note->status);
    char reason[RDMA_REJECT_BYTES];

    if (rdma_reject_unpack(note->data, note->len_bytes, reason, sizeof(reason)) == 0)
        rdma_link_stop(lane->link, -ECONNREFUSED, "the peer refused it: %s", reason);
    else
        rdma_link_stop(lane->link, -text.error, "%s (CM reason %d)", text.sentence, note->status);
}

static void established(struct rdma_lane *lane, const struct rdma_note *note)
{
    /* On iWARP the answer comes with this event, on the others it came before. */
    if (lane->link->active)
        rdma_connect_answered(lane, note);
    else
        rdma_link_lane_established(lane);
}

static void removed(const struct rdma_note *note, bool is_lane)
{
    const char *name = note->id->verbs != NULL ? ibv_get_device_name(note->id->verbs->device) : "?";
    struct rdma_lane *lane = note->id->context;

    if (is_lane)
        rdma_link_stop(lane->link, -ENODEV, "RDMA device %s was removed", name);
    else
        log_error("rdma: device %s was removed: nobody can be met there any more", name);
}

/* Events of a lane's id. */
static void lane_event(struct rdma_lane *lane, const struct rdma_note *note)
{
    struct rdma_link *l = lane->link;
    struct rdma_cm_text text = rdma_resolve_text(note->status < 0 ? -note->status : note->status);

    switch (note->type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        rdma_connect_addr_resolved(lane);
        break;
    case RDMA_CM_EVENT_ADDR_ERROR:
        rdma_connect_addr_failed(lane, text.error);
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        rdma_connect_route_resolved(lane);
        break;
    case RDMA_CM_EVENT_ROUTE_ERROR:
        rdma_link_stop(l, -text.error, "no RDMA route: %s", text.sentence);
        break;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
        rdma_connect_answered(lane, note);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        established(lane, note);
        break;
    case RDMA_CM_EVENT_REJECTED:
        rejected(lane, note);
        break;
    case RDMA_CM_EVENT_UNREACHABLE:
        rdma_link_stop(l, -EHOSTUNREACH,
                       "the peer's host does not answer the connection manager: is "
                       "it up, and does "
                       "UDP port 4791 pass between the hosts?");
        break;
    case RDMA_CM_EVENT_CONNECT_ERROR:
        rdma_link_stop(l, -ECONNABORTED, "the connection manager failed to connect (status %d)",
                       note->status);
        break;
    case RDMA_CM_EVENT_DISCONNECTED:
        rdma_link_peer_left(lane);
        break;
    default: /* TIMEWAIT_EXIT and the like: nothing waits for them */
        break;
    }
}

static void dispatch(struct rdma_transport *t, const struct rdma_note *note)
{
    bool is_lane = *(const enum rdma_owner *)note->id->context == RDMA_OWNER_LANE;

    if (note->type == RDMA_CM_EVENT_CONNECT_REQUEST)
        rdma_accept_request(t, note);
    else if (note->type == RDMA_CM_EVENT_DEVICE_REMOVAL)
        removed(note, is_lane);
    else if (is_lane)
        lane_event(note->id->context, note);
}

int rdma_cm_progress(struct rdma_transport *t, int budget)
{
    struct rdma_cm_event *event;
    int count = 0;

    while (count < budget) {
        struct rdma_note note;

        if (rdma_get_cm_event(t->cm, &event) != 0) {
            if (errno == EAGAIN || errno == EINTR)
                break;
            log_error("rdma: the connection manager's channel is broken: %s", strerror(errno));
            return -errno;
        }
        note.type = event->event;
        note.status = event->status;
        note.id = event->id;
        note.listen_id = event->listen_id;
        note.len_bytes = 0;
        if (event->param.conn.private_data != NULL) {
            note.len_bytes = event->param.conn.private_data_len;
            memcpy(note.data, event->param.conn.private_data, note.len_bytes);
        }
        rdma_ack_cm_event(event);
        dispatch(t, &note);
        count++;
    }
    return count;
}
