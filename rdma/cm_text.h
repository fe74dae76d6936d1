/* What the connection manager reports, as an operator understands it. Pure. */
#ifndef RDMA_CM_TEXT_H
#define RDMA_CM_TEXT_H

#include <rdma/rdma_cma.h>

struct rdma_cm_text {
    int error;            /* positive errno value that stands for it */
    const char *sentence; /* without subject and full stop */
};

/* Of a refusal: `status` is the event's, a reason of the InfiniBand CM (12.6.7.2) or, on iWARP, a
 * negative errno. */
struct rdma_cm_text rdma_reject_text(int status);

/* Of an address or route that is not found; `error` is positive. */
struct rdma_cm_text rdma_resolve_text(int error);

#endif
