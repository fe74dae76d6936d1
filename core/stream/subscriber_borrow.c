/*
 * Batches that lie in their publisher's memory, lent over a transport with EMBAR_CAP_MAPPED. That
 * memory is mapped here until its link is closed, and for just as long the publisher leaves alone
 * what it had lent. So a link that is over is kept for as long as the application, or the order of
 * the stream, needs a batch that came over it.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/diag.h"
#include "stream/subscriber.h"

static struct lender **find(struct embar_subscriber *s, const struct embar_link *link)
{
    struct lender **at = &s->lenders;

    while (*at && (*at)->link != link)
        at = &(*at)->next;
    return at;
}

static void forget(struct embar_subscriber *s, const struct lender *lender)
{
    struct lender **at = find(s, lender->link);
    struct lender *found = *at;

    *at = found->next;
    free(found);
}

int batch_borrow(struct embar_batch *batch, struct embar_link *link, struct embar_diag *diag)
{
    struct embar_subscriber *s = batch->session->subscriber;
    struct lender **at = find(s, link);

    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (!*at)
            return diag_fail(diag, ENOMEM, "out of memory for a batch that was lent");
        (*at)->link = link;
    }
    batch->lender = *at;
    batch->lender->batches++;
    return 0;
}

void batch_let_go(struct embar_batch *batch)
{
    struct lender *lender = batch->lender;

    batch->bytes = NULL;
    if (!lender)
        return;
    batch->lender = NULL;
    if (--lender->batches > 0 || !lender->over)
        return;
    embar_link_close(lender->link);
    forget(batch->session->subscriber, lender);
}

bool lender_is_kept(struct embar_subscriber *s, const struct embar_link *link)
{
    struct lender *lender = *find(s, link);

    if (!lender)
        return false;
    if (lender->batches == 0) {
        forget(s, lender);
        return false;
    }
    lender->over = true;
    return true;
}

void lenders_close(struct embar_subscriber *s)
{
    while (s->lenders) {
        struct lender *lender = s->lenders;

        s->lenders = lender->next;
        if (lender->over)
            embar_link_close(lender->link);
        free(lender);
    }
}
