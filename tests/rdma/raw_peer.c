/*
 * A peer that speaks verbs directly: see raw_peer.h.
 */
#include "raw_peer.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define QUEUE      64
#define TIMEOUT_MS 5000

void raw_connect(struct raw_peer *raw, const char *host, const char *port, const void *hello,
                 size_t hello_bytes)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *list;

    *raw = (struct raw_peer){.hello = hello, .hello_bytes = (uint8_t)hello_bytes};
    assert_int_equal(getaddrinfo(host, port, &hints, &list), 0);
    raw->channel = rdma_create_event_channel();
    assert_non_null(raw->channel);
    assert_int_equal(fcntl(raw->channel->fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(rdma_create_id(raw->channel, &raw->id, raw, RDMA_PS_TCP), 0);
    assert_int_equal(rdma_resolve_addr(raw->id, NULL, list->ai_addr, TIMEOUT_MS), 0);
    freeaddrinfo(list);
}

static void open_queue_pair(struct raw_peer *raw)
{
    struct ibv_qp_init_attr attr = {
        .cap = {.max_send_wr = QUEUE, .max_recv_wr = QUEUE, .max_send_sge = 1, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC,
    };

    raw->pd = ibv_alloc_pd(raw->id->verbs);
    raw->cq = ibv_create_cq(raw->id->verbs, 2 * QUEUE, NULL, NULL, 0);
    raw->memory = aligned_alloc(4096, RAW_MEMORY_BYTES);
    assert_non_null(raw->memory);
    memset(raw->memory, 0xEE, RAW_MEMORY_BYTES);
    raw->mr = ibv_reg_mr(raw->pd, raw->memory, RAW_MEMORY_BYTES, IBV_ACCESS_LOCAL_WRITE);
    assert_non_null(raw->mr);
    attr.send_cq = attr.recv_cq = raw->cq;
    assert_int_equal(rdma_create_qp(raw->id, raw->pd, &attr), 0);
    for (unsigned i = 0; i < RAW_RECEIVES; i++) {
        struct ibv_sge sge = {(uintptr_t)raw->memory + RAW_MEMORY_BYTES / 2 + i * 4096, 4096,
                              raw->mr->lkey};
        struct ibv_recv_wr wr = {.wr_id = 1000 + i, .sg_list = &sge, .num_sge = 1}, *bad;
        assert_int_equal(ibv_post_recv(raw->id->qp, &wr, &bad), 0);
    }
}

static void request(struct raw_peer *raw)
{
    struct rdma_conn_param param = {
        .private_data = raw->hello,
        .private_data_len = raw->hello_bytes,
        .responder_resources = 1,
        .initiator_depth = 1,
        .retry_count = 7,
        .rnr_retry_count = 7,
    };

    open_queue_pair(raw);
    assert_int_equal(rdma_connect(raw->id, &param), 0);
}

static void keep_answer(struct raw_peer *raw, const struct rdma_cm_event *event)
{
    raw->answer_bytes = event->param.conn.private_data_len;
    if (raw->answer_bytes > 0)
        memcpy(raw->answer, event->param.conn.private_data, raw->answer_bytes);
}

static void take(struct raw_peer *raw, const struct rdma_cm_event *event)
{
    switch (event->event) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        assert_int_equal(rdma_resolve_route(raw->id, TIMEOUT_MS), 0);
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        request(raw);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        keep_answer(raw, event);
        raw->established = true;
        break;
    case RDMA_CM_EVENT_REJECTED:
        keep_answer(raw, event);
        raw->rejected = true;
        break;
    case RDMA_CM_EVENT_DISCONNECTED:
        raw->disconnected = true;
        break;
    case RDMA_CM_EVENT_TIMEWAIT_EXIT:
        break;
    default:
        raw->failed = true;
        break;
    }
}

void raw_step(struct raw_peer *raw)
{
    struct rdma_cm_event *event;
    struct ibv_wc wc;

    while (raw->channel != NULL && rdma_get_cm_event(raw->channel, &event) == 0) {
        take(raw, event);
        rdma_ack_cm_event(event);
    }
    while (raw->cq != NULL && ibv_poll_cq(raw->cq, 1, &wc) > 0) {
        if (wc.wr_id >= 1000) /* a receive */
            continue;
        raw->completions++;
        raw->last_status = wc.status;
    }
}

void raw_close(struct raw_peer *raw)
{
    if (raw->id != NULL && raw->id->qp != NULL)
        rdma_destroy_qp(raw->id);
    if (raw->mr != NULL)
        ibv_dereg_mr(raw->mr);
    if (raw->cq != NULL)
        ibv_destroy_cq(raw->cq);
    if (raw->pd != NULL)
        ibv_dealloc_pd(raw->pd);
    if (raw->id != NULL)
        rdma_destroy_id(raw->id);
    if (raw->channel != NULL)
        rdma_destroy_event_channel(raw->channel);
    free(raw->memory);
    *raw = (struct raw_peer){0};
}

static void post(struct raw_peer *raw, struct ibv_send_wr *wr, size_t len_bytes)
{
    struct ibv_sge sge = {(uintptr_t)raw->memory, (uint32_t)len_bytes, raw->mr->lkey};
    struct ibv_send_wr *bad;

    wr->sg_list = &sge;
    wr->num_sge = len_bytes > 0 ? 1 : 0;
    wr->send_flags = IBV_SEND_SIGNALED;
    assert_int_equal(ibv_post_send(raw->id->qp, wr, &bad), 0);
}

void raw_send(struct raw_peer *raw, const void *data, size_t len_bytes)
{
    struct ibv_send_wr wr = {.opcode = IBV_WR_SEND};

    assert_true(len_bytes <= RAW_MEMORY_BYTES / 2);
    memcpy(raw->memory, data, len_bytes);
    post(raw, &wr, len_bytes);
}

void raw_write(struct raw_peer *raw, enum ibv_wr_opcode opcode, uint64_t remote_addr, uint32_t rkey,
               size_t len_bytes)
{
    struct ibv_send_wr wr = {.opcode = opcode, .imm_data = 7};

    wr.wr.rdma.remote_addr = remote_addr;
    wr.wr.rdma.rkey = rkey;
    post(raw, &wr, len_bytes);
}
