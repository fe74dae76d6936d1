/* Filling in `struct embar_diag`, the sentence that explains a failure. Pure; any thread. */
#ifndef COMMON_DIAG_H
#define COMMON_DIAG_H

#include <embar/diag.h>

/* Writes the sentence (cut to fit) when `diag` is not NULL; returns -error, so that a failing call
 * ends in `return diag_fail(diag, EINVAL, "...")`. `error` is a positive errno value. */
__attribute__((format(printf, 3, 4))) int diag_fail(struct embar_diag *diag, int error,
                                                    const char *fmt, ...);

/* Puts "PREFIX: " before what the diag says already (cut to fit). */
__attribute__((format(printf, 2, 3))) void diag_prefix(struct embar_diag *diag, const char *fmt,
                                                       ...);

#endif
