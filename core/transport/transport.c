/*
 * Transports: opening one through the registry, closing it when nothing hangs from it, and the poll
 * that hands out events and lets the backend make progress when there is room for more. Owns the
 * transport object, its settings and its events. Runs on the transport's one thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "transport/object.h"
#include "transport/registry.h"
#include "transport/settings.h"

static _Atomic uint64_t transport_ids;
static _Atomic unsigned sharing; /* open transports with shareable buffers */

bool transport_any_shares(void)
{
    return atomic_load(&sharing) > 0;
}

static int no_backend(const char *name, struct embar_diag *diag)
{
    const char *why = registry_missing(name);
    char list[256] = "";
    size_t used = 0;

    if (why != NULL)
        return diag_fail(diag, ENOTSUP, "transport %s: %s", name, why);
    for (const char *const *known = embar_transport_names(); *known != NULL; known++) {
        size_t len = strlen(*known);
        if (used + len + 3 > sizeof(list))
            break;
        memcpy(list + used, used > 0 ? ", " : "", used > 0 ? 2 : 0);
        used += used > 0 ? 2 : 0;
        memcpy(list + used, *known, len + 1);
        used += len;
    }
    return diag_fail(diag, ENOENT, "there is no transport '%s'; this build has %s", name,
                     used > 0 ? list : "none");
}

int transport_open_env(const char *name, const char *const *settings, const struct env *env,
                       struct embar_transport **transport, struct embar_diag *diag)
{
    const struct backend *backend;
    struct embar_transport *t;
    int rc;

    backend = registry_find(name);
    if (backend == NULL)
        return no_backend(name, diag);
    t = object_alloc(sizeof(*t), backend->transport_size);
    if (t == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for a %s transport", name);
    t->backend = backend;
    t->env = env;
    t->caps = backend->caps;
    t->id = object_next_id(&transport_ids);
    list_init(&t->links);
    rc = settings_create(backend, settings, &t->settings, diag);
    if (rc < 0)
        goto free_transport;
    rc = backend->transport->open(t, t->settings, &t->caps, diag);
    if (rc < 0)
        goto free_settings;
    rc = event_queue_init(&t->events, t->caps.max_send_bytes);
    if (rc < 0) {
        diag_fail(diag, -rc, "out of memory for the events of a %s transport", name);
        goto close_backend;
    }
    atomic_fetch_add(&sharing, backend->shareable_buffers);
    log_debug("transport %" PRIu64 ": %s opened", t->id, name);
    *transport = t;
    return 0;

close_backend:
    backend->transport->close(t);
free_settings:
    free(t->settings);
free_transport:
    free(t);
    return rc;
}

int embar_transport_open(const char *name, const char *const *settings,
                         struct embar_transport **transport, struct embar_diag *diag)
{
    return transport_open_env(name, settings, &env_system, transport, diag);
}

/* Frees the links that the application never saw and that are down by now. Not done where the
 * backend reports them, because it still holds them there. */
static void free_unseen(struct embar_transport *transport)
{
    struct list *item = transport->links.next;

    while (transport->unseen_down > 0 && item != &transport->links) {
        struct embar_link *link = (struct embar_link *)item;

        item = item->next;
        if (link->unseen && link->state == LINK_DOWN) {
            transport->unseen_down--;
            transport->backend->link->destroy(link);
            link_free(link);
        }
    }
}

void transport_fail(struct embar_transport *transport, int error, const char *why)
{
    if (transport->failure != 0)
        return;
    log_error("transport %" PRIu64 ": lost: %s", transport->id, why);
    transport->failure = error;
}

/* After the loss of the transport no backend report will come any more: core ends what is left. */
static void abandon_links(struct embar_transport *transport)
{
    for (struct list *item = transport->links.next; item != &transport->links; item = item->next) {
        struct embar_link *link = (struct embar_link *)item;
        if (link->state != LINK_DOWN && link->state != LINK_OVER)
            link_abandon(link, transport->failure, "the whole transport is lost");
    }
}

static void settle(struct embar_transport *transport)
{
    if (transport->failure != 0)
        abandon_links(transport);
    free_unseen(transport);
}

static void make_progress(struct embar_transport *transport, int budget)
{
    int rc = transport->backend->transport->progress(transport, budget);

    if (rc < 0)
        transport_fail(transport, rc, "its backend cannot go on");
    settle(transport);
}

/* The application knows nothing of these links, so that they must not keep it from closing. One
 * more progress lets the reason for their rejection out. */
static void end_unseen(struct embar_transport *transport)
{
    struct list *item;

    for (item = transport->links.next; item != &transport->links; item = item->next) {
        if (!((struct embar_link *)item)->unseen)
            return;
    }
    if (transport->failure == 0)
        make_progress(transport, 1);
    for (item = transport->links.next; item != &transport->links; item = item->next)
        embar_link_abort((struct embar_link *)item);
    free_unseen(transport);
}

int embar_transport_close(struct embar_transport *transport)
{
    if (transport->link_count > 0)
        end_unseen(transport);
    if (transport->listener_count > 0 || transport->link_count > 0 || transport->buffer_count > 0 ||
        transport->loan_count > 0)
        return -EBUSY;
    transport->backend->transport->close(transport);
    atomic_fetch_sub(&sharing, transport->backend->shareable_buffers);
    log_debug("transport %" PRIu64 ": closed", transport->id);
    event_queue_destroy(&transport->events);
    free(transport->settings);
    free(transport);
    return 0;
}

const struct embar_transport_caps *embar_transport_caps(const struct embar_transport *transport)
{
    return &transport->caps;
}

void transport_push(struct embar_transport *transport, const struct embar_event *event)
{
    if (event_queue_push(&transport->events, event) < 0)
        transport_fail(transport, -ENOMEM, "out of memory for events");
}

/* A link whose last event is in the caller's hands may be closed from now on. */
static void end_link(struct embar_link *link)
{
    link_state_step(link, LINK_DOWN_POLLED);
    link->listener = NULL;
}

static void note_handed_out(const struct embar_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        if (events[i].type == EMBAR_EVENT_LINK_REQUEST)
            events[i].link->request_seen = true;
        else if (events[i].type == EMBAR_EVENT_LINK_DOWN)
            end_link(events[i].link);
    }
}

int embar_poll(struct embar_transport *transport, struct embar_event *events, int capacity)
{
    int taken;

    if (capacity < 1)
        return -EINVAL;
    event_queue_reclaim(&transport->events);
    if (transport->events.count < (size_t)capacity && transport->failure == 0)
        make_progress(transport, capacity - (int)transport->events.count);
    else
        settle(transport);
    taken = event_queue_pop(&transport->events, events, capacity);
    note_handed_out(events, taken);
    return taken > 0 ? taken : transport->failure;
}

int embar_fd(const struct embar_transport *transport)
{
    return transport->backend->transport->fd(transport);
}

int embar_arm(struct embar_transport *transport)
{
    if (transport->events.count > 0 || transport->failure != 0)
        return -EAGAIN;
    return transport->backend->transport->arm(transport);
}
