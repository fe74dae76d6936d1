#!/usr/bin/env bash
# Runs in a lab guest, or on a host that has RDMA: one link of the rdma transport against perftest over
# the same device, in turns, medians and their ratio. bench.sh [ROUNDS] [WRITES]. Needs EMBAR_BIN and
# the lab's EMBAR_LAB_*. Emulated figures say something about the ratio only.
set -uo pipefail

rounds=${1:-7}
writes=${2:-100}
slot=2097152
address=$EMBAR_LAB_ADDR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

median() { # FILE
    sort -g "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'
}

# perftest does not say when it listens: its client tries until it is heard.
perftest() { # TOOL OPTION...
    local server
    timeout 120 "$@" -R -d "$EMBAR_LAB_DEVICE" -p 18515 >"$work/server.log" 2>&1 &
    server=$!
    for _ in {1..10}; do
        sleep 0.5
        timeout 100 "$@" -R -d "$EMBAR_LAB_DEVICE" -p 18515 "$address" 2>/dev/null && break
    done
    kill "$server" 2>/dev/null
    wait
}

transport() { # MODE SLOT_BYTES SLOTS COUNT SETTING...
    local mode=$1 bytes=$2 slots=$3 count=$4
    shift 4
    timeout 120 "$EMBAR_BIN/transport_bench" server rdma "$address:9400" "$@" >"$work/server.log" 2>&1 &
    until grep -q listening "$work/server.log"; do sleep 0.05; done
    timeout 100 "$EMBAR_BIN/transport_bench" client rdma "$address:9400" "$mode" "$bytes" "$slots" "$count" "$@" \
        2>/dev/null
    wait
}

for ((round = 0; round < rounds; round++)); do
    perftest ib_write_bw -s $slot -n "$writes" --use_hugepages --report_gbits |
        awk -v s=$slot '$1 == s {print $4 * 125}' >>"$work/perftest"
    for slots in 4 16 128; do
        transport write $slot "$slots" "$writes" | awk '/MB.s/ {print $2}' >>"$work/embar_$slots"
    done
done
printf '%-40s %10s %8s\n' "$((slot >> 20)) MiB writes, median of $rounds" MB/s ratio
base=$(median "$work/perftest")
printf '%-40s %10.1f\n' "ib_write_bw -R, one buffer, 128 deep" "$base"
for slots in 4 16 128; do
    rate=$(median "$work/embar_$slots")
    printf '%-40s %10.1f %8.2f\n' "transport, $slots slots, credits" "$rate" \
        "$(awk -v a="$rate" -v b="$base" 'BEGIN {print a / b}')"
done

for ((round = 0; round < rounds; round++)); do
    perftest ib_write_lat -s 64 -n 1000 | awk '$1 == 64 {print $5}' >>"$work/lat"
    transport latency 64 4 1000 rdma.completion=poll | awk '/us p50/ {print $3}' >>"$work/embar_lat"
done
printf '%-40s %10s %8s\n' "64 bytes one way, median of $rounds" us ratio
base=$(median "$work/lat")
rate=$(median "$work/embar_lat")
printf '%-40s %10.1f\n' "ib_write_lat -R" "$base"
printf '%-40s %10.1f %8.2f\n' "transport, write with arrival" "$rate" \
    "$(awk -v a="$rate" -v b="$base" 'BEGIN {print a / b}')"
