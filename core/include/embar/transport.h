/*
 * <embar/transport.h> - the lower level: registered buffers, links, one-sided writes.
 *
 * For systems that bring their own protocol. A transport moves byte ranges between registered
 * buffers of two processes and small control messages beside them. All backends (rdma, tcp, shm)
 * behave as described here; `struct embar_transport_caps` says where they may differ.
 *
 * Conventions. Calls return 0, a count, or a negative errno. Outputs are written on success only.
 * -EAGAIN means exactly: nothing was taken, poll and call again. A transport and all that hangs
 * from it belongs to one thread; a process may open several. No call blocks, unless it says so.
 * Every accepted operation ends in exactly one terminal event, failures included.
 */
#ifndef EMBAR_TRANSPORT_H
#define EMBAR_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

#include <embar/diag.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* the library is built with hidden symbols */

struct embar_transport; /* one opened backend */
struct embar_listener;  /* an address on which links are requested */
struct embar_link;      /* this process joined to one peer */
struct embar_buffer;    /* registered memory */
struct embar_loan;      /* a buffer that the peer of one link reads where it lies */

/* ---- transport ---------------------------------------------------------------------------- */

#define EMBAR_CAP_ORDERED   (1u << 0) /* arrivals and messages of a link come in posting order */
#define EMBAR_CAP_ONE_SIDED (1u << 1) /* a write needs no CPU of the peer */
#define EMBAR_CAP_MAPPED    (1u << 2) /* peers map each other's memory: embar_map, embar_lend */

struct embar_transport_caps {
    const char *name;       /* "tcp" */
    uint32_t flags;         /* EMBAR_CAP_* */
    uint32_t max_writes;    /* writes in flight per link before embar_write says -EAGAIN */
    size_t max_write_bytes; /* largest single write */
    size_t max_send_bytes;  /* largest control message; at least 1024 on every backend */
};

/*
 * Opens the backend `name`. `settings` is a NULL-terminated array of "key=value" strings for keys
 * that the backend has ("tcp.send_mode=copy"), or NULL for the defaults; later ones win.
 * Errors: -ENOENT no such backend; -ENOTSUP this build or host cannot run it; -EINVAL a bad
 * setting; -ENOMEM. The diag says which and what to do.
 */
int embar_transport_open(const char *name, const char *const *settings,
                         struct embar_transport **transport, struct embar_diag *diag);

/* Releases the transport. -EBUSY while a listener, link, buffer or loan of it lives. */
int embar_transport_close(struct embar_transport *transport);

/* What the opened backend can do. Valid as long as the transport. */
const struct embar_transport_caps *embar_transport_caps(const struct embar_transport *transport);

/* Names of the backends in this build, best first, NULL-terminated; static storage. */
const char *const *embar_transport_names(void);

/* ---- buffers ------------------------------------------------------------------------------ */

enum embar_hugepages {
    EMBAR_HUGEPAGES_PREFER = 0, /* hugetlb, else transparent huge pages, else ordinary pages */
    EMBAR_HUGEPAGES_REQUIRE,    /* hugetlb, or an error that names the cause and its fix */
    EMBAR_HUGEPAGES_NEVER,      /* ordinary pages */
};

enum embar_page_kind {
    EMBAR_PAGES_ORDINARY = 0,
    EMBAR_PAGES_THP,     /* transparent huge pages */
    EMBAR_PAGES_HUGETLB, /* reserved huge pages */
    EMBAR_PAGES_ADOPTED, /* the caller's memory, not looked into */
};

#define EMBAR_ACCESS_LOCAL  (1u << 0) /* source of this process's writes */
#define EMBAR_ACCESS_REMOTE (1u << 1) /* may be exposed to a link, for the peer to write into */

struct embar_buffer_options {
    enum embar_hugepages hugepages;
    int numa_node;   /* -1: wherever the thread runs */
    uint32_t access; /* EMBAR_ACCESS_*; 0 means both */
};

