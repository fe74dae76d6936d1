/*
 * The policy of tcp.send_mode. Hysteresis: three quarters of a window must have been copied to
 * leave zerocopy, and three quarters of a probe must not have been copied to return to it. Pure;
 * owns nothing.
 */
#include "send_mode.h"

#include <inttypes.h>
#include <stdio.h>

void tcp_send_mode_init(struct tcp_send_mode *mode, enum tcp_send_setting setting,
                        uint64_t limit_bytes)
{
    *mode = (struct tcp_send_mode){
        .setting = setting,
        .limit_bytes = limit_bytes,
        .zerocopy = setting == TCP_SEND_AUTO || setting == TCP_SEND_ZEROCOPY,
        .probe_interval_ns = TCP_SEND_PROBE_MIN_NS,
    };
    if (setting == TCP_SEND_AUTO)
        snprintf(mode->why, sizeof(mode->why),
                 "auto begins with zerocopy; the kernel has not yet said whether it copies");
    else
        snprintf(mode->why, sizeof(mode->why), "tcp.send_mode asks for it");
}

void tcp_send_mode_unsupported(struct tcp_send_mode *mode, const char *why)
{
    mode->setting = TCP_SEND_COPY;
    mode->zerocopy = false;
    snprintf(mode->why, sizeof(mode->why), "this socket cannot do zerocopy: %s", why);
}

static void begin_window(struct tcp_send_mode *mode)
{
    mode->seen = 0;
    mode->copied = 0;
    mode->refused = 0;
}

static void maybe_probe(struct tcp_send_mode *mode, uint64_t now_ns)
{
    if (now_ns < mode->next_probe_ns)
        return;
    mode->probing = true;
    mode->probes_left = TCP_SEND_PROBE;
    begin_window(mode);
    /* A probe whose outcomes never come (no large payload follows) is begun anew at that time. */
    mode->next_probe_ns = now_ns + mode->probe_interval_ns;
}

bool tcp_send_mode_choose(struct tcp_send_mode *mode, uint64_t len_bytes, uint64_t now_ns)
{
    if (len_bytes < mode->limit_bytes)
        return false;
    if (mode->zerocopy)
        return true;
    if (mode->setting != TCP_SEND_AUTO)
        return false;
    if (!mode->probing || mode->probes_left == 0)
        maybe_probe(mode, now_ns);
    if (!mode->probing || mode->probes_left == 0)
        return false;
    mode->probes_left--;
    return true;
}

static void explain(struct tcp_send_mode *mode, const char *what)
{
    if (mode->refused > mode->copied)
        snprintf(mode->why, sizeof(mode->why),
                 "auto: the kernel refused to pin pages for %" PRIu32 " of %" PRIu32
                 " zero-copy sends; %s",
                 mode->refused, mode->seen, what);
    else
        snprintf(mode->why, sizeof(mode->why),
                 "auto: the kernel copied %" PRIu32 " of %" PRIu32 " zero-copy sends; %s",
                 mode->copied, mode->seen, what);
}

/* A window of sends in zerocopy mode is complete. */
static bool judge_window(struct tcp_send_mode *mode, uint64_t now_ns)
{
    bool leave = (mode->copied + mode->refused) * 4 >= mode->seen * 3;

    if (leave) {
        explain(mode, mode->refused > mode->copied
                          ? "raise RLIMIT_MEMLOCK and net.core.optmem_max"
                          : "loopback and devices without scatter-gather do that");
        mode->zerocopy = false;
        mode->next_probe_ns = now_ns + mode->probe_interval_ns;
        mode->switches++;
    } else {
        explain(mode, "the others went out from the pages");
        mode->probe_interval_ns = TCP_SEND_PROBE_MIN_NS;
    }
    begin_window(mode);
    return leave;
}

static bool judge_probe(struct tcp_send_mode *mode, uint64_t now_ns)
{
    bool enter = (mode->copied + mode->refused) * 4 <= mode->seen;

    mode->probing = false;
    if (enter) {
        explain(mode, "a probe found that it sends from the pages now");
        mode->zerocopy = true;
        mode->switches++;
    } else {
        mode->probe_interval_ns *= 2;
        if (mode->probe_interval_ns > TCP_SEND_PROBE_MAX_NS)
            mode->probe_interval_ns = TCP_SEND_PROBE_MAX_NS;
        mode->next_probe_ns = now_ns + mode->probe_interval_ns;
    }
    begin_window(mode);
    return enter;
}

static bool judge(struct tcp_send_mode *mode, uint64_t now_ns)
{
    if (mode->setting != TCP_SEND_AUTO)
        return false;
    if (mode->zerocopy)
        return mode->seen >= TCP_SEND_WINDOW && judge_window(mode, now_ns);
    return mode->probing && mode->seen >= TCP_SEND_PROBE && judge_probe(mode, now_ns);
}

bool tcp_send_mode_completed(struct tcp_send_mode *mode, uint32_t count, bool copied,
                             uint64_t now_ns)
{
    mode->seen += count;
    mode->copied += copied ? count : 0;
    return judge(mode, now_ns);
}

bool tcp_send_mode_refused(struct tcp_send_mode *mode, uint64_t now_ns)
{
    mode->seen++;
    mode->refused++;
    return judge(mode, now_ns);
}

const char *tcp_send_mode_name(const struct tcp_send_mode *mode)
{
    return mode->zerocopy ? "zerocopy" : "copy";
}
