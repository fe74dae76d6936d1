/*
 * Lines on stderr, exit status and signals, alike for every tool. Owns the process's signal
 * handlers and the line at the foot of the terminal. The library may log from any thread, so a line
 * is written under stderr's lock.
 */
#include "tool.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

static struct {
    const char *name;
    enum embar_log_level level;
    char foot[256];    /* what stands at the foot of the terminal; "" for nothing */
    char logged[1024]; /* the library's latest error */
} tool = {.name = "embar", .level = EMBAR_LOG_INFO};

static volatile sig_atomic_t interrupts;

static void print_line(const char *text)
{
    flockfile(stderr);
    fprintf(stderr, "%s%s: %s\n%s", tool.foot[0] ? "\r\033[K" : "", tool.name, text, tool.foot);
    fflush(stderr);
    funlockfile(stderr);
}

static void take_log_line(enum embar_log_level level, const char *line, void *user)
{
    (void)user;
    print_line(line);
    if (level == EMBAR_LOG_ERROR) {
        flockfile(stderr);
        snprintf(tool.logged, sizeof(tool.logged), "%s", line);
        funlockfile(stderr);
    }
}

static void count_interrupt(int signal_number)
{
    interrupts = interrupts + 1;
    if (interrupts > 2) {
        /* Blocked until this handler returns; then it kills. */
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
}

void tool_start(const char *name)
{
    struct sigaction action = {.sa_handler =
                                   count_interrupt}; /* no SA_RESTART: calls end with EINTR */

    tool.name = name;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    tool_set_log_level(EMBAR_LOG_INFO);
}

const char *tool_name(void)
{
    return tool.name;
}

void tool_set_log_level(enum embar_log_level level)
{
    tool.level = level;
    embar_log_set(level, take_log_line, NULL);
}

void tool_say(enum embar_log_level level, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    if (level > tool.level)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    print_line(text);
}

void tool_foot(const char *line)
{
    flockfile(stderr);
    if (tool.foot[0] || line)
        fprintf(stderr, "\r\033[K%s", line ? line : "");
    snprintf(tool.foot, sizeof(tool.foot), "%s", line ? line : "");
    fflush(stderr);
    funlockfile(stderr);
}

enum tool_status outcome_fail(struct outcome *outcome, enum tool_status status, const char *fmt,
                              ...)
{
    char text[sizeof(outcome->error)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (strcmp(text, tool.logged) != 0) /* the library has not said it already */
        tool_say(EMBAR_LOG_ERROR, "%s", text);
    if (outcome->status == TOOL_OK) {
        outcome->status = status;
        memcpy(outcome->error, text, sizeof(text));
    }
    return status;
}

int tool_interrupts(void)
{
    return interrupts;
}

uint64_t tool_now_ns(void)
{
    return env_now_ns(&env_system);
}
