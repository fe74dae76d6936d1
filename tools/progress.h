/* --stats and --progress: how a run is going, on stderr. One thread. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <embar/embar.h>

struct progress {
    void (*read)(const void *source, struct embar_stats *stats); /* how to get at the stats */
    const void *source;                                          /* borrowed */
    uint64_t stats_ns;                                           /* interval of lines; 0: none */
    bool foot; /* one line that is rewritten at the foot of the terminal */
    uint64_t start_ns;
    uint64_t next_ns; /* when something is due */
    uint64_t line_ns, foot_ns;
    struct embar_stats line_last, foot_last;
};

/* Whether the foot is wanted when nobody said so: stderr is a terminal. */
bool progress_foot_default(void);

void progress_start(struct progress *progress, uint64_t stats_ns, bool foot,
                    void (*read)(const void *source, struct embar_stats *stats),
                    const void *source);

/* Prints what is due. Cheap when nothing is. */
void progress_tick(struct progress *progress);

/* How long to wait at most, in ms: until the next line is due, and short enough that an interrupt
 * is seen soon. */
int progress_wait_ms(const struct progress *progress);

/* Prints a last line of --stats and takes the foot away. */
void progress_end(struct progress *progress);

#endif
