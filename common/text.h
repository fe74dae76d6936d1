/* Formatting into a bounded buffer, as the diag and the log need it. Pure; any thread. */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdarg.h>
#include <stddef.h>

/* Formats one line: cut to fit at a character's boundary (UTF-8), and with '?' for every control
 * character, because parts of it may come from a peer. `text_bytes` is at least 1. */
__attribute__((format(printf, 3, 0))) void text_vformat(char *text, size_t text_bytes,
                                                        const char *fmt, va_list args);

/* The same with arguments; returns `text`. */
__attribute__((format(printf, 3, 4))) const char *text_format(char *text, size_t text_bytes,
                                                              const char *fmt, ...);

#endif
