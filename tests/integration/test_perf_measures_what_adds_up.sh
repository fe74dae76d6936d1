#!/usr/bin/env bash
# embar-perf: a short sweep gives a table and a JSON whose figures agree with each other, in every mode;
# and what the processes of a run started with is gone when it has ended.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

perf=$EMBAR_BIN/embar-perf
short=(--duration 0.2 --warmup 0.05 --set buffer.size=16MiB)

run() { # NAME OPTION...
    local name=$1
    shift
    timeout "$patience" "$perf" "${short[@]}" --json "$work/$name.json" "$@" \
        >"$work/$name.out" 2>"$work/$name.log" || fail "embar-perf $* ended with $?"
    [[ ! -s $work/$name.log ]] || fail "embar-perf $* complained"
    ! grep -alsE "$work/$name.jso[n]" /proc/[0-9]*/cmdline || fail "a process of embar-perf $* is left"
    expect_report "$name" '.exit_status == 0 and .error == null and (.points | length) > 0'
}

run sweep --transport tcp,shm --size 64,4KiB,full --checksum none,crc32c --rounds 2
expect_report sweep '.points | length == 12' 'all(.points[].runs; length == 2)' \
    '[.points[].settings | .transport + .size + .checksum] | unique | length == 12' \
    'all(.points[]; .settings.transport == .runs[0].transport)' \
    'all(.points[].runs[]; .messages > 0 and .bytes == .messages * .size_bytes)' \
    'all(.points[].runs[]; .consumed_gbps > 0.001)' \
    'all(.points[].runs[] | select(.send_mode != "in-place"); .consumed_gbps < 1000)' \
    'all(.points[].runs[]; .seconds >= 0.2 and .batches >= 1)' \
    'all(.points[].runs[]; .bytes / 1e9 / .seconds / .consumed_gbps | . > 0.5 and . < 1.1)' \
    'all(.points[].runs[]; .publisher_cpu_s_per_gb > 0 and .subscriber_cpu_s_per_gb > 0)' \
    'all(.points[]; .median.consumed_gbps == ((.runs | map(.consumed_gbps) | add) / 2 * 1e6 | round / 1e6)
        or (.median.consumed_gbps - (.runs | map(.consumed_gbps) | add) / 2 | fabs) < 0.00001)' \
    'any(.points[]; .settings.size == "full" and .runs[0].size_bytes == 2097084)' \
    'all(.points[].runs[]; .buffer_mib_per_link == 32)'
(($(grep -cE '^(tcp|shm) +[0-9]+ ' "$work/sweep.out") == 12)) || fail "the table does not have 12 rows"

run crowd --publishers 2 --subscribers 1,3 --size 1KiB --source fill --touch all --cpus none
expect_report crowd '.points | length == 2' 'all(.points[].runs[]; .messages_per_s > 0)' \
    'all(.points[].runs[0]; .bytes > 0)'
# Rates are of what all subscribers consumed, from all publishers.
expect_report crowd 'all(.points[]; (.settings.subscribers | tonumber) as $to | .runs[0]
    | .consumed_gbps / (.bytes * $to / 1e9 / .seconds) | . > 0.5 and . < 1.5)' \
    'all(.points[]; (.settings.subscribers | tonumber) as $to | .runs[0]
        | .messages_per_s / (.messages * $to / .seconds) | . > 0.5 and . < 1.5)'
run built --transport shm --source in-place --touch all --size full
run batches --touch none --batch 64KiB,1MiB --in-flight 2,4 --ack sent,placed
expect_report batches '.points | length == 8'

run pingpong --latency --transport tcp,shm --set progress=poll
expect_report pingpong '.plan.mode == "latency"' 'all(.points[].runs[]; .messages > 0 and .size_bytes == 64)' \
    'all(.points[].runs[]; .latency_us_p50 > 0 and .latency_us_p50 <= .latency_us_p99
        and .latency_us_p99 <= .latency_us_p999 and .latency_us_p999 <= .latency_us_max)' \
    'all(.points[].runs[]; .messages_per_s * 2 * .latency_us_p50 / 1e6 < 1.3)' # half of a round trip

# A large message keeps moving while its sender waits for the answer; left to the next call, one would
# take as long as that wait.
run large --latency --transport tcp --size 1MiB
expect_report large '.points[0].runs[0].messages > 20'

# 5000 a second for 0.2 s are 1000 messages, and each has a time.
run load --load 5000 --subscribers 2
expect_report load '.points[0].runs[0].messages == 1000' '.points[0].runs[0].latency_us_p50 > 0' \
    '.points[0].runs[0].latency_us_max < 60e6'
# A million that are due within a millisecond take longer than that, and their times say so: they run
# from when each was due, not from when it got its turn.
run overload --load 1000000000 --duration 0.001
expect_report overload '.points[0].runs[0].messages == 1000000' '.points[0].runs[0].latency_us_p50 > 1000' \
    '.points[0].runs[0].latency_us_max <= .points[0].runs[0].seconds * 1e6'

run idle --idle 1
expect_report idle '.points[0].runs[0].messages == 0' '.points[0].runs[0].publisher_cpu_percent < 50' \
    '.points[0].runs[0].subscriber_cpu_percent < 50'

# The environment and a file reach the processes; JSON goes to standard output when asked for.
printf 'batch:\n  size: 128KiB\n' >"$work/perf.yaml"
EMBAR_CHECKSUM=none "$perf" "${short[@]}" -c "$work/perf.yaml" --json - >"$work/stdout.json" 2>"$work/stdout.log" ||
    fail "--json - failed"
expect_report stdout '.points[0].runs[0].size_bytes == 128 * 1024 - 68'
grep -q 'GB/s' "$work/stdout.log" || fail "with --json - the table does not go to standard error"
