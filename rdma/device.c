/*
 * The RDMA devices of a transport: finding them, saying why there is none to use, checking settings
 * against their limits, and registering memory with them. Owns protection domains and completion
 * channels; the contexts belong to librdmacm. Runs on the transport's thread.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <rdma/rdma_cma.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "buffer.h"
#include "common/diag.h"
#include "common/log.h"
#include "common/memory.h"
#include "lane.h"
#include "link.h"
#include "transport.h"

#define CM_DEVICE        "/dev/infiniband/rdma_cm"
#define MESSAGE_MAX      (1u << 30)
#define HOW_TO_SOFT_ROCE "tools/rxe-setup.sh makes a soft-RoCE device on an ordinary interface"

const char *rdma_device_name(const struct rdma_device *device)
{
    return ibv_get_device_name(device->context->device);
}

bool rdma_device_arrival_by_send(const struct rdma_device *device)
{
    int arrival = device->transport->options->arrival;

    return arrival == RDMA_ARRIVAL_SEND || (arrival == RDMA_ARRIVAL_AUTO && device->iwarp);
}

bool rdma_device_key_by_window(const struct rdma_device *device)
{
    int key = device->transport->options->key;

    return key == RDMA_KEY_WINDOW || (key == RDMA_KEY_AUTO && device->windows);
}

/* ---- finding ------------------------------------------------------------------------------ */

/* Why there is no device: the kernel has none, or has one but not the way to it. */
static int explain_none(struct embar_diag *diag)
{
    int count = 0;
    struct ibv_device **list = ibv_get_device_list(&count);

    if (list != NULL)
        ibv_free_device_list(list);
    if (list == NULL || count == 0)
        return diag_fail(diag, ENOTSUP,
                         "this host has no RDMA device (`rdma link` shows none): "
                         "install an adapter "
                         "and its driver, or " HOW_TO_SOFT_ROCE);
    if (access(CM_DEVICE, R_OK | W_OK) < 0)
        return diag_fail(diag, ENOTSUP, "this host has %d RDMA device%s, but " CM_DEVICE " %s",
                         count, count == 1 ? "" : "s",
                         errno == ENOENT ? "is missing: load the module with `modprobe rdma_ucm`"
                                         : "may not be opened by this user: allow it to read and "
                                           "write that file");
    return diag_fail(diag, ENOTSUP,
                     "the %d RDMA device%s of this host cannot be opened: look "
                     "at the permissions of "
                     "/dev/infiniband/uverbs* and at the kernel's log",
                     count, count == 1 ? "" : "s");
}

/* Whether `name` is an item of the comma-separated list. */
static bool is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *item = list; item != NULL; item = strchr(item, ',')) {
        item += *item == ',' ? 1 : 0;
        if (strncmp(item, name, len) == 0 && (item[len] == ',' || item[len] == '\0'))
            return true;
    }
    return false;
}

static bool is_known(const struct rdma_transport *t, const char *name, size_t len)
{
    for (unsigned i = 0; i < t->device_count; i++) {
        const char *known = rdma_device_name(&t->devices[i]);
        if (strlen(known) == len && memcmp(known, name, len) == 0)
            return true;
    }
    return false;
}

/* Every name of the setting must be a device, or a misspelled one would go unnoticed. */
static int check_names(const struct rdma_transport *t, struct embar_diag *diag)
{
    const char *item = t->options->devices;

    while (*item != '\0') {
        size_t len = strcspn(item, ",");
        if (!is_known(t, item, len))
            return diag_fail(diag, EINVAL,
                             "rdma.devices: '%.*s' is not an RDMA device of this "
                             "host; `rdma link` "
                             "shows those that are",
                             (int)len, item);
        item += len;
        item += *item == ',' ? 1 : 0;
    }
    return 0;
}

static int device_init(struct rdma_device *device, struct ibv_context *context)
{
    struct ibv_port_attr port;

    device->context = context;
    if (ibv_query_device(context, &device->attr) != 0)
        return -EIO;
    device->iwarp = context->device->transport_type == IBV_TRANSPORT_IWARP;
    device->windows = (device->attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B) != 0 &&
                      device->attr.max_mw > 0;
    device->max_message_bytes = MESSAGE_MAX;
    for (uint8_t i = 1; i <= device->attr.phys_port_cnt; i++) {
        if (ibv_query_port(context, i, &port) == 0 && port.max_msg_sz > 0 &&
            port.max_msg_sz < device->max_message_bytes)
            device->max_message_bytes = port.max_msg_sz;
    }
    return 0;
}

