/*
 * The objects of the shm backend and which file runs them: transport.c the rounds of progress and
 * the timers, listener.c listeners and connections that have not asked for a link yet, connect.c
 * attempts to connect, link.c the states of a link and its end, data.c what it carries, loan.c what
 * one side lets the other read. All run on
 * the transport's thread.
 */
#ifndef SHM_SHM_H
#define SHM_SHM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/clock.h"
#include "mapping.h"
#include "packet.h"
#include "place.h"
#include "region.h"
#include "ring.h"
#include "settings.h"
#include "transport/backend.h"

/* Half of the ring is left to messages: a stream needs a credit for every batch. */
#define SHM_MAX_WRITES (SHM_CELLS / 2)
#define SHM_PEER_BYTES 32

/* What an epoll event points to: the first member of each object that has a descriptor. */
enum shm_watch { SHM_WATCH_TIMER, SHM_WATCH_LISTENER, SHM_WATCH_PENDING, SHM_WATCH_LINK };

LIST_HEAD(shm_links, shm_link);
TAILQ_HEAD(shm_pendings, shm_pending);

struct shm_transport {
    enum shm_watch timer_watch;
    const struct shm_settings *settings; /* borrowed from core */
    const struct env *env;               /* borrowed */
    int epoll_fd, timer_fd;              /* owned */
    struct shm_links links;              /* not down */
    struct shm_pendings pending;         /* oldest first */
    struct shm_pendings dropped;         /* freed after the round */
    unsigned pending_count;
    unsigned joining;     /* links that are not up: the socket matters, not the ring */
    unsigned up;          /* links that are */
    unsigned rounds;      /* since epoll was asked */
    bool armed;           /* the sides of all links say that they sleep */
    uint64_t now_ns;      /* read when epoll is asked */
    uint64_t deadline_ns; /* the earliest of all; 0: none */
    uint64_t armed_ns;    /* what the timer is set to; 0: it is not */
};

struct shm_listener {
    enum shm_watch watch;
    int fd;                          /* owned */
    struct embar_listener *listener; /* borrowed */
    struct shm_transport *transport; /* borrowed */
};

/* A connection that has not asked for a link yet. */
struct shm_pending {
    enum shm_watch watch;
    int fd;                        /* owned; -1: dropped */
    struct shm_listener *listener; /* borrowed */
    TAILQ_ENTRY(shm_pending) in_list;
    uint64_t deadline_ns;
    char peer[SHM_PEER_BYTES];
};

enum shm_link_state {
    SHM_LINK_NEW = 0,
    SHM_LINK_CONNECTING, /* the listener's backlog is full */
    SHM_LINK_ASKING,     /* REQUEST sent, no answer yet */
    SHM_LINK_ASKED,      /* REQUEST received; the application has not answered */
    SHM_LINK_UP,
    SHM_LINK_DOWN,
};

/* A write whose bytes are in place and whose end has not been reported. */
struct shm_done {
    uint64_t token;
    size_t len_bytes;
};

struct shm_link {
    enum shm_watch watch;
    int fd;                          /* owned; -1: none */
    struct embar_link *link;         /* borrowed; this is its private area */
    struct shm_transport *transport; /* borrowed */
    LIST_ENTRY(shm_link) in_links;
    enum shm_link_state state;
    struct shm_place place;    /* connecting */
    uint64_t connect_ns;       /* the deadline of the whole attempt */
    uint64_t deadline_ns;      /* of the present state; 0: none */
    struct shm_region *region; /* owned */
    struct shm_half *mine, *peer;
    struct shm_producer tx;
    struct shm_consumer rx;
    bool full;           /* the last write or message found no room */
    const char *offence; /* what the peer did wrong: progress ends the link; static */
    int offence_status;
    uint64_t exposures;           /* EXPOSE packets taken */
    struct shm_mappings mappings; /* owned; of what the peer exposes */
    struct shm_mappings lent;     /* owned; of what it lends */
    int lease_fd;                 /* owned; came before what it is for; -1: none */
    uint64_t lease_key;
    uint64_t key, key_bytes; /* of this side's exposed buffer; 0: none */
    struct shm_done dones[SHM_MAX_WRITES];
    uint32_t done_first, done_count;
    uint64_t posts, takes, wakes; /* for the stats */
    uint64_t copies, in_place, lends;
};

