/*
 * The in-memory backend's ops (see backend_mem.h) on top of its connections (mem_conn.h). Owns the
 * process-wide list of listeners. Each op takes mem_lock.
 */
#include "support/backend_mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/address.h"
#include "common/diag.h"
#include "support/mem_conn.h"

#define FIRST_PORT 49152u /* where ephemeral ports begin (RFC 6335) */

struct mem_listener {
    struct mem_listener *next;
    struct embar_listener *core;
    struct mem_transport *transport;
    struct mem_conn *pending; /* oldest first */
    char address[ADDRESS_BYTES];
};

struct mem_buffer {
    unsigned registered; /* nothing to do in memory, but unreg checks that reg came before */
};

static struct mem_listener *listeners; /* under mem_lock */
static unsigned next_port = FIRST_PORT;

#define OPTIONS(name)                                                                              \
    {name ".seed",                                                                                 \
     OPTION_INT,                                                                                   \
     offsetof(struct mem_settings, seed),                                                          \
     "1",                                                                                          \
     0,                                                                                            \
     INT64_MAX,                                                                                    \
     NULL,                                                                                         \
     NULL,                                                                                         \
     "Seed of all that is random; 0 takes one from the environment of the transport."},            \
        {name ".reorder",                                                                          \
         OPTION_BOOL,                                                                              \
         offsetof(struct mem_settings, reorder),                                                   \
         "false",                                                                                  \
         0,                                                                                        \
         0,                                                                                        \
         NULL,                                                                                     \
         NULL,                                                                                     \
         "Whether arrivals overtake each other and the messages."},                                \
    {                                                                                              \
        name ".delay", OPTION_INT, offsetof(struct mem_settings, delay), "0", 0, 1000000, NULL,    \
            "polls", "What is sent waits a random 0 to this many polls of its receiver."           \
    }

static const struct option options[] = {OPTIONS("mem")};
static const struct option memmap_options[] = {OPTIONS("memmap")};

static const struct option_table option_table = {options, sizeof(options) / sizeof(options[0])};
static const struct option_table memmap_option_table = {
    memmap_options, sizeof(memmap_options) / sizeof(memmap_options[0])};

/* ---- transport ---------------------------------------------------------------------------- */

static int mem_open(struct embar_transport *transport, const void *settings,
                    struct embar_transport_caps *caps, struct embar_diag *diag)
{
    struct mem_transport *t = transport_private(transport);

    t->core = transport;
    t->mapped = (caps->flags & EMBAR_CAP_MAPPED) != 0;
    t->settings = settings;
    t->random_state = (uint64_t)t->settings->seed;
    if (t->settings->seed == 0)
        t->random_state = env_random(transport_env(transport));
    if (t->settings->reorder)
        caps->flags &= ~EMBAR_CAP_ORDERED;
    t->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (t->fd < 0)
        return diag_fail(diag, errno, "no eventfd for the in-memory transport: %s",
                         strerror(errno));
    return 0;
}

static void mem_close(struct embar_transport *transport)
{
    struct mem_transport *t = transport_private(transport);

    close(t->fd);
}

static void refuse_pending(struct mem_conn *conn, const char *reason)
{
    conn->ends[1].phase = MEM_DOWN;
    mem_push_bye(&conn->ends[0], -ECONNREFUSED, reason);
    mem_conn_put(conn);
}

/* Reports the requests that came in since the last poll. */
static int take_requests(struct mem_listener *listener)
{
    int handled = 0;

    while (listener->pending != NULL) {
        struct mem_conn *conn = listener->pending;
        struct embar_link *link = NULL;
        char peer[ADDRESS_BYTES + 16];

        listener->pending = conn->next_pending;
        handled++;
        if (conn->cut || conn->ends[0].phase != MEM_CONNECTING) { /* it has given up */
            conn->ends[1].phase = MEM_DOWN;
            mem_conn_put(conn);
            continue;
        }
        link = core_link_requested(listener->core);
        if (link == NULL) {
            refuse_pending(conn, "the peer has no room for another link");
            continue;
        }
        mem_end_attach(&conn->ends[1], listener->transport, link);
        snprintf(peer, sizeof(peer), "mem-link-%" PRIu64 ":0", embar_link_id(conn->ends[0].link));
        link_set_peer(link, peer);
    }
    return handled;
}

