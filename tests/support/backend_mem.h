/*
 * The in-memory backend "mem": the reference for what every backend must do, and the one under
 * which tests drive publishers and subscribers through schedules by seed. It joins transports of
 * one process by the address string of a listener. Threads of their own for two transports work;
 * only a single thread is deterministic.
 *
 * Settings: mem.seed (0: from the transport's env), mem.reorder (arrivals overtake each other and
 * the messages; no EMBAR_CAP_ORDERED), mem.delay (what is sent waits a random 0 .. delay polls of
 * its receiver).
 *
 * "memmap" is the same with EMBAR_CAP_MAPPED: exposed buffers are memfds that the writer maps for
 * as long as its link, and so are lent ones by their reader, so that whoever uses an address later
 * than that is found out by the memory protection. Its settings are memmap.*; the two are
 * transports of their own, and a listener of one is not reached by the other.
 */
#ifndef TESTS_BACKEND_MEM_H
#define TESTS_BACKEND_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include <embar/transport.h>

#include "transport/backend.h"
#include "transport/registry.h"

extern const struct backend backend_mem, backend_memmap;

/* Adds both backends to the registry; harmless when they are there already. */
void backend_mem_add(void);

/* Cuts the connection under a link: what is under way is lost, and at their next poll both ends
 * fail their writes in flight and go down with -ECONNRESET. */
void backend_mem_cut(struct embar_link *link);

/* While held, polling the transport makes no progress. */
void backend_mem_hold(struct embar_transport *transport, bool held);

/* One bit of the next write posted on this link changes on its way, in the byte at `offset` (modulo
 * its length). The source does not change. */
void backend_mem_corrupt_next(struct embar_link *link, size_t offset);

/* While set, every attempt to connect over memmap is refused. */
void backend_memmap_refuse(bool refuse);

/* What becomes of loans over memmap from now on. */
enum mem_loans {
    MEM_LOANS_TAKEN,
    MEM_LOANS_REFUSED,  /* embar_lend fails, as for memory that another process cannot map */
    MEM_LOANS_DECLINED, /* the peer cannot map what it is lent */
};
void backend_mem_lend(enum mem_loans how);

/* How often the transport has been polled. */
unsigned long long backend_mem_steps(const struct embar_transport *transport);

#endif
