/*
 * The objects of the TCP backend and which file runs them: transport.c the epoll loop and the
 * timers, listener.c listeners and connections that have not asked for a link yet, connect.c
 * attempts to connect, join.c the lanes beyond the first of a link that begins, link.c the states
 * of a link, link_end.c its end, lane.c one connection under a link, spread.c which of them takes a
 * write, lane_away.c the jobs that a lane's own thread does. All run on the transport's thread, but
 * for those jobs.
 *
 * A lane is at home or away. Away, its thread sends and receives, and its `tx` and `rx` are that
 * thread's; but frames may be queued, which the ring allows (send.h). Who needs more of a lane
 * recalls it first. All else of lanes, links and the transport is the transport thread's, always.
 */
#ifndef TCP_TCP_H
#define TCP_TCP_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/clock.h"
#include "lane_thread.h"
#include "list.h"
#include "liveness.h"
#include "receive.h"
#include "send.h"
#include "settings.h"
#include "transport/backend.h"

/* What an epoll event points to: the first member of each object that has a descriptor. */
enum tcp_watch { TCP_WATCH_TIMER, TCP_WATCH_LISTENER, TCP_WATCH_PENDING, TCP_WATCH_LANE };

struct tcp_transport {
    enum tcp_watch timer_watch;
    const struct tcp_settings *settings; /* borrowed from core */
    const struct env *env;               /* borrowed */
    int epoll_fd, timer_fd;              /* owned */
    struct tcp_list links;               /* struct tcp_link: not down */
    struct tcp_list listeners;           /* struct tcp_listener */
    struct tcp_list pending;             /* struct tcp_pending, oldest first */
    struct tcp_list dropped;             /* struct tcp_pending, freed after the round */
    struct tcp_list busy;                /* struct tcp_lane: to be served in the next round */
    struct tcp_list away;                /* struct tcp_lane: with their threads, or just back */
    struct tcp_bell bell;                /* rung when a lane is back */
    uint32_t lane_threads;               /* that there are */
    uint32_t pending_count;
    uint64_t now_ns;      /* read when epoll is asked */
    uint64_t deadline_ns; /* the earliest of all; 0: none */
    uint64_t armed_ns;    /* what the timer is set to; 0: it is not */
    uint32_t rounds;      /* and bytes moved since epoll was asked last */
    uint64_t bytes;
};

struct tcp_listener {
    enum tcp_watch watch;
    int fd;                          /* owned */
    struct embar_listener *listener; /* borrowed */
    struct tcp_transport *transport; /* borrowed */
    struct tcp_list in_listeners;
    uint64_t resume_ns; /* out of descriptors: not watched until then; 0: watched */
    uint64_t log_ns;    /* the last line about a dropped connection */
    uint64_t dropped;   /* connections dropped without a line since */
};

/* A connection that has not asked for a link yet. */
struct tcp_pending {
    enum tcp_watch watch;
    int fd;                        /* owned; -1: dropped */
    struct tcp_listener *listener; /* borrowed */
    struct tcp_list in_list;
    uint64_t deadline_ns;
    uint32_t have_bytes;
    uint8_t bytes[TCP_FRAME_BYTES]; /* of the REQUEST */
    char peer[ADDRESS_BYTES];
};

enum tcp_link_state {
    TCP_LINK_NEW = 0,
    TCP_LINK_CONNECTING, /* TCP's own handshake */
    TCP_LINK_ASKING,     /* REQUEST sent, no answer yet */
    TCP_LINK_ASKED,      /* REQUEST received; the application has not answered */
    TCP_LINK_JOINING,    /* accepted; the lanes beyond the first are on their way */
    TCP_LINK_UP,
    TCP_LINK_ENDING,    /* what was accepted goes out, and the last frame */
    TCP_LINK_LINGERING, /* all is handed over; the peer is to close */
    TCP_LINK_UNPINNING, /* the peer has ended in order; the kernel still reads sources */
    TCP_LINK_DRAINING,  /* reset; the kernel, or the peer's, still reads sources */
    TCP_LINK_DOWN,
};

