/*
 * Inside of a publisher. A message is built in the open batch; a closed batch is a record in a
 * ring, keyed by its sequence, and keeps its source slot until every subscriber that needs it has
 * reached the ack level. Each subscriber is a peer with a position in that ring.
 *
 *   publisher.c         the public calls
 *   publisher_batch.c   building and closing batches
 *   publisher_in_place.c  building them in the only subscriber's buffer, and moving them out of it
 *   publisher_lend.c    lending them to subscribers that read them where they lie
 *   publisher_peer.c    subscribers joining, what they say
 *   publisher_pump.c    writing to them as their credits allow
 *   publisher_level.c   what has reached which level, freeing slots, slow subscribers
 */
#ifndef STREAM_PUBLISHER_H
#define STREAM_PUBLISHER_H

#include <embar/embar.h>

#include "common/histogram.h"
#include "common/slot_pool.h"
#include "stream/batch.h"
#include "stream/endpoint.h"
#include "stream/stream_buffer.h"

#define LEVELS 3

struct peer;

/* A closed batch. Its place in the ring outlives its slot, so that what is consumed later than
 * freed still has its size and time. */
struct record {
    uint64_t closed_ns;
    uint64_t bytes_through;    /* message bytes published up to and with this batch */
    uint64_t messages_through; /* the same in messages */
    uint32_t slot;             /* of the publisher's buffer */
    uint32_t len_bytes;
    struct peer *in_place; /* whose buffer its bytes lie in, and in which slot; NULL: in `slot` */
    uint32_t remote_slot;
};

/* A slot of the publisher's buffer. It is free when no peer needs its batch any more, no write of
 * it is in flight and nobody reads it; both may last longer than the need (a policy, an ack level,
 * a peer that is lost). */
struct source {
    uint64_t sequence;                  /* of the batch that was closed in it last */
    uint32_t writes;                    /* in flight */
    uint32_t readers;                   /* peers, or loans to lost links, that may read it still */
    uint8_t header[BATCH_HEADER_BYTES]; /* of that batch, out of reach of any subscriber */
};

enum peer_state {
    PEER_JOINING,  /* handshake done, GRANT awaited */
    PEER_UP,       /* can be written to */
    PEER_DETACHED, /* link lost; may come back */
    PEER_FINISHED, /* has confirmed the totals */
    PEER_LOST,     /* left, was refused, or did not come back */
};

/* Our buffer as it is lent over one link, and the batches that its subscriber may still read. When
 * the link is over it is kept until the loan is. */
struct lending {
    struct lending *next;    /* of those whose link is over */
    struct embar_loan *loan; /* owned */
    bool taken;
    uint32_t first, count, most; /* of the ring */
    struct {
        uint64_t sequence;
        uint32_t slot; /* of ours */
    } lent[];          /* a ring; not consumed, as far as the subscriber has told */
};

/* A subscriber, across its links. */
struct peer {
    struct peer *next;
    struct conn *conn;     /* NULL when detached */
    struct target *target; /* that leads to it; NULL when it connected */
    uint64_t instance;
    enum peer_state state;
    unsigned transport; /* that its latest link was up over */
    struct embar_key key;
    uint64_t slot_bytes;
    uint8_t *mapped;         /* its buffer, for as long as its link; NULL: not mapped */
    char unmapped_why[160];  /* "": it is, or its transport cannot */
    bool is_built_in;        /* a batch was built there: it was said */
    struct lending *lending; /* owned; over its link; NULL: what is not built there is copied */
    bool may_lend;           /* it was not tried on its link */
    char unlent_why[160];    /* why it failed; "": it did not */
    struct slot_pool remote; /* its slots, as far as we may write them */
    uint64_t start_bytes;    /* published before it joined */
    uint64_t next_seq;       /* to be written next */
    uint64_t placed_next, consumed_next;
    uint64_t placed_message; /* number of the first message of batch placed_next */
    uint64_t released_next;  /* slow_subscriber: nothing before it is kept for this peer */
    uint32_t writes;         /* of its link, in flight */
    uint64_t credit_ns;      /* when its latest CREDIT came */
    uint64_t stall_since_ns;
    uint64_t deadline_ns;  /* DETACHED, JOINING: of the handshake, or of its coming back */
    uint64_t return_by_ns; /* DETACHED: of its coming back */
    bool rejoined;         /* it was given up before: what it has counted is not known */
    bool gap;              /* something was dropped for it: byte totals differ */
    bool slow;             /* it was dropped for, and has given no sign since */
    bool finish_sent;
    struct control_gap gap_due; /* GAP to send; from == to: none */
    uint64_t gap_due_messages;  /* that it leaves out */
    uint64_t gap_end;           /* where the latest gap that it was told of ends, and how many */
    uint64_t gap_messages;      /* messages it leaves out; counted when its CREDIT is past it */
    char name[ADDRESS_BYTES];
};

