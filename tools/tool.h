/*
 * What every command-line tool does alike: its lines on stderr, its exit status, the signals that
 * ask it to stop. One tool per process, so the state behind this header is the process's.
 */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <embar/diag.h>

/* The exit statuses, as the man pages give them. */
enum tool_status {
    TOOL_OK = 0,        /* all delivered, and verified where that was asked */
    TOOL_DATA = 1,      /* data missing or wrong; input or output failed */
    TOOL_USAGE = 2,     /* usage or configuration */
    TOOL_TRANSPORT = 3, /* no link, no buffer, or the link was lost */
};

/* How the run went. The first failure decides; later ones are said but change nothing. */
struct outcome {
    enum tool_status status;
    char error[EMBAR_DIAG_BYTES + 128]; /* its sentence; "" while nothing has failed */
};

/* Names the tool, ignores SIGPIPE and SIGXFSZ (their calls fail with errno instead), counts SIGINT
 * and SIGTERM, and sends the library's log lines of `EMBAR_LOG_INFO` or more serious to stderr. */
void tool_start(const char *name);

const char *tool_name(void);

/* Which lines go to stderr from now on: the tool's own and the library's. */
void tool_set_log_level(enum embar_log_level level);

/* Prints "NAME: ..." on stderr when `level` is wanted. Any thread. */
__attribute__((format(printf, 2, 3))) void tool_say(enum embar_log_level level, const char *fmt,
                                                    ...);

/* Rewrites the one line at the foot of the terminal; NULL removes it. Lines of tool_say go above.
 */
void tool_foot(const char *line);

/* Says the sentence and keeps it when it is the first. Returns `status`. */
__attribute__((format(printf, 3, 4))) enum tool_status outcome_fail(struct outcome *outcome,
                                                                    enum tool_status status,
                                                                    const char *fmt, ...);

/* How often SIGINT or SIGTERM came: 1 asks to drain and end, 2 to end at once; a third one kills.
 */
int tool_interrupts(void);

/* CLOCK_MONOTONIC. */
uint64_t tool_now_ns(void);

#endif
