/*
 * Builds and writes the report. The names of its fields are promised in the man pages. One thread,
 * at the end of a run.
 */
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report_value.h"

double report_rate_gbps(const struct embar_stats *stats, enum embar_level level)
{
    if (stats->level_ns[level] <= stats->first_ns || stats->first_ns == 0)
        return 0;
    return (double)stats->level_bytes[level] / (double)(stats->level_ns[level] - stats->first_ns);
}

/* From the first message to the last that reached any level. */
static double seconds(const struct embar_stats *stats)
{
    uint64_t last = 0;

    for (int level = EMBAR_SENT; level <= EMBAR_CONSUMED; level++)
        if (stats->level_ns[level] > last)
            last = stats->level_ns[level];
    return last > stats->first_ns ? (double)(last - stats->first_ns) * 1e-9 : 0;
}

static double cpu_seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec * 1e-6;
}

static int add_identity(json_t *report, const char *stream, const struct embar_stats *stats,
                        const struct outcome *outcome)
{
    int rc = 0;

    rc |= json_object_set_new(report, "tool", json_string(tool_name()));
    rc |= json_object_set_new(report, "version", json_string(embar_version()));
    rc |= json_object_set_new(report, "exit_status", number(outcome->status));
    rc |= json_object_set_new(report, "error",
                              outcome->error[0] ? json_string(outcome->error) : json_null());
    rc |= json_object_set_new(report, "transport", json_string(stats->transport));
    rc |= json_object_set_new(report, "transport_why", json_string(stats->transport_why));
    rc |= json_object_set_new(report, "stream", json_string(stream));
    return rc;
}

static int add_amounts(json_t *report, const struct embar_stats *stats)
{
    int rc = 0;

    rc |= json_object_set_new(report, "messages", number(stats->messages));
    rc |= json_object_set_new(report, "batches", number(stats->batches));
    rc |= json_object_set_new(report, "bytes", number(stats->bytes));
    rc |= json_object_set_new(report, "seconds", real(seconds(stats), 1e6));
    rc |= json_object_set_new(report, "rate_gbps_sent",
                              real(report_rate_gbps(stats, EMBAR_SENT), 1e6));
    rc |= json_object_set_new(report, "rate_gbps_placed",
                              real(report_rate_gbps(stats, EMBAR_PLACED), 1e6));
    rc |= json_object_set_new(report, "rate_gbps_consumed",
                              real(report_rate_gbps(stats, EMBAR_CONSUMED), 1e6));
    rc |= json_object_set_new(report, "latency_us",
                              json_pack("{s:o, s:o, s:o, s:o, s:o}", /* */
                                        "p50", real((double)stats->latency_ns_p50 * 1e-3, 1e3),
                                        "p90", real((double)stats->latency_ns_p90 * 1e-3, 1e3),
                                        "p99", real((double)stats->latency_ns_p99 * 1e-3, 1e3),
                                        "p999", real((double)stats->latency_ns_p999 * 1e-3, 1e3),
                                        "max", real((double)stats->latency_ns_max * 1e-3, 1e3)));
    return rc;
}

static int add_transport(json_t *report, const struct embar_stats *stats)
{
    int rc = 0;

    rc |= json_object_set_new(report, "send_mode", json_string(stats->send_mode));
    rc |= json_object_set_new(report, "send_mode_why", json_string(stats->send_mode_why));
    rc |= json_object_set_new(report, "zerocopy_sends", number(stats->zerocopy_sends));
    rc |= json_object_set_new(report, "zerocopy_copied", number(stats->zerocopy_copied));
    rc |= json_object_set_new(report, "send_calls", number(stats->send_calls));
    rc |= json_object_set_new(report, "receive_calls", number(stats->receive_calls));
    rc |= json_object_set_new(report, "receiver_not_ready", number(stats->receiver_not_ready));
    rc |= json_object_set_new(report, "registrations", number(stats->registrations));
    rc |= json_object_set_new(report, "lanes", number(stats->lanes));
    rc |= json_object_set_new(report, "lane_threads", number(stats->lane_threads));
    rc |= json_object_set_new(
        report, "pages",
        json_pack("{s:s, s:o}", "kind", stats->page_kind, "count", number(stats->page_count)));
    rc |= json_object_set_new(report, "buffer_bytes", number(stats->buffer_bytes));
    return rc;
}

