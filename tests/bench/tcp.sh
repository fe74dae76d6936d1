#!/usr/bin/env bash
# TCP over loopback against iperf3, in one interleaved run: every round runs every case once, three at
# a time right after iperf3 with and without -Z, and a ratio is taken only against those two. Sender
# on core 0, receiver on core 1, cubic on both, so that like is compared with like.
#
#   tcp.sh [-n ROUNDS] [-t SECONDS] [-b BIN_FOLDER] [-o OUT_FOLDER] [-w]
#
# Prints a markdown table (medians) and writes OUT_FOLDER/tcp.md, tcp.json (facts, cases, every run).
# With -w the table also replaces the one in docs/performance.md; that takes a quiet machine.
set -euo pipefail

me=tcp.sh
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
rounds=5
seconds=2
bin=$tree/build/bin
out=$tree/build/bench
port=19400
publish=false

# A batch of 2 MiB less its header (64 bytes) and the message's (4): one message fills a slot.
full_batch=$((2 * 1024 * 1024 - 64 - 4))

# shellcheck source=tests/bench/lib.sh
. "$tree/tests/bench/lib.sh"

clean_up()
{
    end_children
    hugepages_restore
    rm -rf "$work"
}

# One line of runs.jsonl: a case, its group, which iperf3 runs it is compared with, and the figures.
record() # CASE JSON
{
    jq -c --arg case "$1" --arg group "$group" --arg round "$round" --arg beside "$beside" \
        '{case: $case, group: $group, round: $round, beside: $beside} + .' <<<"$2" >>"$work/runs.jsonl"
}

# iperf3's CPU figures are percentages of its run time.
run_iperf() # CASE FLAG...
{
    local case=$1 json
    shift
    iperf3 -s -1 -p $port -A 1 >/dev/null 2>&1 &
    children=($!)
    wait_listening $port
    json=$(timeout $((seconds + 20)) iperf3 -c 127.0.0.1 -p $port -A 0 -C cubic -l 1M -t "$seconds" -J "$@")
    wait "${children[0]}" || fail "the iperf3 server failed"
    children=()
    record "$case" "$(jq '.end | {
        gbps: (.sum_received.bits_per_second / 8e9),
        sender_cpu: (.cpu_utilization_percent.host_total / 100 * .sum_sent.seconds
            / (.sum_sent.bytes / 1e9)),
        receiver_cpu: (.cpu_utilization_percent.remote_total / 100 * .sum_received.seconds
            / (.sum_received.bytes / 1e9))}' <<<"$json")"
}

run_embar() # SIZE MODE CHECKSUM ACK
{
    local case="$2, checksum $3, ack $4"
    local settings=(--set "tcp.send_mode=$2" --set "checksum=$3" --set "ack=$4"
        --set tcp.congestion_control=cubic)
    taskset -c 1 "$bin/embar-sub" "${settings[@]}" --listen 127.0.0.1:$port -o null -q --once \
        --report "$work/sub.json" &
    children=($!)
    wait_listening $port
    taskset -c 0 "$bin/embar-pub" "${settings[@]}" --connect 127.0.0.1:$port -q --generate \
        --size "$1" --duration "$seconds" --flush-level consumed --report "$work/pub.json"
    wait "${children[0]}" || fail "embar-sub failed in case $case"
    children=()
    record "$case" "$(jq -s '.[0] as $p | .[1] as $s | {
        gbps: $p.rate_gbps_consumed, sent: $p.rate_gbps_sent, placed: $p.rate_gbps_placed,
        consumed: $p.rate_gbps_consumed, messages_per_s: ($p.messages / $p.seconds),
        latency_p50_us: $p.latency_us.p50, latency_p99_us: $p.latency_us.p99,
        sender_cpu: ($p.cpu_seconds / ($p.bytes / 1e9)),
        receiver_cpu: ($s.cpu_seconds / ($s.bytes / 1e9)),
        send_mode: $p.send_mode, zerocopy_sends: $p.zerocopy_sends,
        zerocopy_copied: $p.zerocopy_copied, pages: $p.pages.kind}' \
        "$work/pub.json" "$work/sub.json")"
}

