/*
 * <embar/diag.h> - the sentence that explains a failure.
 *
 * Slow-path calls take a nullable `struct embar_diag *`. When such a call fails it writes there one
 * sentence: what failed, why, and what to do about it. On success the struct is left untouched.
 */
#ifndef EMBAR_DIAG_H
#define EMBAR_DIAG_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* the library is built with hidden symbols */

#define EMBAR_DIAG_BYTES 512

/* Owned by the caller, who may keep or copy it freely. Zero-initialise it before the first use. */
struct embar_diag {
    int error;                   /* positive errno value; 0: nothing failed */
    char text[EMBAR_DIAG_BYTES]; /* one sentence in UTF-8, NUL-terminated, without a newline */
};

enum embar_log_level {
    EMBAR_LOG_ERROR = 0, /* something the caller asked for failed */
    EMBAR_LOG_WARN = 1,  /* it works, but not as well as asked */
    EMBAR_LOG_INFO = 2,  /* what was chosen, and why */
    EMBAR_LOG_DEBUG = 3, /* every state change */
};

/* Receives one finished line, without a newline; `line` is valid during the call only. May be
 * called from any thread that uses the library. */
typedef void embar_log_fn(enum embar_log_level level, const char *line, void *user);

/*
 * Sets where the library's log lines of `level` or more serious go; `fn` NULL switches logging off,
 * which is how a process starts: the library prints nothing by itself. Process-wide; call it before
 * the first other call. Never fails.
 */
void embar_log_set(enum embar_log_level level, embar_log_fn *fn, void *user);

/* The library's version, "MAJOR.MINOR.PATCH"; static storage. */
const char *embar_version(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
