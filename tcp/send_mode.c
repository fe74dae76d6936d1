/*
 * The policy of tcp.send_mode. Hysteresis: three quarters of a window must have been copied to
 * leave zerocopy, and three quarters of a probe must not have been copied to return to it; between
 * splice and copy every pair of a trial must agree, by a fifth, to change. Pure; owns nothing.
 */
#include "send_mode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What one way must take longer than the other, in hundredths, to count as worse. Where the sender
 * is not what limits the rate both take the same, and splice, which saves the copy, stays. */
#define CLEARLY_MORE 120u

#define TRIAL_PAYLOADS (TCP_SEND_TRIAL_WINDOWS * TCP_SEND_TRIAL_BATCH)

static const char *const way_names[] = {
    [TCP_WAY_UNDECIDED] = "copy",
    [TCP_WAY_COPY] = "copy",
    [TCP_WAY_ZEROCOPY] = "zerocopy",
    [TCP_WAY_SPLICE] = "splice",
};

/* The mode is that of large payloads, and there was none yet. */
static bool only_small(const struct tcp_send_mode *mode)
{
    return mode->any_small && !mode->any_large && mode->way != TCP_WAY_COPY;
}

const char *tcp_send_mode_name(const struct tcp_send_mode *mode)
{
    return way_names[only_small(mode) ? TCP_WAY_COPY : mode->way];
}

const char *tcp_send_mode_why(const struct tcp_send_mode *mode)
{
    return only_small(mode) ? "every payload was below tcp.zero_copy_send_limit" : mode->why;
}

void tcp_send_mode_init(struct tcp_send_mode *mode, enum tcp_send_setting setting,
                        uint64_t limit_bytes)
{
    *mode = (struct tcp_send_mode){
        .setting = setting,
        .limit_bytes = limit_bytes,
        .way = setting == TCP_SEND_SPLICE ? TCP_WAY_SPLICE
               : setting == TCP_SEND_COPY ? TCP_WAY_COPY
                                          : TCP_WAY_ZEROCOPY,
        .probe_interval_ns = TCP_SEND_PROBE_MIN_NS,
    };
    if (setting == TCP_SEND_AUTO)
        snprintf(mode->why, sizeof(mode->why),
                 "auto begins with zerocopy; the kernel has not yet said whether it copies");
    else
        snprintf(mode->why, sizeof(mode->why), "tcp.send_mode asks for it");
}

bool tcp_send_mode_wants_zerocopy(const struct tcp_send_mode *mode)
{
    return mode->way == TCP_WAY_ZEROCOPY;
}

static void change(struct tcp_send_mode *mode, enum tcp_send_way way)
{
    if (mode->way != way)
        mode->switches++;
    mode->way = way;
}

static void begin_window(struct tcp_send_mode *mode)
{
    mode->seen = 0;
    mode->copied = 0;
    mode->refused = 0;
}

static void begin_stage(struct tcp_send_mode *mode, enum tcp_send_stage stage)
{
    mode->stage = stage;
    mode->tries = 0;
    begin_window(mode);
    if (stage == TCP_STAGE_TRIAL)
        memset(mode->pace, 0, sizeof(mode->pace));
}

/* Splice is taken at its word at first: its trial says more. */
static void leave_zerocopy(struct tcp_send_mode *mode, uint64_t now_ns)
{
    snprintf(mode->why, sizeof(mode->why), "auto: %s; splice is being measured against copy",
             mode->cause);
    change(mode, TCP_WAY_SPLICE);
    begin_stage(mode, TCP_STAGE_TRIAL);
    mode->next_probe_ns = now_ns + mode->probe_interval_ns;
}

void tcp_send_mode_unsupported(struct tcp_send_mode *mode, const char *why)
{
    mode->no_zerocopy = true;
    snprintf(mode->cause, sizeof(mode->cause), "this socket cannot do zerocopy: %s", why);
    if (mode->setting == TCP_SEND_AUTO) {
        leave_zerocopy(mode, 0);
        return;
    }
    mode->setting = TCP_SEND_COPY;
    mode->way = TCP_WAY_COPY;
    snprintf(mode->why, sizeof(mode->why), "%s", mode->cause);
}

/* ---- splice against copy -------------------------------------------------------------------- */