run_group() # NAME SIZE
{
    local group=$1 mode checksum ack
    for mode in copy zerocopy splice auto; do
        for checksum in none crc32c; do
            local beside="$mode $checksum"
            run_iperf "iperf3"
            run_iperf "iperf3 -Z" -Z
            for ack in sent placed consumed; do
                run_embar "$2" $mode $checksum $ack
            done
        done
    done
}

# Medians over the rounds; ratios are medians of each run's ratio to the iperf3 run beside it.
summarise()
{
    jq -s --slurpfile facts "$work/facts.json" '
        def median: sort | if length == 0 then null
            elif length % 2 == 1 then .[length / 2 | floor]
            else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        . as $runs |
        def base($case; $run): first($runs[] | select(.case == $case and .group == $run.group
            and .round == $run.round and .beside == $run.beside) | .gbps);
        {facts: $facts[0],
         cases: (group_by([.group, (.case | startswith("iperf3") | not), .case]) | map({
            group: .[0].group, case: .[0].case, runs: length,
            gbps: (map(.gbps) | median), lowest: (map(.gbps) | min), highest: (map(.gbps) | max),
            sent: (map(.sent | values) | median), placed: (map(.placed | values) | median),
            messages_per_s: (map(.messages_per_s | values) | median),
            latency_p50_us: (map(.latency_p50_us | values) | median),
            sender_cpu: (map(.sender_cpu) | median), receiver_cpu: (map(.receiver_cpu) | median),
            to_iperf3: (map(. as $r | .gbps / base("iperf3"; $r)) | median),
            to_iperf3_Z: (map(. as $r | .gbps / base("iperf3 -Z"; $r)) | median),
            zerocopy_sends: (map(.zerocopy_sends | values) | median),
            zerocopy_copied: (map(.zerocopy_copied | values) | median)})),
         runs: $runs}' "$work/runs.jsonl" >"$out/tcp.json"
}

print_tables()
{
    jq -r '
        def r($n): if . == null then "-" else . * pow(10; $n) | round / pow(10; $n) | tostring end;
        (.facts | to_entries[] | "- \(.key): \(.value)"), "",
        (.cases | group_by(.group)[] |
            "### \(.[0].group)", "",
            "| case | consumed GB/s (lowest-highest) | sent | placed | of iperf3 | of iperf3 -Z | messages/s | latency p50 us | CPU s/GB sender | receiver |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            (.[] | "| \(.case) | \(.gbps | r(2)) (\(.lowest | r(2))-\(.highest | r(2))) | \(.sent | r(2)) | \(.placed | r(2)) | \(.to_iperf3 | r(2)) | \(.to_iperf3_Z | r(2)) | \(.messages_per_s | r(0)) | \(.latency_p50_us | r(0)) | \(.sender_cpu | r(3)) | \(.receiver_cpu | r(3)) |"),
            "")' "$out/tcp.json" | tee "$out/tcp.md"
}

while getopts n:t:b:o:w flag; do
    case $flag in
    n) rounds=$OPTARG ;;
    t) seconds=$OPTARG ;;
    b) bin=$OPTARG ;;
    o) out=$OPTARG ;;
    w) publish=true ;;
    *) fail "usage: tcp.sh [-n ROUNDS] [-t SECONDS] [-b BIN_FOLDER] [-o OUT_FOLDER] [-w]" ;;
    esac
done
[[ $rounds =~ ^[1-9][0-9]*$ && $seconds =~ ^[1-9][0-9]*$ ]] || fail "ROUNDS and SECONDS are whole numbers"
(($(nproc) >= 2)) || fail "two cores are needed, one for each end"
if is_listening $port; then fail "port $port is in use, perhaps by another measurement; one at a time"; fi
[[ -x $bin/embar-pub && -x $bin/embar-sub ]] || fail "no tools in $bin; build them or give -b"
packages_install "${packages_bench[@]}" || exit 1
if $publish; then require_quiet; fi
work=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT TERM
mkdir -p "$out"
hugepages_reserve 512
host_facts iperf3 "$(iperf3 --version | head -1)" >"$work/facts.json"
for ((round = 1; round <= rounds; round++)); do
    echo "round $round of $rounds" >&2
    run_group "2 MiB batches, one message each" $full_batch
    run_group "4 KiB messages in 2 MiB batches" 4096
done
summarise
print_tables
if $publish; then publish_tables "$out/tcp.md"; fi
