/*
 * What a conformance test works in: one backend, two transports of it in this process (a server
 * that listens and a client that connects), and a record of every event by link. Polling checks
 * what must hold whatever the test does: no event after LINK_DOWN, one WRITE_DONE for each accepted
 * write, no complaint of core about the backend.
 *
 * Owns all that a test makes through it; the teardown ends and frees it and demands that every
 * close succeeds. One thread, but for the functions that say otherwise.
 */
#ifndef CONFORMANCE_WORLD_H
#define CONFORMANCE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <embar/transport.h>

/* What is tested, from the command line. */
struct subject {
    const char *backend;
    const char *address; /* "HOST:0": where the server listens */
    const char *const *settings;
    uint32_t expected_caps;
};

extern struct subject subject;

struct message {
    size_t len_bytes;
    unsigned char *data; /* owned */
};

struct arrival {
    uint32_t immediate;
    size_t len_bytes;
    const unsigned char
        *lent; /* where it lies in lent memory; NULL: in a buffer of the receiver's */
};

struct done {
    uint64_t token;
    int status;
};

/* One link and all that has happened to it. */
struct end {
    struct end *next;
    struct side *side;
    struct embar_link *link; /* NULL once closed */
    struct embar_listener *listener;
    bool requested, up, down;
    int down_status;
    char reason[EMBAR_DIAG_BYTES];
    uint64_t posted; /* writes accepted */
    struct done *dones;
    struct arrival *arrivals;
    struct message *messages;
    size_t done_count, arrival_count, message_count;
};

struct side {
    struct embar_transport *transport;
    struct embar_buffer *buffers[32];
    unsigned buffer_count;
    struct end *ends; /* owned */
};

struct world {
    struct side server, client;
    struct embar_listener *listener;
    char address[320]; /* as bound */
};

/* A link seen from both sides. */
struct joined {
    struct end *client, *server;
};

/* For cmocka_unit_test_setup_teardown. */
int world_setup(void **state);
int world_teardown(void **state);

#define WORLD_TEST(function) cmocka_unit_test_setup_teardown(function, world_setup, world_teardown)

/* Opens a transport of the subject's backend. */
struct embar_transport *subject_open(void);

/* Polls a side once and records; returns how many events came. */
int side_poll(struct side *side);

/* Polls both sides once. */
int world_poll(struct world *world);

/* Polls both sides until `condition` holds; fails the test after a bound that is far beyond what
 * the slowest host needs. */
#define world_until(world, condition)                                                              \
    do {                                                                                           \
        uint64_t bound_ = world_bound();                                                           \
        while (!(condition)) {                                                                     \
            world_poll(world);                                                                     \
            if (world_past(bound_))                                                                \
                fail_msg("waited too long for: %s", #condition);                                   \
        }                                                                                          \
    } while (0)

uint64_t world_bound(void);
bool world_past(uint64_t bound);

/* Whether the backend promises EMBAR_CAP_MAPPED. */
bool world_can_map(const struct world *world);

/* Polls both sides for a while in which nothing more is expected to happen. */
void world_settle(struct world *world);

/* Begins to connect. */
struct end *world_connect(struct world *world);

/* The newest request at the server that is not answered, waiting for it. */
struct end *world_request(struct world *world);

/* Connects, accepts, waits until both ends are up. */
struct joined world_join(struct world *world);

/* Ends a link from the client's side and waits for both LINK_DOWN. */
void world_part(struct world *world, struct joined *joined);

/* Closes the end's link, which is down; frees the record. */
void end_close(struct end *end);

/* A buffer of ordinary pages, zeroed; freed by the teardown unless side_free was called. */
struct embar_buffer *side_buffer(struct side *side, size_t size_bytes, uint32_t access);
struct embar_buffer *side_adopt(struct side *side, void *addr, size_t size_bytes);
void side_free(struct side *side, struct embar_buffer *buffer);

unsigned char *buffer_bytes(const struct embar_buffer *buffer);

/* Bytes that tell their place and their seed. */
void fill_pattern(unsigned char *bytes, size_t len_bytes, uint32_t seed);
bool has_pattern(const unsigned char *bytes, size_t len_bytes, uint32_t seed);
bool all_bytes_are(const unsigned char *bytes, size_t len_bytes, unsigned char value);

/* embar_write, counted; the token is the number of the write on this link. */
int end_write(struct end *end, const struct embar_write *write);

/* The same, polling while it says -EAGAIN; must be accepted. */
void world_write(struct world *world, struct end *end, const struct embar_write *write);

/* Sends, polling while it says -EAGAIN; must be accepted. */
void world_send(struct world *world, struct end *end, const void *data, size_t len_bytes);

/* A source at the client, a buffer at the server exposed to the link, and its key. */
struct window {
    struct embar_buffer *source, *target;
    struct embar_key key;
};

struct window world_window(struct world *world, struct joined *joined, size_t size_bytes);

#endif
