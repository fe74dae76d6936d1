/*
 * The side that asks: address, route, queue pair, request, and what the answer says. Further lanes
 * follow when the first one is established. Runs on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cm.h"
#include "cm_text.h"
#include "common/address.h"
#include "common/diag.h"
#include "common/log.h"
#include "transport.h"

/* ---- addresses ---------------------------------------------------------------------------- */

static void keep_targets(struct rdma_link *l, const struct addrinfo *list)
{
    for (; list != NULL && l->target_count < RDMA_TARGETS_MAX; list = list->ai_next) {
        if (list->ai_addrlen <= sizeof(l->targets[0]))
            memcpy(&l->targets[l->target_count++], list->ai_addr, list->ai_addrlen);
    }
}

/* The local address of the settings, if any; -EAFNOSUPPORT when it is of another family. */
static int find_source(const struct rdma_transport *t, int family, struct sockaddr_storage *source,
                       struct embar_diag *diag)
{
    const char *text = t->options->source;
    char address[OPTION_STRING_BYTES + 8];
    struct addrinfo *list;
    int rc = -EAFNOSUPPORT;

    snprintf(address, sizeof(address), strchr(text, ':') != NULL ? "[%s]:0" : "%s:0", text);
    if (address_resolve(address, true, &list, diag) < 0)
        return -EINVAL;
    for (const struct addrinfo *a = list; a != NULL && rc < 0; a = a->ai_next) {
        if (a->ai_family == family) {
            memcpy(source, a->ai_addr, a->ai_addrlen);
            rc = 0;
        }
    }
    freeaddrinfo(list);
    if (rc < 0)
        diag_fail(diag, EAFNOSUPPORT, "rdma.source %s is of another address family than the peer",
                  text);
    return rc;
}

static int resolve_failed(int error, struct embar_diag *diag)
{
    struct rdma_cm_text text = rdma_resolve_text(error);

    return diag_fail(diag, text.error, "%s", text.sentence);
}

/* Begins with the lane's id: to the link's present target. */
static int begin(struct rdma_lane *lane, struct embar_diag *diag)
{
    struct rdma_link *l = lane->link;
    const struct rdma_options *o = l->t->options;
    struct sockaddr *target = (struct sockaddr *)&l->targets[l->target];
    struct sockaddr_storage source;
    uint8_t tos = (uint8_t)o->traffic_class;
    int timeout_ms = (int)(o->resolve_timeout_ns / NS_PER_MS);
    int rc;

    if (o->source[0] != '\0') {
        rc = find_source(l->t, target->sa_family, &source, diag);
        if (rc < 0)
            return rc;
    }
    if (rdma_create_id(l->t->cm, &lane->id, lane, RDMA_PS_TCP) != 0) {
        lane->id = NULL;
        return diag_fail(diag, errno, "the connection manager gives no identifier: %s",
                         strerror(errno));
    }
    /* Before the route is resolved: the CM's own packets carry it too. */
    if (o->traffic_class >= 0 &&
        rdma_set_option(lane->id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos, sizeof(tos)) != 0)
        log_warn("rdma.traffic_class: the connection manager does not take it: %s",
                 strerror(errno));
    if (rdma_resolve_addr(lane->id, o->source[0] != '\0' ? (struct sockaddr *)&source : NULL,
                          target, timeout_ms) != 0) {
        rc = resolve_failed(errno, diag);
        rdma_lane_close(lane);
        return rc;
    }
    return 0;
}

/* Tries the targets in turn until one can be begun with. */
static int begin_any(struct rdma_lane *lane, struct embar_diag *diag)
{
    struct rdma_link *l = lane->link;
    int rc = -EHOSTUNREACH;

    for (; l->target < l->target_count; l->target++) {
        rc = begin(lane, diag);
        if (rc == 0)
            break;
    }
    return rc;
}

int rdma_link_connect(struct embar_link *link, const char *address, struct embar_diag *diag)
{
    struct rdma_transport *t = transport_private(embar_link_transport(link));
    struct rdma_link *l = link_private(link);
    struct addrinfo *list;
    int rc;

    rc = address_resolve(address, false, &list, diag);
    if (rc < 0)
        return rc;
    rdma_link_init(l, link, t, RDMA_LINK_CONNECTING);
    keep_targets(l, list);
    freeaddrinfo(list);
    l->active = true;
    l->lane_count = (unsigned)t->options->lanes;
    l->wire_id = env_random(transport_env(t->transport));
    rc = begin_any(&l->lanes[0], diag);
    if (rc < 0) {
        LIST_REMOVE(l, node);
        if (diag != NULL)
            diag_prefix(diag, "cannot connect to %s over RDMA", address);
    }
    return rc;
}

void rdma_connect_lane(struct rdma_link *l, unsigned index)
{
    struct embar_diag diag = {0};
    int rc = begin(&l->lanes[index], &diag);

    if (rc < 0)
        rdma_link_stop(l, rc, "lane %u: %s", index, diag.text);
}

