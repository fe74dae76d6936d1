#!/usr/bin/env bash
# Embar beside what one would otherwise use, in one interleaved run: every round runs every case once,
# sender on core 0, receiver on core 1, peers with their best known settings: all of it in a network
# namespace of its own, whose congestion control is cubic, as not every peer can choose. A ratio is the median over
# the rounds of the ratio within a round; "best peer" is the one with the best median.
#
#   compare.sh [--quick] [-n ROUNDS] [-t SECONDS] [-k REGEX] [-b BIN_FOLDER] [-o OUT_FOLDER] [-w]
#
# --quick is one round of short runs that leaves the host's pool of huge pages alone; -k runs only the cases whose name matches. Prints a markdown table
# and writes OUT_FOLDER/compare.md, compare.json (facts, rows, every single run), compare.svg and .png.
# With -w the table also replaces the one in docs/performance.md and the pictures go to docs/plots; that
# takes a quiet machine. A peer that is not installed is named with its package, and its rows go without.
set -euo pipefail

me=compare.sh
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$tree/tests/bench
rounds=5
seconds=2
bin=$tree/build/bin
out=$tree/build/bench
only=.
publish=false
is_quick=false
port=19500 # a new one for every run: a closed port may linger
usage="usage: compare.sh [--quick] [-n ROUNDS] [-t SECONDS] [-k REGEX] [-b BIN_FOLDER] [-o OUT_FOLDER] [-w]"
missing=()
net_a=embar-bench-a-$$
net_b=embar-bench-b-$$
address_a=198.18.77.1 # RFC 2544: for benchmarks, not routed
address_b=198.18.77.2

# A batch of 2 MiB less its header (64 bytes) and the message's (4): one message fills a slot.
full_batch=$((2 * 1024 * 1024 - 64 - 4))

# shellcheck source=tests/bench/lib.sh
. "$here/lib.sh"

clean_up()
{
    end_children
    ip netns del "$net_a" 2>/dev/null || true
    ip netns del "$net_b" 2>/dev/null || true
    hugepages_restore
    rm -rf "$work"
}

# ---- running one case --------------------------------------------------------------------------

record() # CASE JSON
{
    [[ -n $2 ]] || fail "$1 gave no figure"
    jq -c --arg case "$1" --argjson round "$round" '{case: $case, round: $round} + .' <<<"$2" \
        >>"$work/runs.jsonl"
}

# Runs a function for a case unless -k leaves it out.
case_of() # CASE FUNCTION ARGUMENT...
{
    local case=$1
    shift
    [[ $case =~ $only ]] || return 0
    port=$((port + 1))
    echo "  $case" >&2
    "$@"
}

# embar-perf's figures of one run, plus the ones that the rows ask for.
embar() # OPTION...
{
    "${inside[@]}" "$bin/embar-perf" -q --set tcp.congestion_control=cubic --duration "$seconds" --json - \
        "$@" >"$work/embar.json" 2>"$work/embar.log" || fail "$case failed: $(tail -1 "$work/embar.log")"
    record "$case" "$(jq -c '.points[0].runs[0] | . + {gbps: .consumed_gbps, us: .latency_us_p50,
        sender_calls: .publisher_calls_per_batch, receiver_calls: .subscriber_calls_per_batch,
        mib: .buffer_mib_per_link, sender_cpu: .publisher_cpu_s_per_gb, receiver_cpu: .subscriber_cpu_s_per_gb,
        busy: ([.publisher_cpu_percent, .subscriber_cpu_percent] | max)} | with_entries(select(.value != null))' \
        "$work/embar.json")"
}

# A program of tests/bench, which prints its own JSON.
program() # NAME ARGUMENT...
{
    local name=$1
    shift
    [[ -x $bin/$name ]] || return 0
    record "$case" "$("${inside[@]}" timeout 90 "$bin/$name" "$@")" || fail "$case failed"
}

# Its first second does not count. iperf3's CPU figures are percentages of its run time.
iperf() # ADDRESS FLAG...
{
    local address=$1 json
    shift
    command -v iperf3 >/dev/null || return 0
    "${inside_b[@]}" iperf3 -s -1 -p $port -A 1 >/dev/null 2>&1 &
    children=($!)
    wait_listening $port "${inside_b[@]}"
    json=$("${inside[@]}" timeout $((seconds_whole + 20)) iperf3 -c "$address" -p $port -A 0 -C cubic -l 1M \
        -O 1 -t "$seconds_whole" -J "$@") || fail "$case failed"
    wait "${children[0]}" || fail "the iperf3 server failed"
    children=()
    record "$case" "$(jq -c '.end | {gbps: (.sum_received.bits_per_second / 8e9),
        sender_cpu: (.cpu_utilization_percent.host_total / 100 * .sum_sent.seconds / (.sum_sent.bytes / 1e9)),
        receiver_cpu: (.cpu_utilization_percent.remote_total / 100 * .sum_received.seconds
            / (.sum_received.bytes / 1e9))}' <<<"$json")"
}

