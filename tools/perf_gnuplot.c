/* Running gnuplot as a child, with its complaints on our stderr. Blocks until it has ended. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf_plot.h"

#define NOT_FOUND 127 /* as the shell has it */

static _Noreturn void become(const char *folder, const char *script)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    signal(SIGPIPE, SIG_DFL);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    if (null >= 0 && !script)
        dup2(null, STDOUT_FILENO);
    if (folder && chdir(folder) != 0)
        _exit(1);
    execlp("gnuplot", "gnuplot", script ? script : "--version", (char *)NULL);
    _exit(errno == ENOENT ? NOT_FOUND : 1);
}

enum tool_status perf_gnuplot(const char *folder, const char *script, struct outcome *outcome)
{
    int wait_status = 0;
    pid_t pid = fork();

    if (pid == 0)
        become(folder, script);
    if (pid < 0)
        return outcome_fail(outcome, TOOL_USAGE, "--plot: gnuplot could not be started: %s",
                            strerror(errno));
    while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0)
        return TOOL_OK;
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == NOT_FOUND)
        return outcome_fail(outcome, TOOL_USAGE,
                            "--plot needs gnuplot, which is not installed; it is in the package "
                            "gnuplot-nox");
    return outcome_fail(outcome, TOOL_USAGE, "--plot: gnuplot failed on %s/%s",
                        folder ? folder : ".", script ? script : "--version");
}

enum tool_status perf_plot_check(struct outcome *outcome)
{
    return perf_gnuplot(NULL, NULL, outcome);
}