/* One connection under a link. */
struct tcp_lane {
    enum tcp_watch watch;
    int fd;                  /* owned; -1: none */
    struct tcp_link *link;   /* borrowed */
    uint32_t index;          /* in the link */
    struct tcp_list in_list; /* the transport's busy or away ones */
    struct tcp_job *job;     /* owned; what its thread does; NULL: it has none */
    bool away;               /* the job was handed out and is not settled yet */
    uint32_t interest;       /* what epoll watches for */
    bool connecting;         /* a lane beyond the first: TCP's own handshake */
    bool bye;                /* the peer said BYE: it is read no more, unless this side ends too */
    bool shut;               /* all is handed over, and this side's direction is shut down */
    bool closed;             /* the peer has closed its side */
    bool peer_done;          /* it reports nothing any more that it has not reported yet */
    bool readable;           /* epoll said so */
    bool completions;        /* epoll said that the error queue or SO_ERROR has something */
    int send_error;          /* positive errno of the connection, not yet acted upon; 0: none */
    uint32_t low_water;      /* SO_RCVLOWAT */
    uint32_t hot;            /* rounds left in which receiving is tried without asking epoll */
    uint32_t switches;       /* of the send mode, as logged */
    uint64_t outstanding_bytes; /* of writes that are not over */
    struct tcp_liveness liveness;
    struct tcp_sender tx;
    struct tcp_receiver rx;
};

struct tcp_link {
    struct embar_link *link;         /* borrowed; this is its private area */
    struct tcp_transport *transport; /* borrowed */
    struct tcp_list in_links;
    enum tcp_link_state state;
    struct tcp_lane *lanes; /* owned; the first `lane_count` are initialized */
    uint32_t lane_room;     /* lanes that this side is willing to have */
    uint32_t lane_count;    /* as agreed; those that have not joined yet have no descriptor */
    uint32_t joined;        /* listening end: lanes that are there */
    uint32_t next_lane;     /* where the search for the least loaded one begins */
    uint64_t wire_id;       /* drawn by the connecting end, the same in each lane's REQUEST */
    bool is_connector;
    uint64_t deadline_ns;                      /* of the present state; 0: none */
    struct addrinfo *addresses, *next_address; /* connecting: owned list, and what to try next */
    uint64_t limit_ns;                         /* when connecting, or draining, is given up */
    bool has_end;           /* end_status and end_reason are settled: the first cause counts */
    bool ended_by_peer;     /* it said BYE */
    uint64_t unacked_bytes; /* while it ends: as of the last deadline */
    bool aborted;           /* the connection is reset */
    bool unreachable;       /* a reset may not reach the peer */
    uint64_t hold_ns;       /* spliced sources are not given back before; 0: not settled */
    enum tcp_frame_type last_type; /* the frame that ends this side's stream: REJECT or BYE */
    int end_status;
    char end_reason[EMBAR_DIAG_BYTES];
};

/* ---- transport.c -------------------------------------------------------------------------- */

extern const struct backend_transport_ops tcp_transport_ops;

/* Something is to happen at `when_ns`. */
void tcp_transport_at(struct tcp_transport *t, uint64_t when_ns);

uint64_t tcp_transport_now(struct tcp_transport *t);

/* Watches `fd`; `watch` is the first member of the object. 0 or a negative errno. */
int tcp_transport_watch(struct tcp_transport *t, int fd, uint32_t events, void *watch);

/* ---- listener.c --------------------------------------------------------------------------- */

extern const struct backend_listener_ops tcp_listener_ops;

void tcp_listener_ready(struct tcp_listener *l);
void tcp_listener_resume(struct tcp_listener *l);
void tcp_pending_ready(struct tcp_pending *p, int *budget);
void tcp_pending_timeout(struct tcp_pending *p);
void tcp_pending_free_dropped(struct tcp_transport *t);

/* ---- connect.c ---------------------------------------------------------------------------- */

int tcp_link_connect(struct embar_link *link, const char *address, struct embar_diag *diag);
/* The connection under way is made or has failed. */
void tcp_connect_ready(struct tcp_link *link);
void tcp_connect_timeout(struct tcp_link *link);

/* ---- link.c ------------------------------------------------------------------------------- */

extern const struct backend_link_ops tcp_link_ops;
extern const struct backend_buffer_ops tcp_buffer_ops;
extern const struct backend_data_ops tcp_data_ops;
extern const struct tcp_receive_sink tcp_link_sink; /* its user is the lane */

