/*
 * What the peers' programs share: two processes, one sending on core 0 and one receiving on core 1,
 * measured by the receiver. A program is one process at first; its functions run in children.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench {
    const char *endpoint;
    size_t size_bytes;
    double seconds;
    bool is_pub; /* publish and subscribe, not push and pull */
    int report;  /* receiver: where the result goes */
};

uint64_t bench_now_ns(void);
void bench_pin(int core);

/* Ends the program with the sentence. */
__attribute__((format(printf, 1, 2))) _Noreturn void bench_fail(const char *fmt, ...);

/* Receiver: called for each message; returns 0 when the measured time is over and the result is on
 * its way. The first quarter of a second does not count. */
int bench_count(const struct bench *bench, size_t len_bytes);

/* The main of a program whose arguments are push|pub ENDPOINT SIZE SECONDS. */
int bench_main(int argc, char **argv, void (*sender)(const struct bench *),
               void (*receiver)(const struct bench *));

/* Starts both, waits for the result, ends the sender, prints one line of JSON. */
int bench_run(struct bench *bench, void (*sender)(const struct bench *),
              void (*receiver)(const struct bench *));

#endif
