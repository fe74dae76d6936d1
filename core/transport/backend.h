/*
 * The contract between core and a backend: all that a backend includes of core.
 *
 * Core (this folder) allocates and frees transports, listeners, links and buffers, counts what
 * hangs from what, runs the link state machine, checks arguments and orders events. The backend
 * moves bytes and reports. Each core object carries a zeroed private area of the size the backend
 * names (`*_size`), aligned to 64 bytes, reached with the `*_private` functions below.
 *
 * All ops run on the transport's one thread and none may block unless it says so. Ops return 0 or a
 * negative errno and, where they take a diag, fill it on failure. An op that a backend cannot do is
 * one of the typed stubs at the end, never NULL.
 *
 * A backend reports only from within an op of the same transport (usually `progress`); reports
 * queue events, they never call back into the application.
 */
#ifndef TRANSPORT_BACKEND_H
#define TRANSPORT_BACKEND_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <embar/transport.h>

#include "common/clock.h"
#include "common/option.h"

/* ---- ops ---------------------------------------------------------------------------------- */

struct backend_transport_ops {
    /* Validates and stores settings, opens devices. `settings` is the backend's own option struct,
     * filled from its table, borrowed for the transport's life. May fill `caps` fields that depend
     * on the device (core has copied the static ones). */
    int (*open)(struct embar_transport *transport, const void *settings,
                struct embar_transport_caps *caps, struct embar_diag *diag);
    /* No listener, link or buffer is left. Cannot fail. */
    void (*close)(struct embar_transport *transport);
    /* Moves bytes and reports, up to about `budget` events. Negative errno only when the whole
     * transport is lost. */
    int (*progress)(struct embar_transport *transport, int budget);
    /* A descriptor that is readable when progress has work, once armed. */
    int (*fd)(const struct embar_transport *transport);
    /* 0: sleeping is safe; -EAGAIN: there is work already. */
    int (*arm)(struct embar_transport *transport);
};

struct backend_listener_ops {
    /* Binds; writes "HOST:PORT" as bound. May block to resolve a name. */
    int (*listen)(struct embar_listener *listener, const char *address, char *bound,
                  size_t bound_bytes, struct embar_diag *diag);
    /* Core has seen to it that no requested link is left. */
    void (*close)(struct embar_listener *listener);
};

struct backend_link_ops {
    /* Begins to connect. On failure nothing is kept and link_destroy is not called. */
    int (*connect)(struct embar_link *link, const char *address, struct embar_diag *diag);
    /* Answers a link that the backend reported with core_link_requested. */
    int (*accept)(struct embar_link *link);
    int (*reject)(struct embar_link *link, const char *reason);
    /* Begins an orderly end: deliver accepted sends, finish or cancel writes, then report
     * core_link_down. Called once, in any state but down. */
    void (*disconnect)(struct embar_link *link);
    /* Drops the connection at once, in any state but down, also after disconnect: reports every
     * write with -ECANCELED (or leaves that to core) and core_link_down before it returns. */
    void (*abort)(struct embar_link *link);
    /* Frees the private area's resources. The link is down, its LINK_DOWN has been polled. */
    void (*destroy)(struct embar_link *link);
    /* Fills in what the backend counts (stats are zeroed; core has filled writes, arrivals and
     * messages). */
    void (*stats)(const struct embar_link *link, struct embar_link_stats *stats);
};

struct backend_buffer_ops {
    /* Makes the buffer usable as a source and/or exposable, as its access flags say. May block. */
    int (*reg)(struct embar_buffer *buffer, struct embar_diag *diag);
    void (*unreg)(struct embar_buffer *buffer);
    /* Makes a key that is good for this link alone. */
    int (*expose)(struct embar_buffer *buffer, struct embar_link *link, struct embar_key *key,
                  struct embar_diag *diag);
    /* The key is void when this returns. Core also calls it before a link goes down is reported. */
    void (*unexpose)(struct embar_buffer *buffer, struct embar_link *link);
};

struct backend_data_ops {
    /* Arguments are checked: link up, range inside of buffer and key, length within caps, fewer
     * than caps.max_writes in flight. -EAGAIN when there is no room. */
    int (*write)(struct embar_link *link, const struct embar_write *write);
    /* Arguments are checked: link up, 1 .. max_send_bytes. Copies. -EAGAIN: there is no room. */
    int (*send)(struct embar_link *link, const void *data, size_t len_bytes);
    /* Where the peer's buffer lies here. The link is up; caps has EMBAR_CAP_MAPPED. A backend with
     * that capability also takes writes whose `buffer` is NULL, or that have a `loan` (of the
     * buffer, to this link): nothing is copied. */
    int (*map)(struct embar_link *link, const struct embar_key *key, void **addr,
               struct embar_diag *diag);
};

