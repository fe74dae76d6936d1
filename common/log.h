/* The library's log lines, handed to the sink that embar_log_set names. Cheap when off. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <embar/diag.h>

__attribute__((format(printf, 2, 3))) void log_line(enum embar_log_level level, const char *fmt,
                                                    ...);

/* Whether a line of that level would be taken; guards costly arguments. */
int log_wanted(enum embar_log_level level);

#define log_error(...) log_line(EMBAR_LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(EMBAR_LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(EMBAR_LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(EMBAR_LOG_DEBUG, __VA_ARGS__)

#endif