struct embar_buffer_info {
    void *addr; /* writable, page-aligned, populated */
    size_t size_bytes;
    enum embar_page_kind kind; /* as measured after population, not as asked for */
    size_t page_bytes;         /* size of a page of that kind */
    size_t page_count;         /* pages of that kind that back the buffer */
    int numa_node;             /* where the first page lies; -1 unknown */
    char reason[256];          /* why the kind is not the one preferred; "" when it is */
};

/*
 * Allocates `size_bytes` (rounded up to the page size obtained), populates them and registers them.
 * `options` may be NULL. Blocks for as long as the kernel takes to zero the pages.
 * Errors: -ENOMEM, -EPERM (RLIMIT_MEMLOCK), -EINVAL; the diag names cause and fix.
 */
int embar_buffer_alloc(struct embar_transport *transport, size_t size_bytes,
                       const struct embar_buffer_options *options, struct embar_buffer **buffer,
                       struct embar_diag *diag);

/* Registers memory of the caller's, which must be page-aligned, stay mapped and outlive the buffer.
 */
int embar_buffer_adopt(struct embar_transport *transport, void *addr, size_t size_bytes,
                       uint32_t access, struct embar_buffer **buffer, struct embar_diag *diag);

/* Deregisters, and frees what embar_buffer_alloc allocated. -EBUSY while exposed or a write from it
 * is in flight. */
int embar_buffer_free(struct embar_buffer *buffer);

void embar_buffer_info(const struct embar_buffer *buffer, struct embar_buffer_info *info);

/*
 * The right to write into one exposed buffer. The owner gets it from embar_buffer_expose, carries
 * it to its peer in a message of its own protocol, and the peer hands it to embar_write.
 */
struct embar_key {
    uint64_t id;   /* what the backend checks: a remote key or a random number */
    uint64_t base; /* the backend's address of the first byte */
    uint64_t size; /* bytes that may be written */
};

/*
 * Lets the peer of `link` (which must be up) write into `buffer`. The key is good for this link
 * only and dies with it. One buffer may be exposed to one link at a time. Errors: -ENOTCONN link
 * not up; -EBUSY exposed already; -EACCES buffer without remote access; -ENOTSUP the transport
 * shares memory and the buffer was adopted.
 */
int embar_buffer_expose(struct embar_buffer *buffer, struct embar_link *link, struct embar_key *key,
                        struct embar_diag *diag);

/* Takes the right back at once: later writes with the key end the link. 0 also when not exposed. */
int embar_buffer_unexpose(struct embar_buffer *buffer);

/* ---- links -------------------------------------------------------------------------------- */

/*
 * Listens on "HOST:PORT" ("[V6]:PORT"; port 0: any). Resolving a host name may block.
 * Errors: -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -ENOENT no such host, -EINVAL bad form.
 */
int embar_listen(struct embar_transport *transport, const char *address,
                 struct embar_listener **listener, struct embar_diag *diag);

/* The address really bound, "HOST:PORT"; valid as long as the listener. */
const char *embar_listener_address(const struct embar_listener *listener);

/* Stops listening. Links not yet accepted are rejected. */
int embar_listener_close(struct embar_listener *listener);

/*
 * Begins to connect to "HOST:PORT" and returns at once, but for resolving a host name. Ends in
 * EMBAR_EVENT_LINK_UP or EMBAR_EVENT_LINK_DOWN. Tries once: retrying is the caller's business.
 */
int embar_connect(struct embar_transport *transport, const char *address, struct embar_link **link,
                  struct embar_diag *diag);

/* Answers EMBAR_EVENT_LINK_REQUEST. Ends in EMBAR_EVENT_LINK_UP or EMBAR_EVENT_LINK_DOWN. */
int embar_accept(struct embar_link *link);

/* Refuses it; `reason` (at most 255 bytes) reaches the peer. Ends in EMBAR_EVENT_LINK_DOWN. */
int embar_reject(struct embar_link *link, const char *reason);

/*
 * Ends a link from any state. Control messages already accepted are delivered first, for as long as
 * the peer takes them; writes in flight end with EMBAR_EVENT_WRITE_DONE, completed or -ECANCELED.
 * EMBAR_EVENT_LINK_DOWN is the link's last event. Calling it again is harmless (0).
 */