/* GB/s of a way, over the whole trial. */
static double rate_of(const struct tcp_send_mode *mode, unsigned first)
{
    uint64_t bytes = 0, ns = 0;

    for (unsigned i = first; i < TCP_SEND_TRIAL_WINDOWS; i += 2) {
        bytes += mode->pace[i].bytes;
        ns += mode->pace[i].ns;
    }
    return ns > 0 ? (double)bytes / (double)ns : 0;
}

/* Whether `first` took clearly longer than `second` in every pair: 0 is splice, 1 is copy. */
static bool is_worse(const struct tcp_send_mode *mode, unsigned first, unsigned second)
{
    for (unsigned i = 0; i < TCP_SEND_TRIAL_WINDOWS; i += 2) {
        double a = (double)mode->pace[i + first].ns / (double)mode->pace[i + first].bytes;
        double b = (double)mode->pace[i + second].ns / (double)mode->pace[i + second].bytes;

        if (a * 100 <= b * CLEARLY_MORE)
            return false;
    }
    return true;
}

static void judge_trial(struct tcp_send_mode *mode)
{
    if (is_worse(mode, 0, 1))
        change(mode, TCP_WAY_COPY);
    else if (is_worse(mode, 1, 0))
        change(mode, TCP_WAY_SPLICE);
    snprintf(mode->why, sizeof(mode->why), "auto: %.80s; splice moved %.2f GB/s, copy %.2f",
             mode->cause, rate_of(mode, 0), rate_of(mode, 1));
    begin_stage(mode, TCP_STAGE_STEADY);
}

/* The payload that begins now ends what the one before it took. */
static void take_time(struct tcp_send_mode *mode, uint64_t len_bytes, uint64_t now_ns)
{
    uint32_t before = mode->tries - 1;

    if (mode->tries > 0 && before % TCP_SEND_TRIAL_BATCH >= TCP_SEND_TRIAL_SKIP)
        mode->pace[before / TCP_SEND_TRIAL_BATCH].ns += now_ns - mode->pace_began_ns;
    mode->pace_began_ns = now_ns;
    if (mode->tries < TRIAL_PAYLOADS && mode->tries % TCP_SEND_TRIAL_BATCH >= TCP_SEND_TRIAL_SKIP)
        mode->pace[mode->tries / TCP_SEND_TRIAL_BATCH].bytes += len_bytes;
}

bool tcp_send_mode_is_measuring(const struct tcp_send_mode *mode)
{
    return mode->stage == TCP_STAGE_TRIAL;
}

static const char *splice_advice(int error)
{
    switch (error) {
    case EPERM:
        return "no pipe of 64 KiB; raise fs.pipe-user-pages-soft";
    case EMFILE:
    case ENFILE:
        return "no pipe: out of descriptors; raise RLIMIT_NOFILE";
    default:
        return strerror(error);
    }
}

void tcp_send_mode_splice_failed(struct tcp_send_mode *mode, int error, uint64_t now_ns)
{
    if (mode->setting == TCP_SEND_AUTO)
        snprintf(mode->why, sizeof(mode->why), "auto: %.80s; splice fails (%.50s)", mode->cause,
                 splice_advice(error));
    else
        snprintf(mode->why, sizeof(mode->why), "splice fails (%.60s)", splice_advice(error));
    change(mode, TCP_WAY_COPY);
    begin_stage(mode, TCP_STAGE_STEADY);
    mode->next_probe_ns = now_ns + mode->probe_interval_ns;
}

/* ---- probes --------------------------------------------------------------------------------- */

static void double_interval(struct tcp_send_mode *mode)
{
    mode->probe_interval_ns *= 2;
    if (mode->probe_interval_ns > TCP_SEND_PROBE_MAX_NS)
        mode->probe_interval_ns = TCP_SEND_PROBE_MAX_NS;
}

