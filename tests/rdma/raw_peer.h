/*
 * A peer that speaks verbs directly and so can say what this program's own rdma backend never
 * would: wrong private data, wrong messages, writes with any key to any address. For tests of what
 * the other end makes of it. One thread; nothing blocks for long.
 */
#ifndef RDMA_RAW_PEER_H
#define RDMA_RAW_PEER_H

#include <rdma/rdma_cma.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_MEMORY_BYTES (1u << 20)
#define RAW_RECEIVES     16u

struct raw_peer {
    struct rdma_event_channel *channel; /* owned, as all below */
    struct rdma_cm_id *id;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_mr *mr;
    uint8_t *memory; /* the first half is sent from, the second received into */
    bool established, rejected, disconnected, failed;
    uint8_t answer[256]; /* private data of the answer or rejection */
    size_t answer_bytes;
    unsigned completions;
    enum ibv_wc_status last_status;
    const void *hello; /* borrowed until the request is out */
    uint8_t hello_bytes;
};

/* Begins to connect to a numerical IP address; `hello` is the private data of the request. */
void raw_connect(struct raw_peer *raw, const char *host, const char *port, const void *hello,
                 size_t hello_bytes);

/* Handles what has come. */
void raw_step(struct raw_peer *raw);

void raw_close(struct raw_peer *raw);

/* Posts one work request with a completion. The bytes are copied. */
void raw_send(struct raw_peer *raw, const void *data, size_t len_bytes);
void raw_write(struct raw_peer *raw, enum ibv_wr_opcode opcode, uint64_t remote_addr, uint32_t rkey,
               size_t len_bytes);

#endif
