/* The report of a run: one JSON object, written whole or not at all. One thread, at the end. */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include <embar/embar.h>

#include "tool.h"
#include "verify.h"

/* Writes the report to `path`: a file, which appears complete or not at all, or "-" for standard
 * output. `stats` is zeroed when nothing could be opened; `verify` is NULL without --verify. A
 * report that cannot be written is a failure of its own. */
enum tool_status report_write(const char *path, const char *stream, const struct embar_stats *stats,
                              const struct verify *verify, struct outcome *outcome);

/* The same for any JSON text, called `what` in the sentence of a failure. Takes `text` over, from
 * malloc; NULL: there was no memory for it. */
enum tool_status report_write_text(const char *path, char *text, const char *what,
                                   struct outcome *outcome);

/* GB/s (1e9 bytes) of the bytes that reached `level`, from the first message to the last that did.
 */
double report_rate_gbps(const struct embar_stats *stats, enum embar_level level);

#endif
