/*
 * The generator behind --generate. Paces itself by --rate against the clock, so that a stall is
 * made up for afterwards. One thread.
 */
#include "generate.h"

#include <errno.h>

#include "common/clock.h"

static bool at_end(const struct generate *g, uint64_t now_ns)
{
    return (g->has_count && g->number >= g->count) ||
           (g->has_total && g->bytes >= g->total_bytes) ||
           (g->has_duration && now_ns - g->start_ns >= g->duration_ns);
}

/* The last message of a --total is shortened to make the total exact. */
static size_t next_size(const struct generate *g)
{
    if (g->has_total && g->total_bytes - g->bytes < g->size_bytes)
        return (size_t)(g->total_bytes - g->bytes);
    return g->size_bytes;
}

/* When the next message is due; in the past when it is late. */
static uint64_t due_ns(const struct generate *g)
{
    if (!g->rate)
        return 0;
    return g->start_ns + (uint64_t)((double)g->bytes / (double)g->rate * 1e9);
}

static enum source_state step(struct source *source, struct embar_publisher *publisher,
                              struct source_wait *wait, struct outcome *outcome)
{
    struct generate *g = (struct generate *)source;
    uint64_t now_ns = tool_now_ns();
    size_t stepped = 0;

    if (!g->start_ns)
        g->start_ns = now_ns;
    for (int i = 0; i < SOURCE_STEP_MESSAGES && stepped < SOURCE_STEP_BYTES; i++) {
        size_t size = next_size(g);
        void *room;
        int rc;

        if (at_end(g, now_ns))
            return SOURCE_END;
        if (due_ns(g) > now_ns) {
            *wait = (struct source_wait){.fd = -1, .until_ns = due_ns(g)};
            return i > 0 ? SOURCE_MORE : SOURCE_IDLE;
        }
        rc = embar_reserve(publisher, size, &room);
        if (rc != 0)
            return source_refused(publisher, rc, outcome);
        pattern_fill(&g->pattern, g->number, room, size);
        rc = embar_commit(publisher, size);
        if (rc != 0)
            return source_refused(publisher, rc, outcome);
        g->number++;
        g->bytes += size;
        stepped += size;
    }
    return SOURCE_MORE;
}

void generate_init(struct generate *g)
{
    *g = (struct generate){.source = {.step = step}};
    pattern_init(&g->pattern);
}
