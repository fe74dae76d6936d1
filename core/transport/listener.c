/*
 * Listeners: binding an address and, on close, refusing the requests that nobody has answered. Owns
 * the listener object; the links that came through it belong to the transport. Runs on the
 * transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/diag.h"
#include "common/log.h"
#include "transport/object.h"

static _Atomic uint64_t listener_ids;

int embar_listen(struct embar_transport *transport, const char *address,
                 struct embar_listener **listener, struct embar_diag *diag)
{
    const struct backend *backend = transport->backend;
    struct embar_listener *l;
    int rc;

    if (transport->failure != 0)
        return diag_fail(diag, -transport->failure, "cannot listen on %s: the transport is lost",
                         address);
    l = object_alloc(sizeof(*l), backend->listener_size);
    if (l == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for a listener on %s", address);
    l->transport = transport;
    l->id = object_next_id(&listener_ids);
    rc = backend->listener->listen(l, address, l->address, sizeof(l->address), diag);
    if (rc < 0) {
        free(l);
        return rc;
    }
    transport->listener_count++;
    log_info("listener %" PRIu64 ": %s on %s", l->id, transport->caps.name, l->address);
    *listener = l;
    return 0;
}

const char *embar_listener_address(const struct embar_listener *listener)
{
    return listener->address;
}

int embar_listener_close(struct embar_listener *listener)
{
    struct embar_transport *transport = listener->transport;
    struct list *item;

    listener->closing = true;
    for (item = transport->links.next; item != &transport->links; item = item->next) {
        struct embar_link *link = (struct embar_link *)item;
        if (link->listener == listener)
            link_orphan(link, "the listener has closed");
    }
    transport->backend->listener->close(listener);
    transport->listener_count--;
    log_info("listener %" PRIu64 ": closed", listener->id);
    free(listener);
    return 0;
}