static void maybe_probe(struct tcp_send_mode *mode, uint64_t now_ns)
{
    if (mode->next_probe_ns == 0 || now_ns < mode->next_probe_ns)
        return;
    /* A probe whose outcomes never come (no large payload follows) is begun anew at that time. */
    mode->next_probe_ns = now_ns + mode->probe_interval_ns;
    if (mode->setting == TCP_SEND_SPLICE) {
        double_interval(mode);
        snprintf(mode->why, sizeof(mode->why), "splice had failed and is tried again");
        change(mode, TCP_WAY_SPLICE);
    } else if (!mode->no_zerocopy) {
        begin_stage(mode, TCP_STAGE_PROBE);
    } else {
        double_interval(mode);
        begin_stage(mode, TCP_STAGE_TRIAL);
    }
}

static bool is_probing(const struct tcp_send_mode *mode)
{
    return mode->stage == TCP_STAGE_PROBE && mode->tries < TCP_SEND_PROBE;
}

static enum tcp_send_way choose_in_trial(struct tcp_send_mode *mode)
{
    return mode->tries++ / TCP_SEND_TRIAL_BATCH % 2 == 0 ? TCP_WAY_SPLICE : TCP_WAY_COPY;
}

enum tcp_send_way tcp_send_mode_choose(struct tcp_send_mode *mode, uint64_t len_bytes,
                                       uint64_t now_ns)
{
    if (len_bytes < mode->limit_bytes) {
        mode->any_small = true;
        return TCP_WAY_COPY;
    }
    mode->any_large = true;
    if (mode->stage == TCP_STAGE_TRIAL && mode->tries == TRIAL_PAYLOADS) {
        take_time(mode, len_bytes, now_ns);
        judge_trial(mode);
    }
    if (mode->stage != TCP_STAGE_TRIAL && mode->way != TCP_WAY_ZEROCOPY && !is_probing(mode))
        maybe_probe(mode, now_ns);
    if (mode->stage == TCP_STAGE_TRIAL) {
        take_time(mode, len_bytes, now_ns);
        return choose_in_trial(mode);
    }
    if (is_probing(mode)) {
        mode->tries++;
        return TCP_WAY_ZEROCOPY;
    }
    return mode->way;
}

static void explain(struct tcp_send_mode *mode)
{
    if (mode->refused > mode->copied)
        snprintf(mode->cause, sizeof(mode->cause),
                 "zerocopy: %" PRIu32 " of %" PRIu32
                 " sends refused, raise RLIMIT_MEMLOCK or net.core.optmem_max",
                 mode->refused, mode->seen);
    else
        snprintf(mode->cause, sizeof(mode->cause),
                 "the kernel copied %" PRIu32 " of %" PRIu32 " zero-copy sends", mode->copied,
                 mode->seen);
}

/* A window of sends in zerocopy mode is complete. */
static bool judge_window(struct tcp_send_mode *mode, uint64_t now_ns)
{
    bool leave = (mode->copied + mode->refused) * 4 >= mode->seen * 3;

    explain(mode);
    if (leave) {
        leave_zerocopy(mode, now_ns);
        return true;
    }
    snprintf(mode->why, sizeof(mode->why), "auto: %s; the others went out from the pages",
             mode->cause);
    mode->probe_interval_ns = TCP_SEND_PROBE_MIN_NS;
    begin_window(mode);
    return false;
}

/* A probe that fails is followed by a trial: the cheaper of the other two may have changed. */
static bool judge_probe(struct tcp_send_mode *mode, uint64_t now_ns)
{
    bool enter = (mode->copied + mode->refused) * 4 <= mode->seen;

    explain(mode);
    if (enter) {
        snprintf(mode->why, sizeof(mode->why),
                 "auto: %s; a probe found that it sends from the pages now", mode->cause);
        change(mode, TCP_WAY_ZEROCOPY);
        begin_stage(mode, TCP_STAGE_STEADY);
        return true;
    }
    double_interval(mode);
    mode->next_probe_ns = now_ns + mode->probe_interval_ns;
    begin_stage(mode, TCP_STAGE_TRIAL);
    return false;
}

static bool judge(struct tcp_send_mode *mode, uint64_t now_ns)
{
    if (mode->setting != TCP_SEND_AUTO)
        return false;
    if (mode->way == TCP_WAY_ZEROCOPY)
        return mode->seen >= TCP_SEND_WINDOW && judge_window(mode, now_ns);
    return mode->stage == TCP_STAGE_PROBE && mode->seen >= TCP_SEND_PROBE &&
           judge_probe(mode, now_ns);
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
