/*
 * Which way a lane sends large payloads: from the pages with MSG_ZEROCOPY, from the pages through a
 * pipe (splice), or through the kernel's copy. `auto` begins with zerocopy. Where the kernel copies
 * most of a window all the same (loopback, veth, a device without scatter-gather) or refuses to pin
 * pages, it changes to splice, measures splice against copy in alternating batches, and keeps the
 * faster; from time to time it probes zerocopy and measures again. Pure; time is handed in.
 */
#ifndef TCP_SEND_MODE_H
#define TCP_SEND_MODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values of tcp.send_mode, in the order of its option's choices. */
enum tcp_send_setting {
    TCP_SEND_AUTO = 0,
    TCP_SEND_ZEROCOPY,
    TCP_SEND_SPLICE,
    TCP_SEND_COPY,
};

/* How one payload goes out. */
enum tcp_send_way {
    TCP_WAY_UNDECIDED = 0,
    TCP_WAY_COPY,
    TCP_WAY_ZEROCOPY,
    TCP_WAY_SPLICE,
};

/* Outcomes of zerocopy that are judged together: in that mode, and in a probe. */
#define TCP_SEND_WINDOW 16u
#define TCP_SEND_PROBE  8u
/* A trial: pairs of so many payloads spliced and as many copied, of which the first few are not
 * counted: they go out as fast as the buffers of the sockets drain of what was there before. */
#define TCP_SEND_TRIAL_PAIRS 3u
#define TCP_SEND_TRIAL_BATCH 8u
#define TCP_SEND_TRIAL_SKIP  3u
/* Between probes; doubled after each that fails, up to the maximum. */
#define TCP_SEND_PROBE_MIN_NS UINT64_C(10000000000)
#define TCP_SEND_PROBE_MAX_NS UINT64_C(320000000000)

#define TCP_SEND_TRIAL_WINDOWS (2u * TCP_SEND_TRIAL_PAIRS)

enum tcp_send_stage {
    TCP_STAGE_STEADY, /* the mode is settled until the next probe */
    TCP_STAGE_PROBE,  /* a few sends try zerocopy */
    TCP_STAGE_TRIAL,  /* splice and copy are measured */
};

struct tcp_send_mode {
    enum tcp_send_setting setting;
    uint64_t limit_bytes;  /* payloads below it are copied */
    enum tcp_send_way way; /* of large payloads now: the mode */
    enum tcp_send_stage stage;
    bool no_zerocopy;               /* the socket cannot */
    uint32_t tries;                 /* of the probe or trial, so far */
    uint32_t seen, copied, refused; /* outcomes of the window or probe */
    struct {
        uint64_t bytes, ns;
    } pace[TCP_SEND_TRIAL_WINDOWS]; /* splice, copy, splice, copy, ... */
    uint64_t pace_began_ns;
    uint64_t probe_interval_ns, next_probe_ns; /* next 0: none */
    uint32_t switches;
    bool any_large, any_small; /* payloads were at least limit_bytes; below it */
    char cause[96];            /* why zerocopy is not the mode: the beginning of `why` */
    char why[160];             /* why the mode is what it is, for link stats */
};

void tcp_send_mode_init(struct tcp_send_mode *mode, enum tcp_send_setting setting,
                        uint64_t limit_bytes);

/* MSG_ZEROCOPY may be used: switch it on for the socket. */
bool tcp_send_mode_wants_zerocopy(const struct tcp_send_mode *mode);

/* The socket cannot do zerocopy at all. */
void tcp_send_mode_unsupported(struct tcp_send_mode *mode, const char *why);

/* A trial is under way: the clock is to be read for every payload. */
bool tcp_send_mode_is_measuring(const struct tcp_send_mode *mode);

/* How a payload that is about to begin goes out. May change the mode: compare `switches`. */
enum tcp_send_way tcp_send_mode_choose(struct tcp_send_mode *mode, uint64_t len_bytes,
                                       uint64_t now_ns);

/*
 * Outcomes of zero-copy calls: the kernel completed `count` of them and copied or not, or refused
 * one (ENOBUFS). Return true when the mode has changed: log it with `why`.
 */
bool tcp_send_mode_completed(struct tcp_send_mode *mode, uint32_t count, bool copied,
                             uint64_t now_ns);
bool tcp_send_mode_refused(struct tcp_send_mode *mode, uint64_t now_ns);

/* Splicing failed with a positive errno (EPERM: no pipe of a useful size): copy until the next
 * probe. */
void tcp_send_mode_splice_failed(struct tcp_send_mode *mode, int error, uint64_t now_ns);

/* "zerocopy", "splice" or "copy", and why; "copy" also while every payload was too small for more.
 */
const char *tcp_send_mode_name(const struct tcp_send_mode *mode);
const char *tcp_send_mode_why(const struct tcp_send_mode *mode);

#endif