int embar_link_disconnect(struct embar_link *link);

/*
 * Ends a link at once, from any state: nothing more is sent or waited for, the peer sees a broken
 * link. Writes in flight end with -ECANCELED; EMBAR_EVENT_LINK_DOWN follows. Also ends a disconnect
 * that takes too long. 0.
 */
int embar_link_abort(struct embar_link *link);

/* Frees the link. -EBUSY until its EMBAR_EVENT_LINK_DOWN has been polled. */
int embar_link_close(struct embar_link *link);

void embar_link_set_user(struct embar_link *link, void *user);
void *embar_link_user(const struct embar_link *link);
uint64_t embar_link_id(const struct embar_link *link);      /* unique in the process, for logs */
const char *embar_link_peer(const struct embar_link *link); /* "HOST:PORT" of the other end */
struct embar_transport *embar_link_transport(const struct embar_link *link);

struct embar_link_stats {
    uint64_t writes, write_bytes;     /* completed locally */
    uint64_t arrivals, arrival_bytes; /* writes of the peer */
    uint64_t messages_sent, messages_received;
    uint64_t send_calls, receive_calls; /* system calls, verbs posts or, for shm, ring entries */
    uint64_t zerocopy_sends;            /* sends for which the kernel pinned pages */
    uint64_t zerocopy_copied;           /* of these, those it copied all the same */
    uint64_t receiver_not_ready;        /* RNR NAKs; more than 0 is a bug */
    uint64_t registrations;             /* memory registrations since the link came up */
    uint32_t lanes;
    uint32_t lane_threads;   /* of these, those with a thread of their own (tcp) */
    const char *send_mode;   /* "zerocopy", "splice", "copy", "rdma-write", "in-place", "lent";
                                static */
    char send_mode_why[160]; /* why this one, and not the one that was asked for */
};

void embar_link_stats(const struct embar_link *link, struct embar_link_stats *stats);

/* ---- data --------------------------------------------------------------------------------- */

/*
 * Offers the peer of `link` (which must be up) to read `buffer` where it lies, for transports with
 * EMBAR_CAP_MAPPED. Once the loan's state is EMBAR_LOAN_TAKEN, embar_write with it copies nothing.
 * The peer maps the whole buffer and cannot write into it. It may go on reading after its link has
 * ended, for as long as it keeps that link from embar_link_close, and also when the buffer was
 * freed: so what was written with the loan may change only when the peer has said, in the
 * application's own protocol, that it has done with it, or when the loan is over. The caller owns
 * the loan; a link gets one over its life. Errors: -ENOTSUP no such transport, or memory that
 * cannot be lent: it was adopted, or allocated before such a transport was open, or its kernel
 * cannot share pages of that size or seal them; -EINVAL the buffer belongs to another transport, or
 * its access is not EMBAR_ACCESS_LOCAL alone; -EBUSY the link has a loan; -ENOTCONN link not up, or
 * ending; -EAGAIN the peer is busy, try later; -ENOMEM, -EMFILE.
 */
int embar_lend(struct embar_link *link, struct embar_buffer *buffer, struct embar_loan **loan,
               struct embar_diag *diag);

enum embar_loan_state {
    EMBAR_LOAN_OFFERED, /* the peer has not mapped it yet */
    EMBAR_LOAN_TAKEN,   /* it has, and may read what is written with the loan */
    EMBAR_LOAN_OVER,    /* it can read nothing any more: it could not map the buffer, has closed its
                           link, or has ended */
};

/* Asks the kernel. */
enum embar_loan_state embar_loan_state(struct embar_loan *loan);

/* Frees the loan: its end cannot be known any more. Harmless with NULL, at any time before its
 * transport is closed. */
void embar_loan_close(struct embar_loan *loan);

