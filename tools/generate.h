/* --generate: numbered messages with a pattern, built in place in the publisher's slots. One
 * thread. */
#ifndef TOOLS_GENERATE_H
#define TOOLS_GENERATE_H

#include "pattern.h"
#include "source.h"

struct generate {
    struct source source;
    struct pattern pattern;
    size_t size_bytes; /* of a message */
    /* The end; 0: not bounded by it. */
    bool has_total, has_count, has_duration;
    uint64_t total_bytes, count, duration_ns;
    uint64_t rate; /* bytes per second; 0: as fast as it goes */
    /* State. */
    uint64_t start_ns; /* of the first step */
    uint64_t number;   /* of the next message */
    uint64_t bytes;    /* published */
};

/* Sets the step and the pattern; the other fields are the caller's to fill in. */
void generate_init(struct generate *generate);

#endif
