/*
 * Loans: buffers that the peer of a link reads where they lie. Owns the loan object, which may
 * outlive its link and its buffer. Runs on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/diag.h"
#include "common/log.h"
#include "transport/object.h"

int embar_lend(struct embar_link *link, struct embar_buffer *buffer, struct embar_loan **loan,
               struct embar_diag *diag)
{
    const struct backend *backend = link->transport->backend;
    struct embar_loan *l;
    int rc;

    if (link->state != LINK_UP)
        return diag_fail(diag, ENOTCONN,
                         "link %" PRIu64 " is %s: a buffer is lent to a link that is up", link->id,
                         link_state_name(link->state));
    if (buffer->transport != link->transport)
        return diag_fail(diag, EINVAL,
                         "buffer %" PRIu64 " and link %" PRIu64 " are of different transports",
                         buffer->id, link->id);
    if (buffer->access != EMBAR_ACCESS_LOCAL)
        return diag_fail(diag, EINVAL,
                         "buffer %" PRIu64 " was not made with EMBAR_ACCESS_LOCAL alone: what a "
                         "peer reads nobody else may write",
                         buffer->id);
    if (link->lent_to)
        return diag_fail(diag, EBUSY, "link %" PRIu64 " has got a loan already", link->id);
    l = object_alloc(sizeof(*l), backend->loan_size);
    if (l == NULL)
        return diag_fail(diag, ENOMEM, "out of memory for a loan");
    l->transport = link->transport;
    l->buffer_id = buffer->id;
    l->link_id = link->id;
    rc = backend->loan->lend(l, link, buffer, diag);
    if (rc < 0) {
        free(l);
        return rc;
    }
    link->lent_to = true;
    l->transport->loan_count++;
    log_debug("buffer %" PRIu64 ": lent to link %" PRIu64, buffer->id, link->id);
    *loan = l;
    return 0;
}

enum embar_loan_state embar_loan_state(struct embar_loan *loan)
{
    enum embar_loan_state state = loan->transport->backend->loan->state(loan);

    loan->taken = loan->taken || state == EMBAR_LOAN_TAKEN;
    return state;
}

void embar_loan_close(struct embar_loan *loan)
{
    if (loan == NULL)
        return;
    loan->transport->backend->loan->close(loan);
    loan->transport->loan_count--;
    free(loan);
}
