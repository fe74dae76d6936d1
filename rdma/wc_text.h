/* Work completion statuses as an operator understands them. Pure. */
#ifndef RDMA_WC_TEXT_H
#define RDMA_WC_TEXT_H

#include <infiniband/verbs.h>

struct rdma_wc_text {
    int error;            /* positive errno value that stands for it */
    const char *sentence; /* what happened and what to do, without subject id or full stop */
};

/* For every status, also one that this version does not know. */
struct rdma_wc_text rdma_wc_text(enum ibv_wc_status status);

#endif
