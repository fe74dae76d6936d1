/*
 * Which way a lane sends: from the pages (zerocopy) or through the kernel's copy. `auto` begins
 * with zerocopy, changes to copy when the kernel copies most of a window all the same (loopback,
 * veth, a device without scatter-gather) or refuses to pin pages, and probes again from time to
 * time. Pure; time is handed in. The splice mode has its place in the enumeration and is refused at
 * open.
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

/* Outcomes that are judged together: in zerocopy, and in a probe. */
#define TCP_SEND_WINDOW 16u
#define TCP_SEND_PROBE  8u
/* Between probes; doubled after each that fails, up to the maximum. */
#define TCP_SEND_PROBE_MIN_NS UINT64_C(10000000000)
#define TCP_SEND_PROBE_MAX_NS UINT64_C(320000000000)

struct tcp_send_mode {
    enum tcp_send_setting setting;
    uint64_t limit_bytes;           /* payloads below it are copied */
    bool zerocopy;                  /* large payloads go out from the pages now */
    bool probing;                   /* copy is the mode; a few sends try zerocopy */
    uint32_t probes_left;           /* sends that the probe may still try */
    uint32_t seen, copied, refused; /* outcomes of the window or probe */
    uint64_t probe_interval_ns, next_probe_ns;
    uint32_t switches;
    char why[160]; /* why the mode is what it is, for link stats */
};

void tcp_send_mode_init(struct tcp_send_mode *mode, enum tcp_send_setting setting,
                        uint64_t limit_bytes);

/* The socket cannot do zerocopy at all. */
void tcp_send_mode_unsupported(struct tcp_send_mode *mode, const char *why);

/* Whether a payload that is about to begin goes out from the pages. */
bool tcp_send_mode_choose(struct tcp_send_mode *mode, uint64_t len_bytes, uint64_t now_ns);

/*
 * Outcomes of zero-copy calls: the kernel completed `count` of them and copied or not, or refused
 * one (ENOBUFS). Return true when the mode has changed: log it with `why`.
 */
bool tcp_send_mode_completed(struct tcp_send_mode *mode, uint32_t count, bool copied,
                             uint64_t now_ns);
bool tcp_send_mode_refused(struct tcp_send_mode *mode, uint64_t now_ns);

/* "zerocopy" or "copy". */
const char *tcp_send_mode_name(const struct tcp_send_mode *mode);

#endif
