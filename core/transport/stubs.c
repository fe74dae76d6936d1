/*
 * Typed stubs for what a backend cannot do, so that no op of a table is ever NULL. Own nothing; run
 * on the transport's thread.
 */
#include <errno.h>

#include "common/diag.h"
#include "transport/object.h"

int backend_expose_none(struct embar_buffer *buffer, struct embar_link *link, struct embar_key *key,
                        struct embar_diag *diag)
{
    (void)link;
    (void)key;
    return diag_fail(diag, ENOTSUP,
                     "the %s backend cannot expose a buffer to its peer; use another transport",
                     buffer->transport->caps.name);
}

void backend_unexpose_none(struct embar_buffer *buffer, struct embar_link *link)
{
    (void)buffer;
    (void)link;
}

int backend_register_none(struct embar_buffer *buffer, struct embar_diag *diag)
{
    (void)buffer;
    (void)diag;
    return 0;
}

void backend_unregister_none(struct embar_buffer *buffer)
{
    (void)buffer;
}

int backend_map_none(struct embar_link *link, const struct embar_key *key, void **addr,
                     struct embar_diag *diag)
{
    (void)key;
    (void)addr;
    return diag_fail(diag, ENOTSUP,
                     "the %s backend cannot map the peer's buffer: write from a buffer of this "
                     "side",
                     link->transport->caps.name);
}

static int lend_none(struct embar_loan *loan, struct embar_link *link, struct embar_buffer *buffer,
                     struct embar_diag *diag)
{
    (void)loan;
    (void)link;
    (void)buffer;
    return diag_fail(diag, ENOTSUP,
                     "this transport shares no memory with its peers: it has no EMBAR_CAP_MAPPED");
}

static enum embar_loan_state state_none(struct embar_loan *loan)
{
    (void)loan;
    return EMBAR_LOAN_OVER;
}

static void close_none(struct embar_loan *loan)
{
    (void)loan;
}

const struct backend_loan_ops backend_loans_none = {lend_none, state_none, close_none};
