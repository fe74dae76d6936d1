/*
 * Connections of the in-memory backend: two ends, each with an inbox that the other end fills.
 * Private to backend_mem. Everything is guarded by mem_lock, because the ends may belong to
 * transports of two threads.
 */
#ifndef TESTS_MEM_CONN_H
#define TESTS_MEM_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <embar/transport.h>

#include "support/backend_mem.h"

#define MEM_MAX_WRITES     64u
#define MEM_MAX_SEND_BYTES 1024u
#define MEM_MAX_MESSAGES   32u   /* not yet taken by the peer, before send says -EAGAIN */
#define MEM_DRAIN_STEPS    1000u /* polls for which an ending link waits for its peer */
#define MEM_REASON_BYTES   320
#define MEM_MAX_MAPS       4u

struct mem_transport;

struct mem_settings {
    int64_t seed;
    bool reorder;
    int64_t delay;
};

enum mem_phase {
    MEM_PENDING,    /* the listener's side, not yet reported */
    MEM_CONNECTING, /* or requested, or accepted: nothing has come from the peer */
    MEM_UP,
    MEM_LEAVING, /* ended by this side; waits for the peer to take what was sent */
    MEM_DOWN,    /* reported */
};

enum mem_kind {
    MEM_ACCEPTED, /* the link is up */
    MEM_MESSAGE,
    MEM_WRITE, /* the peer writes */
    MEM_DONE,  /* this end's write has ended with `status` */
    MEM_BYE,   /* the peer is gone with `status` and the reason in `data`; always taken last */
};

struct mem_item {
    struct mem_item *next;
    enum mem_kind kind;
    uint64_t due_step; /* of the receiver */
    int status;
    struct embar_write write; /* WRITE, DONE (token and length only) */
    size_t corrupt_offset;
    bool corrupt;
    size_t len_bytes;
    unsigned char data[];
};

/* The peer's buffer as it is mapped here, until the link is closed. */
struct mem_map {
    uint64_t key_id;
    void *addr; /* owned */
    size_t size_bytes;
};

struct mem_end {
    struct mem_end *next; /* in its transport */
    struct mem_conn *conn;
    struct mem_end *peer;
    struct mem_transport *transport; /* borrowed */
    struct embar_link *link;         /* borrowed; NULL while pending and after destroy */
    enum mem_phase phase;
    struct mem_item *inbox;    /* owned; oldest first */
    unsigned messages_waiting; /* of this end's, in the peer's inbox */
    unsigned drain_steps_left;
    uint64_t key_id; /* of the buffer exposed to the peer; 0: none */
    bool corrupt_next;
    size_t corrupt_offset;
    uint64_t sends, receives, writes, in_place;
    struct mem_map maps[MEM_MAX_MAPS];
    unsigned map_count;
    struct mem_map lent; /* what the peer has lent, read only; addr NULL: nothing */
    uint64_t lends;
};

/* What this side lets the peer read. */
struct mem_loan {
    struct mem_conn *conn; /* held */
    struct mem_end *peer;
};

struct mem_conn {
    struct mem_conn *next_pending; /* in its listener */
    struct mem_end ends[2];        /* the connecting side, the listening side */
    unsigned refs;
    bool cut;
};

struct mem_transport {
    struct embar_transport *core;
    const struct mem_settings *settings; /* borrowed */
    struct mem_end *ends;
    uint64_t random_state;
    uint64_t step;
    int fd; /* owned eventfd */
    bool held;
    bool mapped; /* "memmap": the peer's buffers are mapped here */
};

extern enum mem_loans mem_loans; /* backend_mem_lend */
extern bool mem_memmap_refused;  /* backend_memmap_refuse */

extern const struct backend_loan_ops mem_loan_ops;

void mem_lock(void);
void mem_unlock(void);

uint64_t mem_random(struct mem_transport *transport);

/* The transport's descriptor becomes readable. */
void mem_wake(const struct mem_transport *transport);

/* NULL: out of memory. Held once for each side. */
struct mem_conn *mem_conn_create(void);
void mem_conn_put(struct mem_conn *conn);

struct mem_end *mem_end_of(const struct embar_link *link);
void mem_end_attach(struct mem_end *end, struct mem_transport *transport, struct embar_link *link);
void mem_end_detach(struct mem_end *end);

/* Each puts an item into an end's inbox. -ENOMEM. */
int mem_push_accepted(struct mem_end *to);
int mem_push_bye(struct mem_end *to, int status, const char *reason);
int mem_push_message(struct mem_end *to, const void *data, size_t len_bytes);
int mem_push_write(struct mem_end *to, const struct embar_write *write, bool corrupt,
                   size_t corrupt_offset);

/* The peer's buffer, mapped here. NULL: no such key was given to this link. */
const struct mem_map *mem_end_map(struct mem_end *end, const struct embar_key *key);

/* Cuts the connection and takes this end down. */
void mem_end_abort(struct mem_end *end);

bool mem_end_has_work(const struct mem_end *end);

/* Handles up to `budget` items; returns how many. */
int mem_end_progress(struct mem_end *end, int budget);

#endif
