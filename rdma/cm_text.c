/*
 * Sentences for what the connection manager reports. Pure.
 */
#include "cm_text.h"

#include <errno.h>
#include <stddef.h>

/* Reasons of the InfiniBand CM that a peer or its kernel gives in practice. */
enum {
    REJ_NO_QP = 1,
    REJ_NO_RESOURCES = 3,
    REJ_TIMEOUT = 4,
    REJ_UNSUPPORTED = 5,
    REJ_INVALID_SERVICE_ID = 8,
    REJ_STALE_CONN = 10,
    REJ_INVALID_GID = 12,
    REJ_INVALID_MTU = 26,
    REJ_INSUFFICIENT_RESP_RESOURCES = 27,
    REJ_CONSUMER_DEFINED = 28,
    REJ_INVALID_RNR_RETRY = 29,
};

static const struct rdma_cm_text rejections[] = {
    [REJ_NO_QP] = {ECONNREFUSED, "the peer's kernel has no queue pair left"},
    [REJ_NO_RESOURCES] = {ECONNREFUSED, "the peer's kernel has no resources left for a connection"},
    [REJ_TIMEOUT] = {ETIMEDOUT, "the peer's kernel gave up waiting: its program did not answer in "
                                "time, or packets are lost between the hosts"},
    [REJ_UNSUPPORTED] = {ECONNREFUSED, "the peer's kernel does not support the request"},
    [REJ_INVALID_SERVICE_ID] =
        {ECONNREFUSED, "nobody listens there over RDMA: start the peer's program, or check "
                       "address, port and transport"},
    [REJ_STALE_CONN] = {EAGAIN, "the peer's kernel still remembers an earlier connection with the "
                                "same numbers: try again"},
    [REJ_INVALID_GID] = {ECONNREFUSED, "the peer's kernel does not know the address (GID) under "
                                       "which it was asked"},
    [REJ_INVALID_MTU] = {ECONNREFUSED, "the peer's port does not carry the path MTU asked for: set "
                                       "rdma.path_mtu lower"},
    [REJ_INSUFFICIENT_RESP_RESOURCES] = {ECONNREFUSED,
                                         "the peer's device has not the resources asked for"},
    [REJ_CONSUMER_DEFINED] = {ECONNREFUSED,
                              "the peer's program refused without a reason that can be read"},
    [REJ_INVALID_RNR_RETRY] = {ECONNREFUSED, "the peer's kernel does not take rdma.rnr_retry"},
};

struct rdma_cm_text rdma_reject_text(int status)
{
    static const struct rdma_cm_text unknown = {
        ECONNREFUSED, "the peer's kernel refused for a reason that this version does not know"};

    if (status == -ECONNREFUSED || status == ECONNREFUSED)
        return rejections[REJ_INVALID_SERVICE_ID];
    if ((size_t)status >= sizeof(rejections) / sizeof(rejections[0]) ||
        rejections[status].sentence == NULL)
        return unknown;
    return rejections[status];
}

struct rdma_cm_text rdma_resolve_text(int error)
{
    switch (error) {
    case ENODEV:
    case EADDRNOTAVAIL:
    case ENXIO:
        return (struct rdma_cm_text){error, "no RDMA device of this host reaches that "
                                            "address: the interface that the route "
                                            "to it uses is none of `rdma link`'s"};
    case ENETUNREACH:
    case EHOSTUNREACH:
        return (struct rdma_cm_text){error, "there is no way to that address: `ip "
                                            "route get` shows what is missing"};
    case ETIMEDOUT:
        return (struct rdma_cm_text){error, "no neighbour answers for that address within "
                                            "rdma.resolve_timeout: is the host up?"};
    default:
        return (struct rdma_cm_text){error != 0 ? error : EHOSTUNREACH,
                                     "the way to that address cannot be resolved"};
    }
}