void tcp_link_set_state(struct tcp_link *link, enum tcp_link_state state);

/* Gives a zeroed private area its transport, room for so many lanes, and the first of them.
 * -ENOMEM. */
int tcp_link_init(struct tcp_link *link, struct embar_link *core, struct tcp_transport *t,
                  uint32_t lane_room);
void tcp_link_release(struct tcp_link *link);

/* A connection that has asked becomes the link's first lane; takes the descriptor over on success.
 */
int tcp_link_adopt(struct tcp_link *link, int fd);

/* Both sides agree and all lanes are there: from here on data flows. */
void tcp_link_go_up(struct tcp_link *link);

void tcp_link_set_deadline(struct tcp_link *link, uint64_t when_ns);
void tcp_link_timeout(struct tcp_link *link);

/* The lane has handed something over. */
void tcp_link_sent(struct tcp_link *link);

/* A source may be reused; a tcp_write_over_fn whose user is the lane. */
void tcp_lane_write_over(void *user, uint64_t token, size_t len_bytes, int status);

/* ---- join.c ------------------------------------------------------------------------------- */

/* Listening end: accepted; awaits the lanes beyond the first. 0, or a negative errno and nothing
 * has happened. */
int tcp_join_await(struct tcp_link *link);

/* Connecting end: the listener takes so many lanes; opens those beyond the first. */
void tcp_join_begin(struct tcp_link *link, uint32_t lanes);

/* The connection of such a lane is made or has failed. */
void tcp_join_ready(struct tcp_lane *lane);

/* Whether the listener's answer fits what this side asked for; a sentence when it does not. */
int tcp_join_check_accept(const struct tcp_link *link, uint64_t lanes, struct embar_diag *diag);

/* A connection to a listener asks to be a lane of a link that awaits it. Takes the descriptor over
 * on success; else the sentence says why it is to be dropped. */
int tcp_join_adopt(struct tcp_transport *t, const struct tcp_frame *request, int fd,
                   struct embar_diag *diag);

/* The link ends before it was up: the lanes beyond the first are closed. */
void tcp_join_abandon(struct tcp_link *link);

/* The state's deadline has passed. */
void tcp_join_timeout(struct tcp_link *link);

/* ---- spread.c ----------------------------------------------------------------------------- */

/* The lane that a write goes to. */
struct tcp_lane *tcp_spread_lane(struct tcp_link *link, uint64_t len_bytes);

/* Says in the log what each lane carried, if there are several. */
void tcp_spread_log(const struct tcp_link *link);

/* ---- link_end.c --------------------------------------------------------------------------- */

/* Ends the link now: resets what the kernel still sends from, waits for it, reports the writes that
 * are left and then the link. The first cause counts when it is called several times. */
__attribute__((format(printf, 3, 4))) void tcp_link_end(struct tcp_link *link, int status,
                                                        const char *fmt, ...);

/* Ends the link before it returns: nothing more is sent, and of a network device that still holds
 * pages no more than a few milliseconds are awaited. */
void tcp_link_abort(struct tcp_link *link);

/* The peer broke a rule: it is told so, if that is still possible, and the link ends. */
void tcp_link_refuse(struct tcp_link *link, int status, const char *sentence);

/* The lane's connection failed with a positive errno. */
void tcp_link_lost(struct tcp_lane *lane, int error);

/* The peer said its orderly BYE on a lane; the link ends when it has on all. */
void tcp_link_bye(struct tcp_lane *lane);

/* The peer has closed its side of a lane, has reset it, or has said BYE on it: what it has not read
 * of it, it will drop. `in_order`: what was handed over counts as sent, although the peer has not
 * said that it read it. */
void tcp_lane_peer_is_done(struct tcp_lane *lane, bool in_order);

/* The peer has closed its side of a lane. */
void tcp_link_closed_by_peer(struct tcp_lane *lane);

/* All that was accepted goes out, then `last`, then the link ends with the status given. */
__attribute__((format(printf, 5, 6))) void tcp_link_finish(struct tcp_link *link,
                                                           const struct tcp_frame *last,
                                                           const char *payload, int status,
                                                           const char *fmt, ...);

