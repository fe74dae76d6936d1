/* Any bytes as a control message: refused with a sentence, or a message that packs to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "stream/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_message message;
    uint8_t packed[CONTROL_BYTES];
    struct embar_diag diag = {0};

    if (size > CONTROL_BYTES)
        return 0;
    if (control_unpack(data, size, &message, &diag) < 0) {
        if (diag.error == 0 || diag.text[0] == '\0')
            abort();
        return 0;
    }
    if (control_pack(&message, packed) > CONTROL_BYTES)
        abort();
    return 0;
}