/* Of embar_reserve. */
enum room_state {
    ROOM_NONE = 0,
    ROOM_HERE,  /* at the cursor */
    ROOM_MOVED, /* its batch was moved meanwhile: see struct room_away */
};

/* Room in a subscriber's buffer that the caller still builds in. */
struct room_away {
    uint8_t *data;
    size_t left;             /* of the open batch */
    struct peer *peer;       /* NULL: gone */
    uint32_t slot;           /* of the peer's, */
    bool slot_taken;         /* taken so that nothing else is written there */
    bool link_kept;          /* the link is over: room_back closes it */
    struct embar_link *link; /* that maps it; borrowed from its conn until then */
};

struct embar_publisher {
    /* The open batch; first because every publish touches it. */
    uint8_t *cursor; /* where the next message header goes */
    size_t room;     /* bytes left; 0 also when no batch is open */
    uint32_t messages;
    uint32_t check_at;  /* message count at which the linger is looked at */
    uint8_t *slot_addr; /* NULL: no batch is open */
    uint32_t slot;
    size_t reserved; /* of embar_reserve */
    enum room_state reserving;
    uint64_t opened_ns;

    struct {
        struct peer *peer; /* in whose buffer the open batch lies; NULL: in `slot` */
        uint32_t slot;     /* of it */
    } in_place;
    struct room_away away;
    uint64_t in_place_batches;
    bool may_map; /* a subscriber's buffer was mapped once */

    struct endpoint endpoint;
    struct stream_options options; /* owned copy */
    struct stream_buffer buffer;
    struct slot_pool slots;
    struct source *sources; /* owned; by slot */
    struct peer *peers;
    struct lending *old_lendings; /* owned; of links that are over */
    unsigned old_lending_count;
    struct record *ring; /* owned */
    uint64_t ring_mask;
    uint64_t next_seq;                    /* of the open batch */
    uint64_t oldest_seq;                  /* that a peer still needs */
    uint64_t total_messages, total_bytes; /* in closed batches */
    uint64_t level_next[LEVELS];          /* every batch before it has reached the level */
    uint64_t first_ns, blocked_since_ns;
    uint32_t confirmed; /* peers that have sent FINISHED */
    bool started;       /* min_subscribers have joined once */
    bool refused;       /* the last publish gave -EAGAIN: its caller waits for room */
    bool finishing;     /* embar_publisher_finish was called */
    bool mismatch;      /* a subscriber confirmed other totals */
    char last_loss[CONTROL_REASON];
    struct embar_diag failure;
    struct embar_stats stats; /* what is counted as it happens */
    struct histogram latency;
};

/* publisher_batch.c */
int publisher_room(struct embar_publisher *publisher,
                   size_t len_bytes); /* opens a batch that fits */
/* Subscribers are to report at once when it is placed or consumed; EMBAR_SENT: at their leisure. */
void publisher_close_batch(struct embar_publisher *publisher, enum embar_level awaited);
uint64_t publisher_open_bytes(const struct embar_publisher *publisher); /* of messages */
bool publisher_linger_due(const struct embar_publisher *publisher);
uint64_t publisher_batch_deadline(const struct embar_publisher *publisher); /* linger, refusal */
bool publisher_has_room(const struct embar_publisher *publisher); /* a batch could be opened */
/* It is, or its caller is told so: no longer refused, and its stalls are over. */
void publisher_end_refusal(struct embar_publisher *publisher);

