/* The calls by which a test disturbs the in-memory backends (see backend_mem.h). Under mem_lock. */
#include "support/backend_mem.h"
#include "support/mem_conn.h"

bool mem_memmap_refused;
enum mem_loans mem_loans;

void backend_memmap_refuse(bool refuse)
{
    mem_memmap_refused = refuse;
}

void backend_mem_cut(struct embar_link *link)
{
    struct mem_conn *conn = mem_end_of(link)->conn;

    mem_lock();
    conn->cut = true;
    for (int i = 0; i < 2; i++) {
        if (conn->ends[i].transport != NULL)
            mem_wake(conn->ends[i].transport);
    }
    mem_unlock();
}

void backend_mem_hold(struct embar_transport *transport, bool held)
{
    struct mem_transport *t = transport_private(transport);

    mem_lock();
    t->held = held;
    if (!held)
        mem_wake(t);
    mem_unlock();
}

void backend_mem_corrupt_next(struct embar_link *link, size_t offset)
{
    struct mem_end *end = mem_end_of(link);

    mem_lock();
    end->corrupt_next = true;
    end->corrupt_offset = offset;
    mem_unlock();
}

void backend_mem_lend(enum mem_loans how)
{
    mem_lock();
    mem_loans = how;
    mem_unlock();
}

unsigned long long backend_mem_steps(const struct embar_transport *transport)
{
    return ((struct mem_transport *)transport_private(transport))->step;
}