static int add_health(json_t *report, const struct embar_stats *stats)
{
    int rc = 0;

    rc |= json_object_set_new(report, "gaps", number(stats->gaps));
    rc |= json_object_set_new(report, "duplicates", number(stats->duplicates));
    rc |= json_object_set_new(report, "reordered", number(stats->reordered));
    rc |= json_object_set_new(report, "checksum_errors", number(stats->checksum_errors));
    rc |= json_object_set_new(report, "reconnects", number(stats->reconnects));
    rc |= json_object_set_new(report, "failovers", number(stats->failovers));
    rc |= json_object_set_new(report, "credit_stall_seconds",
                              real((double)stats->credit_stall_ns * 1e-9, 1e6));
    rc |= json_object_set_new(report, "peers",
                              json_pack("{s:o, s:o, s:o}", "joined", number(stats->peers_joined),
                                        "finished", number(stats->peers_finished), "lost",
                                        number(stats->peers_lost)));
    return rc;
}

static int add_cost(json_t *report)
{
    struct rusage usage = {0};
    int rc = 0;

    getrusage(RUSAGE_SELF, &usage);
    rc |=
        json_object_set_new(report, "cpu_seconds",
                            real(cpu_seconds(&usage.ru_utime) + cpu_seconds(&usage.ru_stime), 1e6));
    rc |= json_object_set_new(report, "cpu_seconds_user", real(cpu_seconds(&usage.ru_utime), 1e6));
    rc |=
        json_object_set_new(report, "cpu_seconds_system", real(cpu_seconds(&usage.ru_stime), 1e6));
    rc |= json_object_set_new(report, "peak_rss_bytes", number((uint64_t)usage.ru_maxrss * 1024));
    return rc;
}

static int add_verify(json_t *report, const struct verify *verify)
{
    json_t *first = verify->first[0] ? json_string(verify->first) : json_null();

    return json_object_set_new(report, "verified",
                               json_pack("{s:o, s:o, s:o}", "messages", number(verify->messages),
                                         "mismatches", number(verify->mismatches), "first_mismatch",
                                         first));
}

static char *build(const char *stream, const struct embar_stats *stats, const struct verify *verify,
                   const struct outcome *outcome)
{
    json_t *report = json_object();
    char *text = NULL;

    if (report && add_identity(report, stream, stats, outcome) == 0 &&
        add_amounts(report, stats) == 0 && add_transport(report, stats) == 0 &&
        add_health(report, stats) == 0 && add_cost(report) == 0 &&
        (!verify || add_verify(report, verify) == 0))
        text = json_dumps(report, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    json_decref(report);
    return text;
}

/* 0, or a positive errno value. */
static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, text, len);

        if (written < 0 && errno != EINTR)
            return errno;
        if (written > 0) {
            text += written;
            len -= (size_t)written;
        }
    }
    return 0;
}

/* Writes beside the file and renames over it, so that a reader sees the old report or the new one.
 */
static int replace_file(const char *path, const char *text, size_t len)
{
    char target[PATH_MAX], draft[PATH_MAX];
    int error = 0, fd;

    /* A link stays a link: what it points to is replaced. */
    if (!realpath(path, target) &&
        snprintf(target, sizeof(target), "%s", path) >= (int)sizeof(target))
        return ENAMETOOLONG;
    if (snprintf(draft, sizeof(draft), "%s.%d.draft", target, (int)getpid()) >= (int)sizeof(draft))
        return ENAMETOOLONG;
    fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno;
    error = write_all(fd, text, len);
    if (error == 0 && fsync(fd) != 0)
        error = errno;
    if (close(fd) != 0 && error == 0)
        error = errno;
    if (error == 0 && rename(draft, target) != 0)
        error = errno;
    if (error != 0)
        unlink(draft);
    return error;
}

static int write_text(const char *path, const char *text, size_t len)
{
    struct stat st;
    int fd, error;

    if (strcmp(path, "-") == 0)
        return write_all(STDOUT_FILENO, text, len);
    if (stat(path, &st) != 0 || S_ISREG(st.st_mode))
        return replace_file(path, text, len);
    fd = open(path, O_WRONLY | O_CLOEXEC); /* a pipe or a device */
    if (fd < 0)
        return errno;
    error = write_all(fd, text, len);
    return close(fd) != 0 && error == 0 ? errno : error;
}

enum tool_status report_write_text(const char *path, char *text, const char *what,
                                   struct outcome *outcome)
{
    size_t len = text ? strlen(text) : 0;
    int error = ENOMEM;

    if (text) {
        text[len] = '\n'; /* in place of the NUL: the length is known */
        error = write_text(path, text, len + 1);
    }
    free(text);
    if (error != 0)
        return outcome_fail(outcome, TOOL_USAGE, "the %s could not be written to %s: %s", what,
                            path, strerror(error));
    return TOOL_OK;
}

enum tool_status report_write(const char *path, const char *stream, const struct embar_stats *stats,
                              const struct verify *verify, struct outcome *outcome)
{
    return report_write_text(path, build(stream, stats, verify, outcome), "report", outcome);
}