# ucx_perftest runs a number of iterations and prints microseconds for each.
ucx() # TLS TEST SIZE ITERATIONS
{
    local line
    command -v ucx_perftest >/dev/null || return 0
    UCX_TLS=$1 UCX_NET_DEVICES=$ucx_devices "${inside[@]}" taskset -c 1 ucx_perftest -p $port >/dev/null 2>&1 &
    children=($!)
    wait_listening $port "${inside[@]}"
    line=$(UCX_TLS=$1 UCX_NET_DEVICES=$ucx_devices "${inside[@]}" timeout 90 taskset -c 0 ucx_perftest 127.0.0.1 -p $port \
        -t "$2" -s "$3" -n "$4" -w 20 -f -v 2>/dev/null | tail -1) || fail "$case failed"
    end_children
    record "$case" "$(jq -cn --arg line "$line" --argjson size "$3" '$line | split(",") | .[3] | tonumber
        | {gbps: ($size / . / 1000)}')"
}

# ---- the cases -------------------------------------------------------------------------------

run_tcp()
{
    local kind
    ucx_devices=lo
    case_of "iperf3" iperf 127.0.0.1
    case_of "embar tcp 2 MiB" embar --transport tcp --checksum none
    case_of "iperf3 -Z" iperf 127.0.0.1 -Z
    case_of "embar tcp 2 MiB crc32c" embar --transport tcp --checksum crc32c
    case_of "ucx put" ucx tcp,self ucp_put_bw 2097152 300
    case_of "ucx am" ucx tcp,self ucp_am_bw 2097152 "$((2000 * seconds_whole))"
    case_of "ucx tag" ucx tcp,self tag_bw 2097152 "$((2000 * seconds_whole))"
    case_of "ucx stream" ucx tcp,self stream_bw 2097152 "$((1500 * seconds_whole))"
    for kind in push pub; do
        case_of "ZeroMQ $kind 2 MiB" program bench_zmq $kind tcp://127.0.0.1:$((port + 1)) $full_batch "$seconds"
        case_of "nng $kind 2 MiB" program bench_nng $kind tcp://127.0.0.1:$((port + 1)) $full_batch "$seconds"
        case_of "ZeroMQ $kind 4 KiB" program bench_zmq $kind tcp://127.0.0.1:$((port + 1)) 4096 "$seconds"
        case_of "nng $kind 4 KiB" program bench_nng $kind tcp://127.0.0.1:$((port + 1)) 4096 "$seconds"
    done
    case_of "embar tcp 4 KiB" embar --transport tcp --checksum none --size 4096 --source fill
    case_of "ZeroMQ pub 64 B" program bench_zmq pub tcp://127.0.0.1:$((port + 1)) 64 "$seconds"
    case_of "embar tcp 64 B" embar --transport tcp --checksum none --size 64 --source fill
}

run_veth()
{
    $has_veth || return 0
    local inside_b=(ip netns exec "$net_b")
    case_of "iperf3 veth" iperf $address_b
    case_of "embar veth 2 MiB" embar --transport tcp --checksum none --address $address_b \
        --subscriber-netns "$net_b"
    case_of "iperf3 -Z veth" iperf $address_b -Z
}

run_shm()
{
    ucx_devices=all
    case_of "memcpy 256 MiB" program bench_memcpy span 256 "$seconds"
    case_of "embar shm 2 MiB built" embar --transport shm --checksum none --source in-place --touch all
    case_of "memcpy 8 MiB" program bench_memcpy span 8 "$seconds"
    case_of "embar shm 2 MiB numbered" embar --transport shm --checksum none --touch all
    case_of "ucx shm tag" ucx shm,self tag_bw 2097152 "$((5000 * seconds_whole))"
    case_of "ucx shm am" ucx shm,self ucp_am_bw 2097152 "$((2000 * seconds_whole))"
    case_of "memcpy 4 KiB pattern" program bench_memcpy publish 16 "$seconds"
    case_of "embar shm 4 KiB" embar --transport shm --checksum none --size 4096 --source fill
}

run_latency()
{
    case_of "raw tcp ping-pong" program bench_pingpong 64 "$seconds"
    case_of "raw tcp ping-pong, two connections" program bench_pingpong 64 "$seconds" 2
    case_of "embar tcp ping-pong" embar --latency --transport tcp --checksum none --set progress=poll
    case_of "embar shm ping-pong" embar --latency --transport shm --checksum none --set progress=poll
}