static int mem_progress(struct embar_transport *transport, int budget)
{
    struct mem_transport *t = transport_private(transport);

    mem_lock();
    if (!t->held) {
        t->step++;
        for (struct mem_listener *l = listeners; l != NULL; l = l->next) {
            if (l->transport == t)
                budget -= take_requests(l);
        }
        for (struct mem_end *end = t->ends; end != NULL; end = end->next)
            budget -= mem_end_progress(end, budget > 0 ? budget : 1);
    }
    mem_unlock();
    return 0;
}

static int mem_fd(const struct embar_transport *transport)
{
    return ((struct mem_transport *)transport_private(transport))->fd;
}

static bool has_work(const struct mem_transport *t)
{
    if (t->held)
        return false;
    for (const struct mem_listener *l = listeners; l != NULL; l = l->next) {
        if (l->transport == t && l->pending != NULL)
            return true;
    }
    for (const struct mem_end *end = t->ends; end != NULL; end = end->next) {
        if (mem_end_has_work(end))
            return true;
    }
    return false;
}

static int mem_arm(struct embar_transport *transport)
{
    struct mem_transport *t = transport_private(transport);
    uint64_t wakes;
    int rc = 0;

    mem_lock();
    if (has_work(t))
        rc = -EAGAIN;
    else if (read(t->fd, &wakes, sizeof(wakes)) < 0 && errno != EAGAIN)
        rc = -errno;
    mem_unlock();
    return rc;
}

/* ---- listener ----------------------------------------------------------------------------- */

static struct mem_listener *find_listener(const char *address, bool mapped)
{
    struct mem_listener *l = listeners;

    while (l != NULL && (strcmp(l->address, address) != 0 || l->transport->mapped != mapped))
        l = l->next;
    return l;
}

