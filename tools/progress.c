/*
 * The lines of --stats and the line at the foot of the terminal. Both show rates since their own
 * last look, at each level by itself. Owns no resources; one thread.
 */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "tool.h"

#define FOOT_NS     (250 * NS_PER_MS)
#define MAX_WAIT_MS 100

bool progress_foot_default(void)
{
    return isatty(STDERR_FILENO) == 1;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b;
}

void progress_start(struct progress *p, uint64_t stats_ns, bool foot,
                    void (*read)(const void *source, struct embar_stats *stats), const void *source)
{
    uint64_t now_ns = tool_now_ns();

    *p = (struct progress){.read = read,
                           .source = source,
                           .stats_ns = stats_ns,
                           .foot = foot,
                           .start_ns = now_ns,
                           .line_ns = now_ns,
                           .foot_ns = now_ns};
    p->next_ns = earlier(stats_ns ? now_ns + stats_ns : 0, foot ? now_ns + FOOT_NS : 0);
}

static double gbps(const struct embar_stats *now, const struct embar_stats *last,
                   enum embar_level level, double ns)
{
    return (double)(now->level_bytes[level] - last->level_bytes[level]) / ns;
}

/* "1.23 M", "12.3 k", "7.0 ": a count with its multiplier. */
static const char *scaled(double value, char *text, size_t text_bytes)
{
    static const char *const units[] = {"", "k", "M", "G", "T"};
    unsigned unit = 0;

    for (; value >= 1000 && unit < 4; unit++)
        value /= 1000;
    snprintf(text, text_bytes, "%.*f %s", value < 10 ? 2 : 1, value, units[unit]);
    return text;
}

static void describe(const struct progress *p, const struct embar_stats *now,
                     const struct embar_stats *last, uint64_t now_ns, uint64_t last_ns, char *text,
                     size_t text_bytes)
{
    double ns = (double)(now_ns - last_ns);
    char messages[32], bytes[32];

    snprintf(
        text, text_bytes,
        "%.1f s: %sB in all; sent %.3f, placed %.3f, consumed %.3f GB/s; %smessages/s; "
        "stalled %.0f%%; links %" PRIu32 " up, %" PRIu32 " lost",
        (double)(now_ns - p->start_ns) * 1e-9, scaled((double)now->bytes, bytes, sizeof(bytes)),
        gbps(now, last, EMBAR_SENT, ns), gbps(now, last, EMBAR_PLACED, ns),
        gbps(now, last, EMBAR_CONSUMED, ns),
        scaled((double)(now->messages - last->messages) / ns * 1e9, messages, sizeof(messages)),
        (double)(now->credit_stall_ns - last->credit_stall_ns) / ns * 100, now->peers_up,
        now->peers_lost);
}

static void print_line(struct progress *p, const struct embar_stats *stats, uint64_t now_ns)
{
    char text[256];

    describe(p, stats, &p->line_last, now_ns, p->line_ns, text, sizeof(text));
    fprintf(stderr, "%s: %s\n", tool_name(), text);
    p->line_last = *stats;
    p->line_ns = now_ns;
}

static void print_foot(struct progress *p, const struct embar_stats *stats, uint64_t now_ns)
{
    char text[256];

    describe(p, stats, &p->foot_last, now_ns, p->foot_ns, text, sizeof(text));
    tool_foot(text);
    p->foot_last = *stats;
    p->foot_ns = now_ns;
}

void progress_tick(struct progress *p)
{
    struct embar_stats stats;
    uint64_t now_ns;

    if (!p->next_ns)
        return;
    now_ns = tool_now_ns();
    if (now_ns < p->next_ns)
        return;
    p->read(p->source, &stats);
    if (p->stats_ns && now_ns >= p->line_ns + p->stats_ns) {
        if (p->foot)
            tool_foot(NULL);
        print_line(p, &stats, now_ns);
    }
    if (p->foot && now_ns >= p->foot_ns + FOOT_NS)
        print_foot(p, &stats, now_ns);
    p->next_ns =
        earlier(p->stats_ns ? p->line_ns + p->stats_ns : 0, p->foot ? p->foot_ns + FOOT_NS : 0);
}

int progress_wait_ms(const struct progress *p)
{
    uint64_t now_ns;

    if (!p->next_ns)
        return MAX_WAIT_MS;
    now_ns = tool_now_ns();
    if (p->next_ns <= now_ns)
        return 0;
    if (p->next_ns - now_ns > MAX_WAIT_MS * NS_PER_MS)
        return MAX_WAIT_MS;
    return (int)((p->next_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS);
}

void progress_end(struct progress *p)
{
    struct embar_stats stats;
    uint64_t now_ns = tool_now_ns();

    if (p->foot)
        tool_foot(NULL);
    if (p->stats_ns && now_ns > p->line_ns) {
        p->read(p->source, &stats);
        print_line(p, &stats, now_ns);
    }
}
