/*
 * Links: the calls by which an application begins, answers, ends and closes them. Every change of
 * state goes through link_state_step. Owns the link object and its table of writes in flight. Runs
 * on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "transport/object.h"

static _Atomic uint64_t link_ids;

struct embar_link *link_create(struct embar_transport *transport)
{
    struct embar_link *link = object_alloc(sizeof(*link), transport->backend->link_size);

    if (link == NULL)
        return NULL;
    if (write_table_init(&link->writes, transport->caps.max_writes) < 0) {
        free(link);
        return NULL;
    }
    link->transport = transport;
    link->id = object_next_id(&link_ids);
    list_add(&transport->links, &link->in_transport);
    transport->link_count++;
    return link;
}

void link_free(struct embar_link *link)
{
    list_remove(&link->in_transport);
    link->transport->link_count--;
    log_debug("link %" PRIu64 ": closed", link->id);
    write_table_destroy(&link->writes);
    free(link);
}

int embar_connect(struct embar_transport *transport, const char *address, struct embar_link **link,
                  struct embar_diag *diag)
{
    struct embar_link *l;
    int rc;

    if (transport->failure != 0)
        return diag_fail(diag, -transport->failure, "cannot connect to %s: the transport is lost",
                         address);
    l = link_create(transport);
    if (l == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for a link to %s", address);
    link_set_peer(l, address);
    link_state_begin(l, LINK_CONNECTING);
    rc = transport->backend->link->connect(l, address, diag);
    if (rc < 0) {
        link_free(l);
        return rc;
    }
    *link = l;
    return 0;
}

static bool is_down(const struct embar_link *link)
{
    return link->state == LINK_DOWN || link->state == LINK_OVER;
}

int embar_accept(struct embar_link *link)
{
    struct embar_listener *listener = link->listener;
    int rc;

    if (is_down(link))
        return -ENOTCONN;
    rc = link_state_step(link, LINK_ACCEPT);
    if (rc < 0)
        return rc;
    /* Answered before the backend is asked: it may report the link up from within. */
    link->listener = NULL;
    rc = link->transport->backend->link->accept(link);
    if (rc < 0) {
        link_state_step(link, LINK_ANSWER_FAILED);
        link->listener = listener;
    }
    return rc;
}

int embar_reject(struct embar_link *link, const char *reason)
{
    struct embar_listener *listener = link->listener;
    int rc;

    if (reason == NULL || strlen(reason) > REJECT_BYTES)
        return -EINVAL;
    if (is_down(link))
        return -ENOTCONN;
    rc = link_state_step(link, LINK_REJECT);
    if (rc < 0)
        return rc;
    link->listener = NULL;
    rc = link->transport->backend->link->reject(link, reason);
    if (rc < 0) {
        link_state_step(link, LINK_ANSWER_FAILED);
        link->listener = listener;
    }
    return rc;
}

void link_orphan(struct embar_link *link, const char *reason)
{
    if (!link->request_seen) {
        link->unseen = true;
        event_queue_drop_link(&link->transport->events, link);
    }
    if (is_down(link)) {
        link->transport->unseen_down += link->unseen ? 1 : 0;
    } else if (embar_reject(link, reason) < 0) {
        embar_link_disconnect(link);
    }
    link->listener = NULL;
}

int embar_link_disconnect(struct embar_link *link)
{
    enum link_state before = link->state;
    int rc;

    rc = link_state_step(link, LINK_DISCONNECT);
    if (rc == 0 && before != link->state) {
        link->listener = NULL;
        link->transport->backend->link->disconnect(link);
    }
    return rc;
}

int embar_link_abort(struct embar_link *link)
{
    if (is_down(link))
        return 0;
    link_state_step(link, LINK_DISCONNECT);
    link->listener = NULL;
    link->aborting = true;
    link->transport->backend->link->abort(link);
    if (!is_down(link))
        link_abandon(link, -ECONNABORTED, "aborted by this side");
    return 0;
}

int embar_link_close(struct embar_link *link)
{
    if (link->state != LINK_OVER)
        return -EBUSY;
    link->transport->backend->link->destroy(link);
    link_free(link);
    return 0;
}

void embar_link_set_user(struct embar_link *link, void *user)
{
    link->user = user;
}

void *embar_link_user(const struct embar_link *link)
{
    return link->user;
}

uint64_t embar_link_id(const struct embar_link *link)
{
    return link->id;
}

const char *embar_link_peer(const struct embar_link *link)
{
    return link->peer;
}

struct embar_transport *embar_link_transport(const struct embar_link *link)
{
    return link->transport;
}

void embar_link_stats(const struct embar_link *link, struct embar_link_stats *stats)
{
    *stats = link->stats;
    stats->send_mode = "";
    link->transport->backend->link->stats(link, stats);
}