static void format_address(char *text, size_t text_bytes, const char *host, const char *port)
{
    snprintf(text, text_bytes, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
}

static int mem_listen(struct embar_listener *listener, const char *address, char *bound,
                      size_t bound_bytes, struct embar_diag *diag)
{
    struct mem_listener *l = listener_private(listener);
    struct mem_transport *t = transport_private(listener_transport(listener));
    char host[ADDRESS_BYTES - 16], port[8];
    int rc;

    rc = address_split(address, host, sizeof(host), port, sizeof(port), diag);
    if (rc < 0)
        return rc;
    mem_lock();
    if (strcmp(port, "0") == 0)
        snprintf(port, sizeof(port), "%u", next_port++);
    format_address(l->address, sizeof(l->address), host, port);
    if (find_listener(l->address, t->mapped) != NULL) {
        rc = diag_fail(diag, EADDRINUSE, "somebody listens on %s already: choose another port",
                       l->address);
    } else {
        l->core = listener;
        l->transport = t;
        l->next = listeners;
        listeners = l;
        snprintf(bound, bound_bytes, "%s", l->address);
    }
    mem_unlock();
    return rc;
}

static void mem_listener_close(struct embar_listener *listener)
{
    struct mem_listener *l = listener_private(listener);
    struct mem_listener **at = &listeners;

    mem_lock();
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    while (l->pending != NULL) {
        struct mem_conn *conn = l->pending;
        l->pending = conn->next_pending;
        refuse_pending(conn, "the peer has stopped listening");
    }
    mem_unlock();
}

/* ---- link --------------------------------------------------------------------------------- */

/* Joins the listener's queue; without one the answer is a refusal. */
static void request(struct mem_conn *conn, const char *address)
{
    bool mapped = conn->ends[0].transport->mapped;
    struct mem_listener *listener = find_listener(address, mapped);
    struct mem_conn **last;
    char reason[ADDRESS_BYTES + 64];

    if (listener == NULL || (mapped && mem_memmap_refused)) {
        snprintf(reason, sizeof(reason), "nobody listens on %s: start the peer first", address);
        refuse_pending(conn, reason);
        return;
    }
    last = &listener->pending;
    while (*last != NULL)
        last = &(*last)->next_pending;
    *last = conn;
    mem_wake(listener->transport);
}

static int mem_connect(struct embar_link *link, const char *address, struct embar_diag *diag)
{
    char host[ADDRESS_BYTES - 16], port[8], normal[ADDRESS_BYTES];
    struct mem_conn *conn;
    int rc;

    rc = address_split(address, host, sizeof(host), port, sizeof(port), diag);
    if (rc < 0)
        return rc;
    conn = mem_conn_create();
    if (conn == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for a connection to %s", address);
    mem_lock();
    mem_end_attach(&conn->ends[0], transport_private(embar_link_transport(link)), link);
    format_address(normal, sizeof(normal), host, port);
    request(conn, normal);
    mem_unlock();
    return 0;
}

static int mem_accept(struct embar_link *link)
{
    struct mem_end *end = mem_end_of(link);
    int rc;

    mem_lock();
    rc = mem_push_accepted(end);
    if (rc == 0 && end->peer->phase == MEM_CONNECTING)
        rc = mem_push_accepted(end->peer);
    mem_unlock();
    return rc;
}

static void leave(struct mem_end *end, unsigned drain_steps)
{
    end->phase = MEM_LEAVING;
    end->drain_steps_left = drain_steps;
    mem_wake(end->transport);
}

static int mem_reject(struct embar_link *link, const char *reason)
{
    struct mem_end *end = mem_end_of(link);
    char sentence[MEM_REASON_BYTES];
    int rc;

    snprintf(sentence, sizeof(sentence), "the peer refused the link: %s", reason);
    mem_lock();
    rc = mem_push_bye(end->peer, -ECONNREFUSED, sentence);
    if (rc == 0)
        leave(end, 0);
    mem_unlock();
    return rc;
}

static void mem_disconnect(struct embar_link *link)
{
    struct mem_end *end = mem_end_of(link);
    bool answered = end->phase == MEM_UP || end == &end->conn->ends[0];
    int rc;

    mem_lock();
    if (end->peer->phase == MEM_PENDING)
        rc = 0; /* the listener finds that it has given up */
    else if (answered)
        rc = mem_push_bye(end->peer, 0, "ended by the peer");
    else
        rc = mem_push_bye(end->peer, -ECONNREFUSED, "the peer refused the link");
    if (rc < 0)
        end->conn->cut = true; /* out of memory: the peer still has to learn of it */
    leave(end, end->phase == MEM_UP ? MEM_DRAIN_STEPS : 0);
    mem_unlock();
}

static void mem_abort(struct embar_link *link)
{
    struct mem_end *end = mem_end_of(link);

    mem_lock();
    mem_end_abort(end);
    mem_unlock();
}

static void mem_destroy(struct embar_link *link)
{
    mem_lock();
    mem_end_detach(mem_end_of(link));
    mem_unlock();
}

static void mem_stats(const struct embar_link *link, struct embar_link_stats *stats)
{
    const struct mem_end *end = mem_end_of(link);

    mem_lock();
    stats->send_calls = end->sends;
    stats->receive_calls = end->receives;
    stats->lanes = 1;
    stats->send_mode = end->lends > end->writes / 2      ? "lent"
                       : end->in_place > end->writes / 2 ? "in-place"
                                                         : "copy";
    mem_unlock();
}

/* ---- buffer ------------------------------------------------------------------------------- */

static int mem_reg(struct embar_buffer *buffer, struct embar_diag *diag)
{
    struct mem_buffer *b = buffer_private(buffer);

    (void)diag;
    b->registered = 1;
    return 0;
}

static void mem_unreg(struct embar_buffer *buffer)
{
    struct mem_buffer *b = buffer_private(buffer);

    if (!b->registered)
        abort();
    b->registered = 0;
}

static int mem_expose(struct embar_buffer *buffer, struct embar_link *link, struct embar_key *key,
                      struct embar_diag *diag)
{
    struct mem_end *end = mem_end_of(link);

    (void)diag;
    mem_lock();
    end->key_id = mem_random(end->transport) | 1;
    *key = (struct embar_key){.id = end->key_id, .size = buffer_size(buffer)};
    mem_unlock();
    return 0;
}

static void mem_unexpose(struct embar_buffer *buffer, struct embar_link *link)
{
    (void)buffer;
    mem_lock();
    mem_end_of(link)->key_id = 0;
    mem_unlock();
}

/* ---- data --------------------------------------------------------------------------------- */

static int mem_write(struct embar_link *link, const struct embar_write *write)
{
    struct mem_end *end = mem_end_of(link);
    int rc;

    mem_lock();
    rc = mem_push_write(end->peer, write, end->corrupt_next, end->corrupt_offset);
    if (rc == 0) {
        end->corrupt_next = false;
        end->sends++;
        end->writes++;
        end->in_place += write->buffer == NULL;
        end->lends += write->loan != NULL;
    }
    mem_unlock();
    return rc;
}

static int mem_map(struct embar_link *link, const struct embar_key *key, void **addr,
                   struct embar_diag *diag)
{
    struct mem_end *end = mem_end_of(link);
    const struct mem_map *found;

    mem_lock();
    found = mem_end_map(end, key);
    mem_unlock();
    if (found == NULL)
        return diag_fail(diag, EINVAL, "the peer has given no such key to this link");
    *addr = found->addr;
    return 0;
}

static int mem_send(struct embar_link *link, const void *data, size_t len_bytes)
{
    struct mem_end *end = mem_end_of(link);
    int rc = -EAGAIN;

    mem_lock();
    if (end->messages_waiting < MEM_MAX_MESSAGES)
        rc = mem_push_message(end->peer, data, len_bytes);
    if (rc == 0)
        end->sends++;
    mem_unlock();
    return rc;
}

/* ---- the table ---------------------------------------------------------------------------- */

static const struct backend_transport_ops transport_ops = {mem_open, mem_close, mem_progress,
                                                           mem_fd, mem_arm};
static const struct backend_listener_ops listener_ops = {mem_listen, mem_listener_close};
static const struct backend_link_ops link_ops = {
    mem_connect, mem_accept, mem_reject, mem_disconnect, mem_abort, mem_destroy, mem_stats};
static const struct backend_buffer_ops buffer_ops = {mem_reg, mem_unreg, mem_expose, mem_unexpose};
static const struct backend_data_ops data_ops = {mem_write, mem_send, backend_map_none};
static const struct backend_data_ops memmap_data_ops = {mem_write, mem_send, mem_map};

#define BACKEND(backend_name, more_flags, shareable, table, ops, loans)                            \
    {                                                                                              \
        .name = backend_name, .summary = "within one process, for tests", .options = &(table),     \
        .settings_size = sizeof(struct mem_settings), .shareable_buffers = shareable,              \
        .caps = {.name = backend_name,                                                             \
                 .flags = EMBAR_CAP_ORDERED | (more_flags),                                        \
                 .max_writes = MEM_MAX_WRITES,                                                     \
                 .max_write_bytes = (size_t)1 << 30,                                               \
                 .max_send_bytes = MEM_MAX_SEND_BYTES},                                            \
        .transport_size = sizeof(struct mem_transport),                                            \
        .listener_size = sizeof(struct mem_listener), .link_size = sizeof(struct mem_end *),       \
        .buffer_size = sizeof(struct mem_buffer), .loan_size = sizeof(struct mem_loan),            \
        .transport = &transport_ops, .listener = &listener_ops, .link = &link_ops,                 \
        .buffer = &buffer_ops, .data = &(ops), .loan = &(loans),                                   \
    }

const struct backend backend_mem =
    BACKEND("mem", 0, false, option_table, data_ops, backend_loans_none);
const struct backend backend_memmap =
    BACKEND("memmap", EMBAR_CAP_MAPPED, true, memmap_option_table, memmap_data_ops, mem_loan_ops);

void backend_mem_add(void)
{
    if (registry_find("mem") == NULL && registry_add(&backend_mem) < 0)
        abort();
    if (registry_find("memmap") == NULL && registry_add(&backend_memmap) < 0)
        abort();
}