/* Go on with an end that has begun. */
void tcp_link_end_sent(struct tcp_link *link);
void tcp_link_end_unpinned(struct tcp_link *link);
void tcp_link_end_timeout(struct tcp_link *link);

/* ---- lane.c ------------------------------------------------------------------------------- */

int tcp_lane_init(struct tcp_lane *lane, struct tcp_link *link, uint32_t index);
void tcp_lane_destroy(struct tcp_lane *lane);

/* Takes over a descriptor and watches it for `events`. 0 or a negative errno. */
int tcp_lane_open(struct tcp_lane *lane, int fd, uint32_t events);
void tcp_lane_close(struct tcp_lane *lane, bool reset);

/* The same for a descriptor that epoll watches already, for something else. */
int tcp_lane_adopt(struct tcp_lane *lane, int fd, uint32_t events);

/* Watches for `events` from now on. */
void tcp_lane_set_interest(struct tcp_lane *lane, uint32_t events);

/* To be served in the next round. */
void tcp_lane_wake(struct tcp_lane *lane);

/* What epoll reported. */
void tcp_lane_ready(struct tcp_lane *lane, uint32_t events);

/* Sends and receives a bounded amount, or has its thread do so. Returns the bytes moved. */
uint64_t tcp_lane_serve(struct tcp_lane *lane, int *budget);

/* Hands over what waits, now. */
uint64_t tcp_lane_send(struct tcp_lane *lane);

/* Whether the lane can do something without any event of its socket. */
bool tcp_lane_has_work(const struct tcp_lane *lane);

/* A reset connection has nothing more to say, though its descriptor stays open for a while. */
bool tcp_lane_is_live(const struct tcp_lane *lane);

/* How much one turn of sending takes; reads the clock where send modes are measured. */
uint64_t tcp_lane_turn_bytes(struct tcp_lane *lane);

/* Notes what is left to do, after a turn or a job. */
void tcp_lane_turn_ends(struct tcp_lane *lane);

/* Acts upon what tcp_sender_run and tcp_receiver_run returned. Returns the bytes moved. */
uint64_t tcp_lane_settle_send(struct tcp_lane *lane, int64_t sent);
uint64_t tcp_lane_settle_receive(struct tcp_lane *lane, int rc, const struct embar_diag *why,
                                 uint64_t received);

/* The connection has failed, but the peer may have said why it left: what it sent is read before
 * the error is acted upon. */
void tcp_lane_defer_error(struct tcp_lane *lane, int error);

/* ---- lane_away.c -------------------------------------------------------------------------- */

/* What link stats say of a lane. */
struct tcp_lane_counts {
    uint64_t send_calls, receive_calls;
    uint64_t zerocopy_sends, zerocopy_copied;
    uint64_t handed_bytes;
    const char *send_mode; /* static */
    char send_mode_why[160];
};

void tcp_lane_count(const struct tcp_lane *lane, struct tcp_lane_counts *counts);

/* Gives each lane of a link that comes up a thread, if that is wanted and possible, and says so. */
void tcp_link_start_threads(struct tcp_link *link);

/* Ends the lane's thread; the lane is not handed out any more. */
void tcp_lane_stop_thread(struct tcp_lane *lane);

/* So much is to be sent, or is about to arrive, that the lane's thread is to do it. */
bool tcp_lane_sends_much(const struct tcp_lane *lane);
bool tcp_lane_receives_much(const struct tcp_lane *lane);

/* What of a write is so much; 0: the lane has no thread. */
uint32_t tcp_lane_limit(const struct tcp_lane *lane);

/* The lane goes away with what it has to do. */
void tcp_lane_hand_out(struct tcp_lane *lane);

/* Settles the lanes that are back. Returns the bytes that they moved. */
uint64_t tcp_lanes_take_back(struct tcp_transport *t, int *budget);

/* If any lane is away, waits until one is back, and returns true. */
bool tcp_lanes_await(struct tcp_transport *t);

/* Waits until the thread of an away lane has done its job, which never blocks and is bounded: what
 * came of it is still to be settled, but `tx` and `rx` may be touched. */
void tcp_lane_recall(struct tcp_lane *lane);
void tcp_link_recall(const struct tcp_link *link);

/* Nothing is settled any more: what the lane brought back is dropped, as what it has not read. */
void tcp_lane_forget(struct tcp_lane *lane);

#endif