run_many()
{
    local count transport cpus
    for transport in tcp shm; do
        for count in 1 2 4 8; do
            cpus=0$(printf ',1%.0s' $(seq $count)) # all subscribers on core 1
            case_of "embar $transport to $count" embar --transport $transport --checksum none --source fill \
                --touch all --subscribers $count --cpus "$cpus"
        done
    done
    case_of "embar tcp idle" embar --idle 2 --transport tcp
    case_of "embar shm idle" embar --idle 2 --transport shm
}

# Where this host has an RDMA device whose interface has an address.
run_rdma()
{
    local inside=() # the device is in the host's own namespace
    [[ -n $rdma_address ]] || return 0
    command -v ib_write_bw >/dev/null || return 0
    case_of "ib_write_bw" perftest
    case_of "embar rdma 2 MiB" embar --transport rdma --checksum none --address "$rdma_address"
}

perftest()
{
    taskset -c 1 ib_write_bw -R -F -p $port -s 2097152 -n 1000 -t 8 --use_hugepages >/dev/null 2>&1 &
    children=($!)
    sleep 1
    record "$case" "$(taskset -c 0 ib_write_bw -R -F -p $port -s 2097152 -n 1000 -t 8 --use_hugepages \
        --report_gbits "$rdma_address" 2>&1 | awk '$1 == 2097152 {printf "{\"gbps\": %f}\n", $4 / 8}')"
    wait "${children[0]}" || true
    children=()
}

# ---- before and after ------------------------------------------------------------------------

need() # COMMAND WHAT PACKAGE
{
    command -v "$1" >/dev/null || [[ -x $bin/$1 ]] || missing+=("$2 (package $3)")
}