/* publisher_in_place.c */
void in_place_map(struct embar_publisher *publisher, struct peer *peer); /* it is up */
/* The only subscriber that counts, if it is up and mapped; else NULL. */
struct peer *in_place_peer(const struct embar_publisher *publisher);
/* Whether the next batch can be built there now. */
bool in_place_ready(const struct embar_publisher *publisher, const struct peer *peer);
/* Where the batch that is being opened lies: there, if that is possible, else in its own slot. */
uint8_t *in_place_open(struct embar_publisher *publisher);
void in_place_move_open(struct embar_publisher *publisher);
void in_place_leave(struct embar_publisher *publisher, struct peer *peer); /* its link ends */
/* Gives the slots of batches back that will not be written to it. */
void in_place_drop(struct embar_publisher *publisher, struct peer *peer);
void in_place_why(const struct embar_publisher *publisher, struct embar_stats *stats);
void room_granted(struct embar_publisher *publisher, struct peer *peer); /* it has a new pool */
void room_forget_peer(struct embar_publisher *publisher, const struct peer *peer);
void room_keep_link(struct embar_publisher *publisher, struct conn *conn); /* it is down */
void room_back(struct embar_publisher *publisher); /* nothing is being built any more */
void room_bring(struct embar_publisher *publisher, size_t len_bytes); /* where it belongs */

/* publisher_lend.c */
void lend_begin(struct peer *peer); /* it is up */
/* Whether the next batch that is written to it can be lent; offers the buffer at first. */
bool lend_ready(struct embar_publisher *publisher, struct peer *peer);
/* It was, as its next_seq. */
void lend_note(struct embar_publisher *publisher, struct peer *peer, const struct record *record);
void lend_consumed(struct embar_publisher *publisher, struct peer *peer); /* consumed_next moved */
void lend_leave(struct embar_publisher *publisher, struct peer *peer);    /* its link ends */
void lend_check(struct embar_publisher *publisher); /* whether old ones are over */
void lend_close(struct embar_publisher *publisher); /* all of them, whoever still reads */

/* publisher_peer.c */
extern const struct endpoint_role publisher_role;
void peer_lost(struct embar_publisher *publisher, struct peer *peer, const char *why);

/* publisher_pump.c */
void publisher_pump(struct embar_publisher *publisher);
bool peer_has_credit(const struct embar_publisher *publisher, const struct peer *peer);
void peer_stall(struct embar_publisher *publisher, struct peer *peer, bool stalled);
void publisher_check_peers(struct embar_publisher *publisher);
uint64_t publisher_peers_deadline(const struct embar_publisher *publisher);
void publisher_forget_peers(struct embar_publisher *publisher); /* that are finished or lost */

/* publisher_level.c */
struct record *publisher_record(const struct embar_publisher *publisher, uint64_t sequence);
/* The number of a batch's first message, if that is known still; else `otherwise`. */
uint64_t publisher_first_message(const struct embar_publisher *publisher, uint64_t sequence,
                                 uint64_t otherwise);
void publisher_advance(struct embar_publisher *publisher);
void publisher_write_over(struct embar_publisher *publisher, uint32_t slot);
void publisher_read_over(struct embar_publisher *publisher, uint32_t slot);
void publisher_slow(struct embar_publisher *publisher); /* no slot is free: apply the policy */
uint64_t publisher_slow_deadline(const struct embar_publisher *publisher);
uint64_t peer_needs(const struct embar_publisher *publisher, const struct peer *peer);
bool peer_counts(const struct peer *peer);                         /* it still takes part */
bool publisher_has_peers(const struct embar_publisher *publisher); /* that count */

/* publisher.c */
int publisher_progress(struct embar_publisher *publisher);
__attribute__((format(printf, 3, 4))) void publisher_fail(struct embar_publisher *publisher,
                                                          int error, const char *fmt, ...);

#endif
