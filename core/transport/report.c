/*
 * What a backend reports, turned into events: checked against the link's state and its writes in
 * flight, so that every write ends just once and LINK_DOWN is a link's last event whatever a
 * backend does. A report that breaks the contract stops a debug or sanitized build; a release logs
 * it and goes on as described at each place. Runs on the transport's thread, within an op of the
 * backend.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "transport/object.h"

#ifdef EMBAR_ABORT_ON_BUG
const bool contract_aborts = true;
#else
const bool contract_aborts = false;
#endif

/* A backend has broken the contract. */
static void broken(const struct embar_link *link, const char *what)
{
    log_error("bug in backend %s: link %" PRIu64 " (%s): %s", link->transport->caps.name, link->id,
              link_state_name(link->state), what);
    if (contract_aborts)
        abort();
}

/* Whether a report on data may become an event: none comes before UP or after DOWN. While the link
 * ends, what was under way before may still come. */
static bool carries_data(const struct embar_link *link, const char *what)
{
    if (link->state == LINK_UP || link->state == LINK_ENDING)
        return true;
    log_error("bug in backend %s: link %" PRIu64 " (%s): %s dropped", link->transport->caps.name,
              link->id, link_state_name(link->state), what);
    return false;
}

struct embar_link *core_link_requested(struct embar_listener *listener)
{
    struct embar_event event = {.type = EMBAR_EVENT_LINK_REQUEST, .listener = listener};
    struct embar_transport *transport = listener->transport;

    if (listener->closing)
        return NULL;
    event.link = link_create(transport);
    if (event.link == NULL)
        return NULL;
    if (event_queue_push(&transport->events, &event) < 0) {
        link_free(event.link);
        return NULL;
    }
    event.link->listener = listener;
    link_state_begin(event.link, LINK_REQUESTED);
    return event.link;
}

void core_link_up(struct embar_link *link)
{
    struct embar_event event = {.type = EMBAR_EVENT_LINK_UP, .link = link};

    if (link_state_step(link, LINK_REPORT_UP) < 0) {
        broken(link, "reported up");
        return;
    }
    if (link->state == LINK_UP) { /* else it crossed a disconnect */
        log_debug("link %" PRIu64 ": %s to %s is up", link->id, link->transport->caps.name,
                  link->peer);
        transport_push(link->transport, &event);
    }
}

static void end_write(struct embar_link *link, const struct write_record *record, int status)
{
    struct embar_event event = {.type = EMBAR_EVENT_WRITE_DONE,
                                .status = status,
                                .link = link,
                                .len_bytes = record->len_bytes,
                                .token = record->token};

    if (record->buffer != NULL)
        record->buffer->writes_in_flight--;
    if (status == 0) {
        link->stats.writes++;
        link->stats.write_bytes += record->len_bytes;
    }
    transport_push(link->transport, &event);
}

void core_write_done(struct embar_link *link, uint64_t token, size_t len_bytes, int status)
{
    struct write_record record;

    /* Without a write to end there is nobody to tell: a second WRITE_DONE would free a source
     * twice. */
    if (write_table_take(&link->writes, token, &record) < 0) {
        broken(link, "ended a write that is not in flight");
        return;
    }
    if (record.len_bytes != len_bytes && status == 0)
        broken(link, "ended a write with another length");
    end_write(link, &record, status);
}

static void cancel_writes(struct embar_link *link, int status)
{
    struct write_record record;

    while (write_table_take_any(&link->writes, &record) == 0)
        end_write(link, &record, status);
}

static void void_exposure(struct embar_link *link)
{
    struct embar_buffer *buffer = link->exposed;

    if (buffer == NULL)
        return;
    link->transport->backend->buffer->unexpose(buffer, link);
    link->exposed = NULL;
    buffer->exposed_to = NULL;
}

/* The link's reason is in place. Order matters: when the application learns that the link is down,
 * nobody can write into its buffer any more. */
static void go_down(struct embar_link *link, int status)
{
    struct embar_event event = {
        .type = EMBAR_EVENT_LINK_DOWN, .status = status, .link = link, .reason = link->reason};

    void_exposure(link);
    link_state_step(link, LINK_REPORT_DOWN);
    if (link->unseen) {
        link->transport->unseen_down++;
        return;
    }
    log_debug("link %" PRIu64 ": down: %s", link->id, link->reason);
    transport_push(link->transport, &event);
}

void core_link_down(struct embar_link *link, int status, const char *fmt, ...)
{
    va_list args;

    if (link_state_next(link->state, LINK_REPORT_DOWN) == LINK_NEVER) {
        broken(link, "reported down again");
        return;
    }
    va_start(args, fmt);
    vsnprintf(link->reason, sizeof(link->reason), fmt, args);
    va_end(args);
    if (link->writes.in_flight > 0) {
        if (!link->aborting)
            broken(link, "reported down with writes in flight");
        /* Each must end all the same, or its owner waits for ever. The link is over: whatever the
         * backend still reads from the sources reaches nobody. */
        cancel_writes(link, -ECANCELED);
    }
    go_down(link, status);
}

void link_abandon(struct embar_link *link, int status, const char *reason)
{
    cancel_writes(link, -ECANCELED);
    snprintf(link->reason, sizeof(link->reason), "%s", reason);
    go_down(link, status);
}

void core_message(struct embar_link *link, const void *data, size_t len_bytes)
{
    int rc;

    if (!carries_data(link, "a message"))
        return;
    rc = event_queue_push_message(&link->transport->events, link, data, len_bytes);
    if (rc == -EMSGSIZE) {
        broken(link, "reported a message longer than its own limit");
    } else if (rc < 0) {
        transport_fail(link->transport, rc, "out of memory for a message");
    } else {
        link->stats.messages_received++;
    }
}

void core_arrival(struct embar_link *link, uint32_t immediate, size_t len_bytes)
{
    core_arrival_lent(link, immediate, NULL, len_bytes);
}

void core_arrival_lent(struct embar_link *link, uint32_t immediate, const void *data,
                       size_t len_bytes)
{
    struct embar_event event = {.type = EMBAR_EVENT_ARRIVAL,
                                .link = link,
                                .data = data,
                                .len_bytes = len_bytes,
                                .immediate = immediate};

    if (!carries_data(link, "an arrival"))
        return;
    link->stats.arrivals++;
    link->stats.arrival_bytes += len_bytes;
    transport_push(link->transport, &event);
}