static void find_devices(struct rdma_transport *t, struct ibv_context **contexts)
{
    const char *wanted = t->options->devices;

    for (; *contexts != NULL && t->device_count < RDMA_DEVICES_MAX; contexts++) {
        struct rdma_device *device = &t->devices[t->device_count];
        if (wanted[0] != '\0' && !is_listed(wanted, ibv_get_device_name((*contexts)->device)))
            continue;
        device->transport = t;
        device->index = t->device_count;
        if (device_init(device, *contexts) == 0)
            t->device_count++;
        else
            log_warn("rdma: device %s does not answer a query and is left out",
                     ibv_get_device_name((*contexts)->device));
    }
}

static bool has_active_port(const struct rdma_device *device)
{
    struct ibv_port_attr port;

    for (uint8_t i = 1; i <= device->attr.phys_port_cnt; i++) {
        if (ibv_query_port(device->context, i, &port) == 0 && port.state == IBV_PORT_ACTIVE)
            return true;
    }
    return false;
}

/* ---- putting to use ----------------------------------------------------------------------- */

static int check_limits(const struct rdma_device *device, struct embar_diag *diag)
{
    const struct rdma_options *o = device->transport->options;
    const char *name = rdma_device_name(device);
    uint32_t requests = rdma_lane_send_requests(device);
    int64_t completions = o->lanes * (requests + o->receive_depth);

    if (requests > (uint32_t)device->attr.max_qp_wr)
        return diag_fail(diag, EINVAL,
                         "rdma.send_queue_depth: %" PRId64 " writes need %" PRIu32
                         " work requests, but device %s allows %d per queue pair: set it lower",
                         o->send_queue_depth, requests, name, device->attr.max_qp_wr);
    if (o->receive_depth > device->attr.max_qp_wr)
        return diag_fail(diag, EINVAL,
                         "rdma.receive_depth: %" PRId64
                         " is more than the %d that device %s allows per queue "
                         "pair: set it lower",
                         o->receive_depth, device->attr.max_qp_wr, name);
    if (completions > device->attr.max_cqe)
        return diag_fail(diag, EINVAL,
                         "a link needs %" PRId64
                         " completion entries, but device %s allows %d: set "
                         "rdma.lanes, rdma.send_queue_depth or rdma.receive_depth lower",
                         completions, name, device->attr.max_cqe);
    if (o->key == RDMA_KEY_WINDOW && !device->windows)
        return diag_fail(diag, EINVAL,
                         "rdma.key: device %s has no memory windows that belong to "
                         "a queue pair: set "
                         "it to auto or region",
                         name);
    if (o->arrival == RDMA_ARRIVAL_IMMEDIATE && device->iwarp)
        return diag_fail(diag, EINVAL,
                         "rdma.arrival: device %s is iWARP and cannot write with "
                         "an immediate: set "
                         "it to auto or send",
                         name);
    return 0;
}

static int watch_channel(struct rdma_device *device)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = RDMA_WAKE_DEVICE + device->index};
    int fd = device->channel->fd;

    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ||
        epoll_ctl(device->transport->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    return 0;
}

static void device_release(struct rdma_device *device)
{
    if (device->channel != NULL)
        ibv_destroy_comp_channel(device->channel); /* closes the descriptor: epoll forgets it */
    if (device->pd != NULL && ibv_dealloc_pd(device->pd) != 0)
        log_error("rdma: the protection domain on %s is still in use", rdma_device_name(device));
    device->channel = NULL;
    device->pd = NULL;
}

