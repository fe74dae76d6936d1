/*
 * The side that answers: requests for links and for further lanes of a link, acceptance and
 * refusal. What a request says is checked before anything is made for it. Runs on the transport's
 * thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cm.h"
#include "common/address.h"
#include "common/diag.h"
#include "common/log.h"
#include "transport.h"

static void send_rejection(struct rdma_cm_id *id, const char *reason)
{
    uint8_t data[RDMA_REJECT_BYTES];
    char text[RDMA_REJECT_TEXT_BYTES + 1];

    snprintf(text, sizeof(text), "%s", reason);
    if (rdma_reject(id, data, (uint8_t)rdma_reject_pack(text, data)) != 0)
        log_debug("rdma: a rejection could not be sent: %s", strerror(errno));
}

/* A request that no link exists for. */
static void turn_away(struct rdma_cm_id *id, const char *reason)
{
    char peer[ADDRESS_BYTES];
    const struct sockaddr *from = rdma_get_peer_addr(id);

    address_format(from,
                   from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                               : sizeof(struct sockaddr_in),
                   peer, sizeof(peer));
    log_warn("rdma: a request from %s is turned away: %s", peer, reason);
    send_rejection(id, reason);
    rdma_destroy_id(id);
}

/* ---- accepting ---------------------------------------------------------------------------- */

static int answer(struct rdma_lane *lane, uint8_t flags, struct embar_diag *diag)
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
        .rnr_retry_count = (uint8_t)o->rnr_retry, /* governs the peer */
        .qp_num = lane->qp->qp_num,
    };

    rdma_lane_hello(lane, &hello);
    hello.flags = flags;
    rdma_hello_pack(&hello, data);
    if (rdma_accept(lane->id, &param) != 0)
        return diag_fail(diag, errno, "the connection manager cannot accept: %s", strerror(errno));
    return 0;
}

static int accept_lane(struct rdma_lane *lane, const struct rdma_hello *peer, uint8_t flags,
                       struct embar_diag *diag)
{
    struct rdma_link *l = lane->link;
    int rc = 0;

    if (l->cq == NULL)
        rc = rdma_link_open_queue(l, diag);
    if (rc == 0)
        rc = rdma_lane_open(lane, diag);
    if (rc < 0)
        return rc;
    rc = rdma_lane_ready(lane, peer, diag);
    if (rc == 0)
        rc = answer(lane, flags, diag);
    if (rc < 0)
        rdma_lane_release(lane);
    return rc;
}

int rdma_link_accept(struct embar_link *link)
{
    struct rdma_link *l = link_private(link);
    struct embar_diag diag = {0};
    int rc;

    rc = accept_lane(&l->lanes[0], &l->peer, 0, &diag);
    if (rc < 0) {
        log_error("link %" PRIu64 ": cannot be accepted: %s", embar_link_id(link), diag.text);
        return rc;
    }
    l->phase = RDMA_LINK_CONNECTING;
    l->deadline_ns = rdma_now(l->t) + l->t->options->connect_timeout_ns;
    return 0;
}

/* A rejection carries 140 bytes of reason; a longer one is told over a connection that is made for
 * it alone. */
int rdma_link_reject(struct embar_link *link, const char *reason)
{
    struct rdma_link *l = link_private(link);
    struct embar_diag diag = {0};

    snprintf(l->reason, sizeof(l->reason), "%s", reason);
    if (strlen(reason) > RDMA_REJECT_TEXT_BYTES) {
        l->lane_count = 1;
        if (accept_lane(&l->lanes[0], &l->peer, RDMA_HELLO_REFUSES, &diag) == 0) {
            l->phase = RDMA_LINK_REFUSING;
            l->deadline_ns = rdma_now(l->t) + l->t->options->connect_timeout_ns;
            return 0;
        }
        log_warn("link %" PRIu64 ": the reason of its refusal is cut: %s", embar_link_id(link),
                 diag.text);
    }
    send_rejection(l->lanes[0].id, l->reason);
    rdma_link_stop(l, 0, "refused: %s", l->reason);
    return 0;
}

/* ---- requests ----------------------------------------------------------------------------- */

static const char *explain_hello(int rc)
{
    return rc == -EPROTONOSUPPORT ? "this end speaks version 1 of the rdma protocol: use the same "
                                    "release on both ends"
                                  : "the request is not of this program's rdma transport";
}

static void take_peer_address(struct rdma_link *l, struct rdma_cm_id *id)
{
    const struct sockaddr *from = rdma_get_peer_addr(id);
    char peer[ADDRESS_BYTES];

    address_format(from,
                   from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                               : sizeof(struct sockaddr_in),
                   peer, sizeof(peer));
    link_set_peer(l->link, peer);
}

static void new_link(struct rdma_listen *listen, struct rdma_cm_id *id,
                     const struct rdma_hello *hello)
{
    struct rdma_transport *t = listen->t;
    struct embar_diag diag = {0};
    struct rdma_device *device;
    struct embar_link *link;
    struct rdma_link *l;

    if (rdma_device_for(t, id->verbs, &device, &diag) < 0) {
        turn_away(id, diag.text);
        return;
    }
    link = listen->listener != NULL ? core_link_requested(listen->listener) : NULL;
    if (link == NULL) {
        turn_away(id, "nobody takes requests there any more");
        return;
    }
    l = link_private(link);
    rdma_link_init(l, link, t, RDMA_LINK_REQUESTED);
    l->device = device;
    l->peer = *hello;
    l->wire_id = hello->link_id;
    l->lane_count = hello->lanes;
    if (l->lane_count > (unsigned)t->options->lanes)
        l->lane_count = (unsigned)t->options->lanes;
    if (l->lane_count > 1) {
        l->listen = listen;
        listen->references++;
    }
    l->lanes[0].id = id;
    id->context = &l->lanes[0];
    take_peer_address(l, id);
}

static struct rdma_link *find_link(struct rdma_transport *t, const struct rdma_hello *hello)
{
    struct rdma_link *l;

    LIST_FOREACH(l, &t->links, node)
    {
        if (!l->active && l->phase == RDMA_LINK_CONNECTING && l->wire_id == hello->link_id)
            return l;
    }
    return NULL;
}

static void further_lane(struct rdma_transport *t, struct rdma_cm_id *id,
                         const struct rdma_hello *hello)
{
    struct rdma_link *l = find_link(t, hello);
    struct embar_diag diag = {0};
    struct rdma_lane *lane;
    int rc;

    if (l == NULL || hello->lanes != l->lane_count || l->lanes[hello->lane].id != NULL ||
        id->verbs != l->device->context) {
        turn_away(id, "the lane belongs to no link that waits for it");
        return;
    }
    lane = &l->lanes[hello->lane];
    lane->id = id;
    id->context = lane;
    rc = accept_lane(lane, hello, 0, &diag);
    if (rc < 0) {
        send_rejection(id, diag.text);
        rdma_link_stop(l, rc, "lane %u cannot be accepted: %s", lane->index, diag.text);
    }
}

void rdma_accept_request(struct rdma_transport *t, const struct rdma_note *note)
{
    struct rdma_listen *listen = note->listen_id->context;
    struct rdma_hello hello;
    int rc;

    rc = rdma_hello_unpack(note->data, note->len_bytes, &hello);
    if (rc < 0)
        turn_away(note->id, explain_hello(rc));
    else if (hello.message_bytes < RDMA_MESSAGE_BYTES || hello.flags != 0)
        turn_away(note->id, "the request asks for what this end does not do");
    else if (hello.lane == 0)
        new_link(listen, note->id, &hello);
    else
        further_lane(t, note->id, &hello);
}
