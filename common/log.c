/*
 * The process-wide sink for the library's log lines. Set once, before the other calls; read from
 * any thread. The threshold is what a disabled log line costs: one load and a compare.
 */
#include "common/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

#include "common/text.h"

#define LOG_OFF        (-1)
#define LOG_LINE_BYTES 1024

static struct {
    atomic_int threshold;
    embar_log_fn *fn;
    void *user;
} sink = {.threshold = LOG_OFF};

void embar_log_set(enum embar_log_level level, embar_log_fn *fn, void *user)
{
    /* A thread that sees the new threshold sees the function that goes with it. */
    atomic_store_explicit(&sink.threshold, LOG_OFF, memory_order_release);
    sink.fn = fn;
    sink.user = user;
    if (fn)
        atomic_store_explicit(&sink.threshold, (int)level, memory_order_release);
}

int log_wanted(enum embar_log_level level)
{
    return (int)level <= atomic_load_explicit(&sink.threshold, memory_order_acquire);
}

void log_line(enum embar_log_level level, const char *fmt, ...)
{
    char line[LOG_LINE_BYTES];
    va_list args;

    if (!log_wanted(level))
        return;
    va_start(args, fmt);
    text_vformat(line, sizeof(line), fmt, args);
    va_end(args);
    sink.fn(level, line, sink.user);
}
