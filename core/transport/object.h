/*
 * The objects of core/transport and what its files share. Private to this folder and its tests: a
 * backend sees backend.h only. Ownership: a transport owns its queue and settings; listeners, links
 * and buffers hang in its lists and belong to the application until closed.
 */
#ifndef TRANSPORT_OBJECT_H
#define TRANSPORT_OBJECT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "common/memory.h"
#include "transport/backend.h"
#include "transport/event.h"
#include "transport/link_state.h"
#include "transport/write_table.h"

#define LINK_PEER_BYTES   320
#define LINK_REASON_BYTES EMBAR_DIAG_BYTES
#define REJECT_BYTES      255

/* A ring of neighbours; an object that is in no list points to itself. */
struct list {
    struct list *next, *prev;
};

struct embar_transport {
    const struct backend *backend;    /* static */
    const struct env *env;            /* borrowed */
    struct embar_transport_caps caps; /* what embar_transport_caps shows */
    uint64_t id;
    void *settings; /* owned; the backend borrows it */
    struct event_queue events;
    struct list links;
    unsigned listener_count, link_count, buffer_count, loan_count;
    unsigned unseen_down; /* unseen links that are down and wait to be freed */
    int failure;          /* negative errno once the whole transport is lost */
};

struct embar_listener {
    struct embar_transport *transport; /* borrowed */
    uint64_t id;
    bool closing;
    char address[LINK_PEER_BYTES]; /* as bound */
};

struct embar_link {
    struct list in_transport;
    struct embar_transport *transport; /* borrowed */
    struct embar_listener *listener;   /* borrowed; only while the request is unanswered */
    struct embar_buffer *exposed;      /* borrowed; the buffer the peer may write into */
    struct write_table writes;         /* in flight */
    uint64_t id;
    enum link_state state;
    bool request_seen; /* the application has polled LINK_REQUEST, or called connect itself */
    bool lent_to;      /* it got a loan */
    bool aborting;     /* embar_link_abort: writes still in flight are core's to end */
    bool unseen;       /* it never will: core frees the link once it is down */
    void *user;
    struct embar_link_stats stats; /* what core counts */
    char peer[LINK_PEER_BYTES];
    char reason[LINK_REASON_BYTES];
};

struct embar_loan {
    struct embar_transport *transport; /* borrowed */
    uint64_t buffer_id, link_id;
    bool taken; /* it was seen to be */
};

struct embar_buffer {
    struct embar_transport *transport; /* borrowed */
    struct embar_link *exposed_to;     /* borrowed */
    uint64_t id;
    uint32_t access;
    uint32_t writes_in_flight;
    struct memory memory; /* owned unless its kind is adopted */
    int fd; /* borrowed: of the memory, here or in the buffer it was adopted from; -1 */
    struct embar_buffer *next_shared; /* borrowed; in the list of allocated shareable ones */
};

/* Allocates `size` bytes and, behind them, `private_size` for the backend; zeroed, both aligned
 * to 64. NULL: out of memory. Free with free(3). */
void *object_alloc(size_t size, size_t private_size);

/* Numbers for logs, unique in the process for each counter. */
uint64_t object_next_id(_Atomic uint64_t *counter);

void list_init(struct list *list);
void list_add(struct list *list, struct list *item);
void list_remove(struct list *item);

/* ---- transport.c -------------------------------------------------------------------------- */

/* Queues an event; when there is no memory for it the transport is lost. */
void transport_push(struct embar_transport *transport, const struct embar_event *event);

/* The whole transport is lost: embar_poll says so once the queued events are taken. */
void transport_fail(struct embar_transport *transport, int error, const char *why);

/* Whether a transport is open in this process that exposes shareable memory only. */
bool transport_any_shares(void);

/* ---- link.c ------------------------------------------------------------------------------- */

/* A link of the transport, not yet in a state. NULL: out of memory. */
struct embar_link *link_create(struct embar_transport *transport);

/* Takes the link out of its transport and frees it; the backend has let go of it. */
void link_free(struct embar_link *link);

/* The link's listener closes before the application has answered: rejects it. A link that the
 * application has not even seen vanishes for it, and core frees it. */
void link_orphan(struct embar_link *link, const char *reason);

/* ---- report.c ----------------------------------------------------------------------------- */

/* Whether a backend that breaks the contract stops the process (debug and sanitized builds) or is
 * logged and worked around. */
extern const bool contract_aborts;

/* Ends a link from core's side, its writes included: the transport is lost. */
void link_abandon(struct embar_link *link, int status, const char *reason);

#endif