/* What this side lets the peer of a link read. The peer holds the other end of a pair of sockets
 * for as long as it can. */
struct shm_loan {
    uint64_t key;
    int lease_fd; /* owned */
    bool taken;   /* the peer has said so */
};

/* ---- transport.c -------------------------------------------------------------------------- */

extern const struct backend_transport_ops shm_transport_ops;

/* Something is to happen at `when_ns`. */
void shm_transport_at(struct shm_transport *t, uint64_t when_ns);

uint64_t shm_transport_now(struct shm_transport *t);

/* Watches `fd` for reading; `watch` is the first member of the object. 0 or a negative errno. */
int shm_transport_watch(struct shm_transport *t, int fd, void *watch);

/* ---- listener.c --------------------------------------------------------------------------- */

extern const struct backend_listener_ops shm_listener_ops;

void shm_listener_ready(struct shm_listener *l);
void shm_pending_ready(struct shm_pending *p);
void shm_pending_timeout(struct shm_pending *p);
void shm_pending_free_dropped(struct shm_transport *t);

/* ---- connect.c ---------------------------------------------------------------------------- */

int shm_link_connect(struct embar_link *link, const char *address, struct embar_diag *diag);

/* Tries again, or gives up. */
void shm_connect_timeout(struct shm_link *link);

/* ---- link.c ------------------------------------------------------------------------------- */

extern const struct backend_link_ops shm_link_ops;

void shm_link_init(struct shm_link *link, struct embar_link *core, struct shm_transport *t);

void shm_link_set_state(struct shm_link *link, enum shm_link_state state);
void shm_link_set_deadline(struct shm_link *link, uint64_t when_ns);

/* Notes what the peer did wrong; the first offence counts. For places that may not end the link. */
void shm_link_blame(struct shm_link *link, int status, const char *offence);

/* Takes the region over; this side writes its half `side`. */
void shm_link_set_region(struct shm_link *link, struct shm_region *region, unsigned side);

/* Ends the link now: reports the writes that are left, then the link. */
__attribute__((format(printf, 3, 4))) void shm_link_end(struct shm_link *link, int status,
                                                        const char *fmt, ...);

/* The peer broke a rule: it is told so and the link ends. */
__attribute__((format(printf, 3, 4))) void shm_link_refuse(struct shm_link *link, int status,
                                                           const char *fmt, ...);

/* The socket has something. */
void shm_link_ready(struct shm_link *link);

void shm_link_timeout(struct shm_link *link);

/* ---- data.c ------------------------------------------------------------------------------- */

extern const struct backend_buffer_ops shm_buffer_ops;
extern const struct backend_data_ops shm_data_ops;

/* Reports the ends of writes and takes up to `budget` cells. The link may be down afterwards. */
void shm_data_progress(struct shm_link *link, int budget);

void shm_data_report_dones(struct shm_link *link, int status);

/* An EXPOSE packet. A bad one is an offence. */
void shm_data_exposed(struct shm_link *link, const struct shm_packet *packet);

/* A key for a buffer: random, and not 0. */
uint64_t shm_data_new_key(struct shm_link *link);

/* Sends a packet that look_for_exposures must not miss. 0, or a negative errno with the sentence.
 */
int shm_data_hand_over(struct shm_link *link, const struct shm_packet *packet,
                       struct embar_diag *diag);

/* The mapping of a key in one of the link's sets, looking at the socket for what it may have
 * brought. NULL: no such key was given to this link. */
const struct shm_mapping *shm_data_find_mapping(struct shm_link *link,
                                                const struct shm_mappings *mappings, uint64_t key);

/* Whether progress would find something. */
bool shm_data_has_work(struct shm_link *link);

/* Wakes the peer if it sleeps. */
void shm_data_wake(struct shm_link *link);

/* ---- loan.c ------------------------------------------------------------------------------- */

extern const struct backend_loan_ops shm_loan_ops;

/* A LEASE or LEND packet, whose descriptor may be taken over (then packet->fd is -1). A bad one is
 * an offence. */
void shm_loan_packet(struct shm_link *link, struct shm_packet *packet);

/* A cell of type SHM_CELL_LENT. Whether the link is still up. */
bool shm_loan_take(struct shm_link *link, const struct shm_item *item);

/* Lets go of what the peer has lent; the link is closed. */
void shm_loan_close_lent(struct shm_link *link);

#endif
