/* The data path of the rdma backend. */
#ifndef RDMA_DATA_H
#define RDMA_DATA_H

#include "transport/backend.h"

extern const struct backend_data_ops rdma_data_ops;

#endif
