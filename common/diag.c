/*
 * Fills in `struct embar_diag`, which the caller owns. Pure; any thread.
 */
#include "common/diag.h"

#include <stdarg.h>
#include <string.h>

#include "common/text.h"

int diag_fail(struct embar_diag *diag, int error, const char *fmt, ...)
{
    if (diag) {
        /* The arguments may point into the diag itself: format aside, then copy. */
        char text[sizeof(diag->text)];
        va_list args;

        va_start(args, fmt);
        text_vformat(text, sizeof(text), fmt, args);
        va_end(args);
        memcpy(diag->text, text, sizeof(text));
        diag->error = error;
    }
    return -error;
}

void diag_prefix(struct embar_diag *diag, const char *fmt, ...)
{
    char prefix[sizeof(diag->text)], old[sizeof(diag->text)];
    va_list args;

    if (!diag)
        return;
    va_start(args, fmt);
    text_vformat(prefix, sizeof(prefix), fmt, args);
    va_end(args);
    memcpy(old, diag->text, sizeof(old));
    text_format(diag->text, sizeof(diag->text), "%s: %s", prefix, old);
}
