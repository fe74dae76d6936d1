/*
 * Runs a piece of a test in a process of its own, for what cannot be undone: limits, capabilities,
 * system call filters. The child says what did not hold on stderr; it must not use cmocka's
 * asserts.
 */
#ifndef SUPPORT_CHILD_H
#define SUPPORT_CHILD_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_CHECK(holds)                                                                         \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds);             \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* The same, and says what the text is instead. */
#define CHILD_CHECK_SAYS(text, words)                                                              \
    do {                                                                                           \
        if (!strstr(text, words)) {                                                                \
            fprintf(stderr, "%s:%d: '%s' does not say '%s'\n", __FILE__, __LINE__, text, words);   \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* The status of waitpid(2). */
static inline int child_status(int (*body)(void *argument), void *argument)
{
    int status = -1;

    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        /* cmocka would take a fault for the failure of the test, in the child as well. */
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        _exit(body(argument));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return status;
}

/* Whether the body returned 0; one that a signal ended did not. */
static inline bool child_succeeds(int (*body)(void *argument), void *argument)
{
    int status = child_status(body, argument);

    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif
