/*
 * A peer by hand: one end of a link that says and writes just what a test tells it to, over the
 * in-memory backend. For what an honest publisher or subscriber would do too seldom, too late, or
 * never.
 */
#ifndef TESTS_BYHAND_H
#define TESTS_BYHAND_H

#include <stdbool.h>
#include <stdint.h>

#include <embar/transport.h>

#include "stream/control.h"

#define BYHAND_SLOTS      16
#define BYHAND_SLOT_BYTES 4096
#define BYHAND_LINKS      16
#define BYHAND_PEERS      8 /* at once */

struct byhand {
    struct embar_transport *transport;
    struct embar_listener *listener;        /* NULL: it connects */
    struct embar_buffer *buffer;            /* source of its writes, or exposed to a publisher */
    struct embar_link *link;                /* the latest; NULL: none */
    struct embar_link *links[BYHAND_LINKS]; /* all that are not over */
    unsigned link_count;
    uint64_t instance;
    enum control_role role;
    bool up;
    unsigned requests, downs;                       /* links */
    unsigned writes_done, arrivals;                 /* of all links */
    uint64_t sequence;                              /* of the batch that arrived the latest */
    uint8_t taken[BYHAND_SLOTS / 8];                /* what the next GRANT says */
    unsigned heard[CONTROL_LEAVE + 1];              /* control messages by type */
    struct control_message last[CONTROL_LEAVE + 1]; /* the latest of each; without `taken` */
};

/* `listen` NULL: it connects. Closed by the next sim_init at the latest, also when a test fails. */
struct byhand *byhand_open(enum control_role role, uint64_t instance, const char *listen);
void byhand_close(struct byhand *peer);
void byhand_close_all(void);

/* A further link to the address; the one before goes on, but is not spoken on any more. */
void byhand_connect(struct byhand *peer, const char *address);

/* Handles what has come; accepts every request. Returns how many events. */
int byhand_poll(struct byhand *peer);

/* Steps the simulation and handles what has come, `rounds` times. */
struct sim;
void byhand_step(struct sim *sim, struct byhand *peer, int rounds);

/* Connects and goes through the handshake; a publisher starts at `sequence`, which is also the
 * number of the message due, a subscriber grants all of its slots and waits for `sequence`. */
void byhand_join(struct sim *sim, struct byhand *peer, uint64_t sequence);

/* Each says it on the latest link, and returns what embar_send or embar_write did. */
int byhand_say(struct byhand *peer, const struct control_message *message);
int byhand_hello(struct byhand *peer); /* HELLO, or WELCOME when it listens */
int byhand_grant(struct byhand *peer, uint64_t next_sequence);
int byhand_start(struct byhand *peer, uint64_t sequence, uint64_t message);
int byhand_credit(struct byhand *peer, uint64_t placed_next, uint64_t consumed_next,
                  uint16_t slots); /* and gives back slots 0 to `slots` - 1 */

/* A sound batch with message number `message`, into a slot of the latest GRANT. */
int byhand_batch(struct byhand *peer, uint32_t slot, uint64_t sequence, uint64_t message);

/* Writes `len_bytes` from anywhere to anywhere. */
int byhand_write(struct byhand *peer, size_t offset, size_t len_bytes, const struct embar_key *key,
                 uint64_t remote_offset, uint32_t immediate);

/* Cuts the latest link. */
void byhand_abort(struct byhand *peer);

#endif