void rdma_connect_addr_failed(struct rdma_lane *lane, int error)
{
    struct rdma_link *l = lane->link;
    struct embar_diag diag = {0};
    int rc = resolve_failed(error, &diag);

    rdma_lane_close(lane);
    if (lane->index == 0 && ++l->target < l->target_count)
        rc = begin_any(lane, &diag);
    if (rc < 0)
        rdma_link_stop(l, rc, "%s", diag.text);
}

/* ---- device and route --------------------------------------------------------------------- */

static int take_device(struct rdma_lane *lane, struct embar_diag *diag)
{
    struct rdma_link *l = lane->link;
    struct rdma_device *device;
    int rc;

    rc = rdma_device_for(l->t, lane->id->verbs, &device, diag);
    if (rc < 0)
        return rc;
    if (l->device != NULL && l->device != device)
        return diag_fail(diag, EHOSTUNREACH, "lane %u leads over device %s, the others over %s",
                         lane->index, rdma_device_name(device), rdma_device_name(l->device));
    l->device = device;
    return 0;
}

void rdma_connect_addr_resolved(struct rdma_lane *lane)
{
    struct rdma_link *l = lane->link;
    struct embar_diag diag = {0};
    int rc;

    rc = take_device(lane, &diag);
    if (rc < 0)
        rdma_link_stop(l, rc, "%s", diag.text);
    else if (rdma_resolve_route(lane->id, (int)(l->t->options->resolve_timeout_ns / NS_PER_MS)) !=
             0)
        rdma_link_stop(l, -errno, "no RDMA route: %s", strerror(errno));
}

static int request(struct rdma_lane *lane, struct embar_diag *diag)
{
    const struct rdma_options *o = lane->link->t->options;
    uint8_t data[RDMA_HELLO_BYTES];
    struct rdma_hello hello;
    struct rdma_conn_param param = {
        .private_data = data,
        .private_data_len = sizeof(data),
        .responder_resources = 1,
        .initiator_depth = 1,
        .flow_control = 1,
        .retry_count = (uint8_t)o->retry_count,
        .rnr_retry_count = (uint8_t)o->rnr_retry,
        .qp_num = lane->qp->qp_num,
    };

    rdma_lane_hello(lane, &hello);
    rdma_hello_pack(&hello, data);
    if (rdma_connect(lane->id, &param) != 0)
        return diag_fail(diag, errno, "the connection manager cannot connect: %s", strerror(errno));
    return 0;
}

void rdma_connect_route_resolved(struct rdma_lane *lane)
{
    struct rdma_link *l = lane->link;
    struct embar_diag diag = {0};
    int rc = 0;

    if (l->cq == NULL)
        rc = rdma_link_open_queue(l, &diag);
    if (rc == 0)
        rc = rdma_lane_open(lane, &diag);
    if (rc == 0)
        rc = request(lane, &diag);
    if (rc < 0)
        rdma_link_stop(l, rc, "%s", diag.text);
}

/* ---- the answer --------------------------------------------------------------------------- */

/* The first answer says how many lanes there will be. */
static int check_answer(struct rdma_lane *lane, const struct rdma_note *note,
                        struct rdma_hello *hello, struct embar_diag *diag)
{
    struct rdma_link *l = lane->link;
    int rc = rdma_hello_unpack(note->data, note->len_bytes, hello);

    if (rc == -EPROTONOSUPPORT)
        return diag_fail(diag, EPROTONOSUPPORT,
                         "the peer speaks another version of the rdma protocol than %d: use the "
                         "same release on both ends",
                         RDMA_PROTOCOL_VERSION);
    if (rc < 0)
        return diag_fail(diag, EPROTO, "what listens there is not this program's rdma transport");
    if (hello->link_id != l->wire_id || hello->lane != lane->index ||
        hello->lanes > l->lane_count || (lane->index > 0 && hello->lanes != l->lane_count))
        return diag_fail(diag, EPROTO,
                         "the peer broke the protocol: its answer is to another "
                         "request");
    if (hello->message_bytes < RDMA_MESSAGE_BYTES)
        return diag_fail(diag, EPROTO, "the peer takes control messages of %u bytes only, not %u",
                         hello->message_bytes, RDMA_MESSAGE_BYTES);
    return 0;
}

void rdma_connect_answered(struct rdma_lane *lane, const struct rdma_note *note)
{
    struct rdma_link *l = lane->link;
    struct embar_diag diag = {0};
    struct rdma_hello hello;
    int rc;

    if (l->phase != RDMA_LINK_CONNECTING || lane->established || lane->qp == NULL)
        return;
    rc = check_answer(lane, note, &hello, &diag);
    if (rc < 0)
        goto fail;
    l->lane_count = hello.lanes;
    rc = rdma_lane_ready(lane, &hello, &diag);
    if (rc < 0)
        goto fail;
    if (!l->device->iwarp && rdma_establish(lane->id) != 0) {
        rc = diag_fail(&diag, errno, "the connection manager cannot establish the connection: %s",
                       strerror(errno));
        goto fail;
    }
    if (lane->index == 0 && (hello.flags & RDMA_HELLO_REFUSES) != 0)
        l->phase = RDMA_LINK_REFUSED;
    rdma_link_lane_established(lane);
    return;

fail:
    rdma_link_stop(l, rc, "%s", diag.text);
}
