/*
 * A backend that does nothing by itself: the test reports for it and sets what its ops return. For
 * tests of core against backends that fail or break the contract. One transport at a time.
 */
#ifndef TESTS_PUPPET_H
#define TESTS_PUPPET_H

#include "transport/backend.h"

extern const struct backend backend_puppet;

#define PUPPET_MAX_WRITES 4u

struct puppet {
    /* What the next calls return. */
    int open_rc, progress_rc, arm_rc, listen_rc, connect_rc, accept_rc, reject_rc, reg_rc,
        expose_rc, write_rc, send_rc;
    /* Runs within progress, so that reports come from within an op. */
    void (*in_progress)(void *user);
    void (*in_accept)(struct embar_link *link);
    void (*in_abort)(struct embar_link *link);
    void *user;
    /* What was called. */
    unsigned closes, progresses, listener_closes, rejects, disconnects, aborts, destroys, unregs,
        exposes, unexposes, writes, sends;
    char reject_reason[300];
    uint64_t tokens[PUPPET_MAX_WRITES * 4]; /* core's, of the writes in order */
    uint64_t setting;
};

extern struct puppet puppet;

/* Forgets everything; adds the backend to the registry when it is not there. */
void puppet_reset(void);

#endif
