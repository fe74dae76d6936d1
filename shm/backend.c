/*
 * The shm backend as core sees it. Constant.
 */
#include "shm.h"

extern const struct backend backend_shm;

const struct backend backend_shm = {
    .name = "shm",
    .summary = "shared memory between processes of one host",
    .options = &shm_options,
    .settings_size = sizeof(struct shm_settings),
    .caps =
        {
            .name = "shm",
            .flags = EMBAR_CAP_ORDERED | EMBAR_CAP_ONE_SIDED | EMBAR_CAP_MAPPED,
            .max_writes = SHM_MAX_WRITES,
            .max_write_bytes = (size_t)1 << 30,
            .max_send_bytes = SHM_PAYLOAD,
        },
    .shareable_buffers = true,
    .transport_size = sizeof(struct shm_transport),
    .listener_size = sizeof(struct shm_listener),
    .link_size = sizeof(struct shm_link),
    .loan_size = sizeof(struct shm_loan),
    .transport = &shm_transport_ops,
    .listener = &shm_listener_ops,
    .link = &shm_link_ops,
    .buffer = &shm_buffer_ops,
    .data = &shm_data_ops,
    .loan = &shm_loan_ops,
};
