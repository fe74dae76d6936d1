/* Any bytes as a batch in a slot: refused, or all its messages lie inside of it. */
#include <stdint.h>
#include <stdlib.h>

#include <embar/embar.h>

#include "stream/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch_header header;
    struct embar_iter iter;
    struct embar_diag diag = {0};
    const void *message;
    size_t len;

    if (batch_open(data, size, &header, &diag) < 0)
        return 0;
    batch_intact(data, &header);
    iter.pos = data + BATCH_HEADER_BYTES;
    iter.end = data + size;
    iter.left = header.messages;
    while (embar_iter_next(&iter, &message, &len) == 1)
        if ((const uint8_t *)message < data || (const uint8_t *)message + len > data + size)
            abort();
    return 0;
}