struct embar_write {
    struct embar_buffer *buffer; /* local source; with EMBAR_ACCESS_LOCAL; NULL: see embar_map */
    size_t offset;               /* into it, bytes */
    size_t len_bytes;            /* 1 .. max_write_bytes */
    struct embar_key key;        /* of the peer's buffer */
    uint64_t remote_offset;      /* into it, bytes */
    uint32_t immediate;          /* handed to the peer with EMBAR_EVENT_ARRIVAL */
    uint64_t token;              /* handed back with EMBAR_EVENT_WRITE_DONE */
    struct embar_loan *loan;     /* NULL; or of `buffer` to this link, and known to be taken: the
                                    peer reads it there, key and remote_offset do not matter */
};

/*
 * Writes a local range into the peer's buffer. When the peer sees EMBAR_EVENT_ARRIVAL all bytes are
 * in place. The source must not change until EMBAR_EVENT_WRITE_DONE (with a loan: see embar_lend).
 * `write` itself is not kept. Errors: -EAGAIN queue full; -ENOTCONN; -EINVAL range outside of the
 * local buffer or of the key; a loan of another buffer, to another link, or not taken.
 */
int embar_write(struct embar_link *link, const struct embar_write *write);

/*
 * Where the peer's exposed buffer lies in this process, for transports with EMBAR_CAP_MAPPED: the
 * first byte that `key` is good for. A batch built there needs no copy: embar_write with `buffer`
 * NULL then only tells the peer that the bytes at remote_offset are in place. Valid until the link
 * is closed, also when the peer takes the key back: what is stored there then reaches nobody's
 * attention, but still the memory. Errors: -ENOTSUP no such transport; -ENOTCONN link not up;
 * -EINVAL not a key that the peer gave to this link.
 */
int embar_map(struct embar_link *link, const struct embar_key *key, void **addr,
              struct embar_diag *diag);

/*
 * Sends a small control message; the bytes are copied. Delivered in order among messages, once,
 * unless the link goes down. Order against writes only with EMBAR_CAP_ORDERED.
 * Errors: -EAGAIN queue full; -ENOTCONN; -EMSGSIZE more than max_send_bytes or 0.
 */
int embar_send(struct embar_link *link, const void *data, size_t len_bytes);

/* ---- events ------------------------------------------------------------------------------- */

enum embar_event_type {
    EMBAR_EVENT_LINK_REQUEST = 1, /* listener, link: answer with embar_accept or embar_reject */
    EMBAR_EVENT_LINK_UP,          /* link */
    EMBAR_EVENT_LINK_DOWN,        /* link, status, reason: last event of the link */
    EMBAR_EVENT_MESSAGE,          /* link, data, len_bytes */
    EMBAR_EVENT_WRITE_DONE,       /* link, status, token: the source may be reused */
    EMBAR_EVENT_ARRIVAL,          /* link, immediate, len_bytes: the peer's write is in place; data
                                     when it lies in memory that the peer has lent */
};

struct embar_event {
    enum embar_event_type type;
    int status; /* 0 or a negative errno; LINK_DOWN: 0 after an orderly end by either side */
    struct embar_link *link;
    struct embar_listener *listener;
    const void *data; /* MESSAGE: borrowed, valid until the next embar_poll of this transport.
                         ARRIVAL: NULL, or where it lies, until embar_link_close */
    size_t len_bytes;
    uint64_t token;
    uint32_t immediate;
    const char *reason; /* LINK_DOWN: one sentence; valid until embar_link_close */
};

/* Makes progress and takes up to `capacity` events. Returns how many, 0 for none, or a negative
 * errno when the transport itself has failed. Does not block. */
int embar_poll(struct embar_transport *transport, struct embar_event *events, int capacity);

/* A descriptor to wait on (POLLIN) in an event loop, after embar_arm. Owned by the transport. */
int embar_fd(const struct embar_transport *transport);

/*
 * Prepares to sleep. 0: the descriptor becomes readable when there is work; -EAGAIN: there is work
 * already, poll first. Always call it between the last embar_poll and the wait, or a wake-up is
 * lost.
 */
int embar_arm(struct embar_transport *transport);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
