/* Any bytes as private data of a request, answer or rejection, or as a control message: refused, or
 * something that packs to the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "rdma/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static void try_hello(const uint8_t *data, size_t size)
{
    uint8_t packed[RDMA_HELLO_BYTES];
    struct rdma_hello hello;

    if (rdma_hello_unpack(data, size, &hello) < 0)
        return;
    require(hello.lanes <= RDMA_LANES_MAX && hello.lane < hello.lanes);
    rdma_hello_pack(&hello, packed);
    require(size >= 22 && memcmp(packed, data, 22) == 0);
}

static void try_rejection(const uint8_t *data, size_t size)
{
    uint8_t packed[RDMA_REJECT_BYTES];
    char text[RDMA_REJECT_BYTES];
    size_t len;

    if (rdma_reject_unpack(data, size, text, sizeof(text)) < 0 ||
        strlen(text) > RDMA_REJECT_TEXT_BYTES)
        return;
    len = rdma_reject_pack(text, packed);
    require(len <= size && memcmp(packed + 6, data + 6, len - 6) == 0);
}

static void try_message(const uint8_t *data, size_t size)
{
    uint8_t packed[RDMA_HEADER_BYTES];
    struct rdma_arrived arrived;
    struct rdma_header header;
    struct rdma_keys keys;

    if (rdma_header_unpack(data, size, &header) < 0)
        return;
    rdma_header_pack(&header, packed);
    require(memcmp(packed, data, sizeof(packed)) == 0);
    keys.lanes = 1 + header.credits % RDMA_LANES_MAX;
    if (header.kind == RDMA_KEYS)
        rdma_keys_unpack(data + RDMA_HEADER_BYTES, header.len_bytes, &keys);
    if (header.kind == RDMA_ARRIVED)
        require(rdma_arrived_unpack(data + RDMA_HEADER_BYTES, header.len_bytes, &arrived) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_hello(data, size);
    try_rejection(data, size);
    try_message(data, size);
    return 0;
}