find_peers()
{
    need iperf3 iperf3 iperf3
    need sysctl sysctl procps
    need ucx_perftest ucx_perftest ucx-utils
    need bench_zmq ZeroMQ "libzmq3-dev, then build again"
    need bench_nng nng "libnng-dev, then build again"
    need gnuplot "the picture" gnuplot-nox
    rdma_address=
    local netdev
    netdev=$(cat /sys/class/infiniband/*/ports/1/gid_attrs/ndevs/0 2>/dev/null | head -1) || true
    if [[ -z $netdev ]]; then
        missing+=("RDMA beside perftest (this host has no RDMA device; tests/bench/rdma.sh measures in a guest)")
    else
        need ib_write_bw perftest perftest
        rdma_address=$(ip -4 -o addr show dev "$netdev" | awk '{sub("/.*", "", $4); print $4; exit}')
    fi
}

# Cubic in both namespaces. Only what the host allows to everybody can be chosen there, so it is allowed
# for that moment.
use_cubic()
{
    local allowed net control=net.ipv4.tcp_congestion_control
    allowed=$(sysctl -n net.ipv4.tcp_allowed_congestion_control)
    sysctl -qw net.ipv4.tcp_allowed_congestion_control="$allowed cubic" 2>/dev/null || true
    for net in "$net_a" "$net_b"; do
        ip netns exec "$net" sysctl -qw $control=cubic 2>/dev/null || true
    done
    sysctl -qw net.ipv4.tcp_allowed_congestion_control="$allowed" 2>/dev/null || true
    [[ $(ip netns exec "$net_a" sysctl -n $control) == cubic ]] ||
        missing+=("peers that cannot choose cubic themselves with it (they use $(sysctl -n $control))")
}

# Two namespaces, joined by veth; in the first one everything runs.
set_up_network()
{
    has_veth=false
    inside=()
    inside_b=()
    if ! ip netns add "$net_a" 2>"$work/netns.log"; then
        missing+=("two namespaces over veth, and peers with cubic ($(head -1 "$work/netns.log"))")
        return 0
    fi
    ip netns add "$net_b"
    ip -n "$net_a" link add v0 type veth peer name v0 netns "$net_b"
    ip -n "$net_a" addr add $address_a/30 dev v0
    ip -n "$net_b" addr add $address_b/30 dev v0
    ip -n "$net_a" link set v0 up
    ip -n "$net_b" link set v0 up
    ip -n "$net_a" link set lo up
    ip -n "$net_b" link set lo up
    use_cubic
    has_veth=true
    inside=(ip netns exec "$net_a")
    inside_b=("${inside[@]}")
}

summarise()
{
    printf '%s\n' "${missing[@]}" | jq -R 'select(length > 0)' | jq -s . >"$work/missing.json"
    jq -s --slurpfile facts "$work/facts.json" --slurpfile missing "$work/missing.json" \
        --slurpfile rows "$here/compare-rows.json" -f "$here/compare.jq" "$work/runs.jsonl" >"$out/compare.json"
}

print_table()
{
    jq -r '
        def r: if . == null then "-" elif . >= 1000000 then "\(. / 10000 | round / 100) M"
            elif . >= 1000 then round else . * 100 | round / 100 end | tostring;
        (.facts | to_entries[] | "- \(.key): \(.value)"), (.missing[] | "- not measured: \(.)"), "",
        "| work | embar | compared with | it does | ratio (lowest-highest) | asked for | met |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        (.rows[] | "| \(.work) | \(.value | r) \(.unit) | \(.peer // "-") | \(.peer_value | r) | \(
            if .ratio then "\(.ratio | r) (\(.lowest | r)-\(.highest | r))" else "-" end) | \(
            .asked) | \(if .met == null then "-" elif .met then "yes" else "**no**" end) |"),
        "",
        "| case | GB/s (lowest-highest) | messages/s | p50 us | CPU s/GB sender | receiver | calls/batch sender | receiver | MiB/link | send mode |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        (.cases[] | "| \(.case) | \(if .gbps then "\(.gbps | r) (\(.lowest | r)-\(.highest | r))" else "-" end) | \(
            .messages_per_s | r) | \(.us | r) | \(.sender_cpu | if . then . * 1000 | round / 1000 else "-" end) | \(
            .receiver_cpu | if . then . * 1000 | round / 1000 else "-" end) | \(.sender_calls | r) | \(
            .receiver_calls | r) | \(.mib | r) | \(.send_mode // "-") |")' \
        "$out/compare.json" | tee "$out/compare.md"
}

draw()
{
    command -v gnuplot >/dev/null || return 0
    jq -r '.rows | map(select(.ratio)) | to_entries[]
        | [.key, .value.ratio, .value.target // 0, (.value.met == true),
           "\(.value.work) / \(.value.peer)"] | "\(.[0])\t\(.[1])\t\(.[2])\t\(if .[3] then 1 else 0 end)\t\(.[4])"' \
        "$out/compare.json" >"$out/compare.tsv"
    [[ -s $out/compare.tsv ]] || return 0
    (cd "$out" && gnuplot -e "rows=$(wc -l <compare.tsv)" "$here/compare.gp")
}

# ---- main ------------------------------------------------------------------------------------

while (($# > 0)); do
    case $1 in
    --quick)
        is_quick=true
        rounds=1
        seconds=0.5
        ;;
    -w) publish=true ;;
    -n | -t | -k | -b | -o)
        (($# > 1)) || fail "$1 needs a value; $usage"
        case $1 in
        -n) rounds=$2 ;;
        -t) seconds=$2 ;;
        -k) only=$2 ;;
        -b) bin=$(cd "$2" && pwd) ;;
        -o) out=$2 ;;
        esac
        shift
        ;;
    *) fail "$usage" ;;
    esac
    shift
done
[[ $rounds =~ ^[1-9][0-9]*$ && $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]] || fail "ROUNDS is a whole number, SECONDS a number"
seconds_whole=$(awk -v s="$seconds" 'BEGIN {print s < 1 ? 1 : int(s + 0.5)}') # iperf3 takes no fractions
(($(nproc) >= 2)) || fail "two cores are needed, one for each end"
[[ -x $bin/embar-perf ]] || fail "no embar-perf in $bin; build it or give -b"
command -v jq >/dev/null || fail "jq is not installed (package jq)"
if $publish; then
    ! $is_quick && [[ $only == . ]] || fail "-w publishes the whole table: not with --quick or -k"
    require_quiet
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT TERM
: >"$work/runs.jsonl"
find_peers
set_up_network
for what in "${missing[@]}"; do
    echo "$me: not measured: $what" >&2
done
$is_quick || hugepages_reserve 2560 >&2 # 256 MiB for the publisher and each of eight subscribers
host_facts iperf3 "$(iperf3 --version 2>/dev/null | head -1)" \
    embar "$(git -C "$tree" describe --always --dirty 2>/dev/null || "$bin/embar-perf" --version)" >"$work/facts.json"
for ((round = 1; round <= rounds; round++)); do
    echo "round $round of $rounds" >&2
    run_tcp
    run_veth
    run_shm
    run_latency
    run_many
    run_rdma
done
[[ -s $work/runs.jsonl ]] || fail "-k $only matches no case"
summarise
print_table
draw
if $publish; then
    publish_tables "$out/compare.md"
    mkdir -p "$tree/docs/plots"
    cp "$out/compare.svg" "$out/compare.png" "$tree/docs/plots/"
fi