static int device_use(struct rdma_device *device, struct embar_diag *diag)
{
    const char *name = rdma_device_name(device);
    int rc;

    if (device->pd != NULL)
        return 0;
    rc = check_limits(device, diag);
    if (rc < 0)
        return rc;
    device->pd = ibv_alloc_pd(device->context);
    if (device->pd == NULL)
        return diag_fail(diag, errno, "device %s gives no protection domain: %s", name,
                         strerror(errno));
    device->channel = ibv_create_comp_channel(device->context);
    rc = device->channel != NULL ? watch_channel(device) : -errno;
    if (rc < 0) {
        diag_fail(diag, -rc, "device %s gives no completion channel: %s", name, strerror(-rc));
        goto fail;
    }
    rc = rdma_buffers_register_on(device, diag);
    if (rc < 0)
        goto fail;
    log_info("rdma: device %s in use: keys by %s, arrivals by %s", name,
             rdma_device_key_by_window(device) ? "memory window" : "memory region",
             rdma_device_arrival_by_send(device) ? "send" : "immediate");
    return 0;

fail:
    device_release(device);
    return rc;
}

int rdma_devices_find(struct rdma_transport *t, struct embar_diag *diag)
{
    struct ibv_context **contexts = rdma_get_devices(NULL);
    int rc;

    if (contexts == NULL)
        return explain_none(diag);
    find_devices(t, contexts);
    rdma_free_devices(contexts);
    rc = check_names(t, diag);
    if (rc == 0 && t->device_count == 0)
        rc = explain_none(diag);
    return rc;
}

int rdma_devices_use(struct rdma_transport *t, struct embar_diag *diag)
{
    unsigned used = 0;
    int rc;

    for (unsigned i = 0; i < t->device_count; i++) {
        if (!has_active_port(&t->devices[i]))
            continue;
        rc = device_use(&t->devices[i], diag);
        if (rc < 0)
            goto fail;
        used++;
    }
    if (used > 0)
        return 0;
    rc = diag_fail(diag, ENOTSUP,
                   "no port of RDMA device %s%s is active: bring the interface "
                   "up (`ip link set DEV "
                   "up`) and look at the cable; `rdma link` shows the state",
                   rdma_device_name(&t->devices[0]), t->device_count > 1 ? " or another" : "");
fail:
    rdma_devices_close(t);
    return rc;
}

void rdma_devices_close(struct rdma_transport *t)
{
    for (unsigned i = 0; i < t->device_count; i++)
        device_release(&t->devices[i]);
    t->device_count = 0;
}

int rdma_device_for(struct rdma_transport *t, struct ibv_context *context,
                    struct rdma_device **device, struct embar_diag *diag)
{
    for (unsigned i = 0; i < t->device_count; i++) {
        if (t->devices[i].context == context) {
            *device = &t->devices[i];
            return device_use(*device, diag);
        }
    }
    return diag_fail(diag, ENODEV, "the address belongs to RDMA device %s, which %s",
                     ibv_get_device_name(context->device),
                     t->options->devices[0] != '\0'
                         ? "rdma.devices leaves out"
                         : "appeared after the transport was opened: open it again");
}

/* ---- memory ------------------------------------------------------------------------------- */

int rdma_device_register(struct rdma_device *device, void *addr, size_t len_bytes, uint64_t iova,
                         unsigned access, struct rdma_link *link, struct ibv_mr **mr,
                         struct embar_diag *diag)
{
    struct ibv_mr *made;
    int rc;

    rc = memory_lock_check(len_bytes, diag);
    if (rc < 0)
        return rc;
    made = ibv_reg_mr_iova2(device->pd, addr, len_bytes, iova, access);
    if (made == NULL) {
        rc = errno;
        return diag_fail(diag, rc, "device %s refuses to register %zu bytes: %s%s",
                         rdma_device_name(device), len_bytes, strerror(rc),
                         rc == ENOMEM ? "; RLIMIT_MEMLOCK (`ulimit -l`) may be too low, or the "
                                        "device's table of memory regions full"
                                      : "");
    }
    if (link != NULL)
        rdma_link_count_registration(link);
    *mr = made;
    return 0;
}

uint64_t rdma_device_rnr_count(const struct rdma_device *device, unsigned port)
{
    /* rxe's name and mlx5's. */
    static const char *const names[] = {"rcvd_rnr_err", "rnr_nak_retry_err"};
    uint64_t count = 0;
    char path[256];
    FILE *file;

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/%u/hw_counters/%s",
                 rdma_device_name(device), port, names[i]);
        file = fopen(path, "re");
        if (file == NULL)
            continue;
        if (fscanf(file, "%" SCNu64, &count) != 1)
            count = 0;
        fclose(file);
        break;
    }
    return count;
}
