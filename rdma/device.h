/*
 * The RDMA devices of a transport. All that the settings allow are known from the start; one is put
 * to use (a protection domain, a completion channel, every buffer registered) when the transport
 * opens if it has an active port, or else before the first link that runs over it comes up. So a
 * buffer is registered once per device and never on the data path.
 */
#ifndef RDMA_DEVICE_H
#define RDMA_DEVICE_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <embar/diag.h>

#define RDMA_DEVICES_MAX 16

struct rdma_transport;
struct rdma_link;

struct rdma_device {
    struct rdma_transport *transport; /* borrowed */
    struct ibv_context *context;      /* shared: librdmacm keeps it open for the whole process */
    struct ibv_pd *pd;                /* owned; NULL: not in use */
    struct ibv_comp_channel *channel; /* owned; non-blocking, in the transport's epoll set */
    struct ibv_device_attr attr;
    unsigned index; /* in the transport's table */
    bool iwarp;     /* no write with immediate; the kernel moves the queue pair's states */
    bool windows;   /* memory windows that belong to one queue pair */
    size_t max_message_bytes; /* of the port that takes the least */
};

/* Finds the devices that the settings allow. -ENOTSUP: there is none, or the kernel lacks the way
 * to it; -EINVAL: the settings name one that is not there. */
int rdma_devices_find(struct rdma_transport *t, struct embar_diag *diag);

/* Puts those with an active port to use. -ENOTSUP: no port is active; -EINVAL: the settings ask
 * more than a device has. */
int rdma_devices_use(struct rdma_transport *t, struct embar_diag *diag);
void rdma_devices_close(struct rdma_transport *t);

/* The device of a CM id, put to use. -ENODEV: the settings exclude it or it came after the
 * transport was opened; or what putting it to use fails with. */
int rdma_device_for(struct rdma_transport *t, struct ibv_context *context,
                    struct rdma_device **device, struct embar_diag *diag);

const char *rdma_device_name(const struct rdma_device *device);

/* Whether arrivals are announced with a message behind the write. */
bool rdma_device_arrival_by_send(const struct rdma_device *device);

/* Whether exposures are memory windows. */
bool rdma_device_key_by_window(const struct rdma_device *device);

/*
 * Registers memory under the address `iova`, after a look at RLIMIT_MEMLOCK. The one place that
 * does: `link` (nullable) is the link on whose behalf it happens, which counts it when it is up
 * already.
 */
int rdma_device_register(struct rdma_device *device, void *addr, size_t len_bytes, uint64_t iova,
                         unsigned access, struct rdma_link *link, struct ibv_mr **mr,
                         struct embar_diag *diag);

/* Receiver-not-ready NAKs that the device has received on that port for anybody, as its driver
 * counts; 0 where it does not count. Reads sysfs. */
uint64_t rdma_device_rnr_count(const struct rdma_device *device, unsigned port);

#endif
