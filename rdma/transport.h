/*
 * The rdma backend's part of a transport: the CM event channel, the devices, and the lists of links
 * and buffers. Everything in this folder runs on the transport's one thread.
 */
#ifndef RDMA_TRANSPORT_H
#define RDMA_TRANSPORT_H

#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "device.h"
#include "options.h"
#include "transport/backend.h"

struct rdma_link;
struct rdma_buffer;

/* What an epoll event is about; devices count from RDMA_WAKE_DEVICE. */
enum rdma_wake { RDMA_WAKE_CM, RDMA_WAKE_TIMER, RDMA_WAKE_DEVICE };

struct rdma_transport {
    struct embar_transport *transport;  /* borrowed */
    const struct rdma_options *options; /* borrowed */
    struct rdma_event_channel *cm;      /* owned */
    int epoll_fd, timer_fd;             /* owned */
    struct rdma_device devices[RDMA_DEVICES_MAX];
    unsigned device_count;
    LIST_HEAD(, rdma_link) links;     /* from the first step until they are down */
    LIST_HEAD(, rdma_buffer) buffers; /* registered */
    uint64_t looked_ns;               /* when the descriptors were last looked at */
    bool armed;                       /* the caller may have slept since then */
    bool lost;                        /* core has been told, and reports no more */
    bool worked;                      /* completions came since the last arm */
    uint64_t last_work_ns;            /* when arm last saw that there had been some */
    uint64_t timer_ns;                /* what the timer is set to; 0: not set */
};

static inline uint64_t rdma_now(const struct rdma_transport *t)
{
    return env_now_ns(transport_env(t->transport));
}

static inline uint64_t rdma_ms(uint64_t duration_ns)
{
    return duration_ns / NS_PER_MS;
}

#endif
