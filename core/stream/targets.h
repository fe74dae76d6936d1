/* Connecting to the addresses of the config: which transport, when again, when to give up. */
#ifndef STREAM_TARGETS_H
#define STREAM_TARGETS_H

#include "stream/endpoint.h"

/* Splits the comma-separated addresses. The first attempts are due at once. -ENOMEM. */
int targets_open(struct endpoint *endpoint, const char *connect);

/* Starts the attempts that are due, gives up those past their deadline. */
void targets_try(struct endpoint *endpoint);

/* When targets_try is due next; UINT64_MAX: never. */
uint64_t targets_deadline(const struct endpoint *endpoint);

/* The peer at the other end has joined: GRANT or START has come. Harmless without a target. */
void target_joined(struct conn *conn);

/* Batches move over the target's link: when it is lost the next attempt is made at once. */
void target_works(struct target *target);

/* The target's link is over; decides whether to try again. */
void target_link_down(struct conn *conn, int status, const char *reason);

/* A later loss of this target's link is no loss: its peer has finished. Goes on connecting without
 * bound, as a subscriber that waits for the next publisher, or stops when `stop`. */
void target_finished(struct target *target, bool stop);

/* Of endpoint.c. NULL: out of memory. */
struct conn *endpoint_conn_add(struct endpoint *endpoint, struct embar_link *link,
                               unsigned transport, struct target *target);

#endif