struct backend_loan_ops {
    /* Offers the peer to map `buffer`, which is a source and nothing else. The link is up, and has
     * got no loan before. */
    int (*lend)(struct embar_loan *loan, struct embar_link *link, struct embar_buffer *buffer,
                struct embar_diag *diag);
    /* The link may be gone. */
    enum embar_loan_state (*state)(struct embar_loan *loan);
    void (*close)(struct embar_loan *loan);
};

struct backend {
    const char *name;
    const char *summary;                /* one line for --help */
    const struct option_table *options; /* keys "NAME.*"; the target is the settings struct */
    size_t settings_size;
    struct embar_transport_caps caps;
    bool shareable_buffers; /* exposes only what has a buffer_fd: core allocates such memory */
    size_t transport_size, listener_size, link_size, buffer_size, loan_size;
    const struct backend_transport_ops *transport;
    const struct backend_listener_ops *listener;
    const struct backend_link_ops *link;
    const struct backend_buffer_ops *buffer;
    const struct backend_data_ops *data;
    const struct backend_loan_ops *loan;
};

/* ---- what core offers to a backend --------------------------------------------------------- */

void *transport_private(const struct embar_transport *transport);
void *listener_private(const struct embar_listener *listener);
void *link_private(const struct embar_link *link);
void *buffer_private(const struct embar_buffer *buffer);
void *loan_private(const struct embar_loan *loan);

struct embar_transport *listener_transport(const struct embar_listener *listener);
struct embar_transport *buffer_transport(const struct embar_buffer *buffer);

/* Where time and randomness come from; never ask the system directly. */
const struct env *transport_env(const struct embar_transport *transport);

void *buffer_addr(const struct embar_buffer *buffer);
size_t buffer_size(const struct embar_buffer *buffer);
uint32_t buffer_access(const struct embar_buffer *buffer);
/* The sealed memfd that is the buffer's memory, as a whole, also where a buffer of another
 * transport in this process was adopted; -1: it has none. Borrowed. */
int buffer_fd(const struct embar_buffer *buffer);

/* The buffer that this process exposes to the peer of `link`, or NULL. */
struct embar_buffer *link_exposed_buffer(const struct embar_link *link);

/* Records the peer's "HOST:PORT" for embar_link_peer; copied. */
void link_set_peer(struct embar_link *link, const char *peer);

/* ---- what a backend reports ----------------------------------------------------------------- */

/* A peer asks for a link: allocates it (state REQUESTED) and queues LINK_REQUEST. NULL: out of
 * memory or the listener is closing; drop the connection. The private area is zeroed for the
 * backend to fill in before it returns from progress. */
struct embar_link *core_link_requested(struct embar_listener *listener);

/* The link can carry data. */
void core_link_up(struct embar_link *link);

/*
 * The link is over. `status` 0 after an orderly end by either side, else a negative errno; the
 * sentence says why. Every write of the link must have been reported with core_write_done before.
 * Core voids the link's exposure. Further reports on the link are a bug.
 */
__attribute__((format(printf, 3, 4))) void core_link_down(struct embar_link *link, int status,
                                                          const char *fmt, ...);

/* A control message; copied. */
void core_message(struct embar_link *link, const void *data, size_t len_bytes);

/* A write ended: 0 when the source may be reused, or a negative errno. */
void core_write_done(struct embar_link *link, uint64_t token, size_t len_bytes, int status);

/* A write of the peer is in place, all its bytes visible. */
void core_arrival(struct embar_link *link, uint32_t immediate, size_t len_bytes);

/* The same in memory that the peer has lent: mapped here until the link is destroyed. */
void core_arrival_lent(struct embar_link *link, uint32_t immediate, const void *data,
                       size_t len_bytes);

/* ---- typed stubs for what a backend cannot do ------------------------------------------------ */

int backend_expose_none(struct embar_buffer *buffer, struct embar_link *link, struct embar_key *key,
                        struct embar_diag *diag); /* -ENOTSUP */
void backend_unexpose_none(struct embar_buffer *buffer, struct embar_link *link);
int backend_register_none(struct embar_buffer *buffer, struct embar_diag *diag); /* 0 */
void backend_unregister_none(struct embar_buffer *buffer);
int backend_map_none(struct embar_link *link, const struct embar_key *key, void **addr,
                     struct embar_diag *diag);           /* -ENOTSUP */
extern const struct backend_loan_ops backend_loans_none; /* -ENOTSUP */

#endif
