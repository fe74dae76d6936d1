/*
 * Loans of the in-memory backend "memmap" (see backend_mem.h): the peer has a mapping of its own,
 * read only, until its link is closed. Owns the reference to the connection. Under mem_lock.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "common/diag.h"
#include "support/mem_conn.h"
#include "transport/backend.h"

static int mem_lend(struct embar_loan *core, struct embar_link *link, struct embar_buffer *buffer,
                    struct embar_diag *diag)
{
    struct mem_loan *loan = loan_private(core);
    struct mem_end *end = mem_end_of(link), *peer = end->peer;
    void *addr;

    if (buffer_fd(buffer) < 0 || mem_loans == MEM_LOANS_REFUSED)
        return diag_fail(diag, ENOTSUP, "this memory cannot be lent");
    addr = mmap(NULL, buffer_size(buffer), PROT_READ, MAP_SHARED, buffer_fd(buffer), 0);
    if (addr == MAP_FAILED)
        return diag_fail(diag, errno, "a lent buffer cannot be mapped: %s", strerror(errno));
    mem_lock();
    if (peer->transport == NULL || peer->link == NULL || mem_loans == MEM_LOANS_DECLINED) {
        munmap(addr, buffer_size(buffer));
    } else {
        peer->lent = (struct mem_map){1, addr, buffer_size(buffer)};
    }
    loan->conn = end->conn;
    loan->conn->refs++;
    loan->peer = peer;
    mem_unlock();
    return 0;
}

static enum embar_loan_state mem_loan_state(struct embar_loan *core)
{
    const struct mem_loan *loan = loan_private(core);
    bool over;

    mem_lock();
    over = loan->peer->lent.addr == NULL;
    mem_unlock();
    return over ? EMBAR_LOAN_OVER : EMBAR_LOAN_TAKEN;
}

static void mem_loan_close(struct embar_loan *core)
{
    const struct mem_loan *loan = loan_private(core);

    mem_lock();
    mem_conn_put(loan->conn);
    mem_unlock();
}

const struct backend_loan_ops mem_loan_ops = {mem_lend, mem_loan_state, mem_loan_close};
