#!/usr/bin/env bash
# RDMA beside perftest on the same device, in one interleaved run: every round runs every case once.
# In a guest with soft-RoCE unless this host has an RDMA device of its own (see tests/rxe/lab), so the
# figures of a guest are those of an emulated processor and only their ratios mean anything.
#
#   rdma.sh [-n ROUNDS] [-b BIN_FOLDER] [-o OUT_FOLDER]
#
# Prints a markdown table of medians and writes it to OUT_FOLDER/rdma.md, every run to rdma.jsonl.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
rounds=5
bin=$tree/build/bin
out=$tree/build/bench

# ---- in the guest ------------------------------------------------------------------------------

record() # CASE UNIT VALUE
{
    [[ -n $3 ]] || { echo "rdma.sh: $1 gave no figure" >&2; exit 1; }
    printf '{"case": "%s", "unit": "%s", "value": %s}\n' "$1" "$2" "$3" >>"$EMBAR_LAB_OUT/rdma.jsonl"
}

# Starts a server in the background and waits until it listens, by the kernel's own table.
serve()
{
    "$@" >/tmp/server.log 2>&1 &
    server=$!
    until rdma resource show cm_id | grep -q LISTEN; do
        kill -0 "$server" 2>/dev/null || { cat /tmp/server.log >&2; exit 1; }
        sleep 0.1
    done
}

perftest_write_bw()
{
    serve ib_write_bw -R -F -s 2097152 -n 64 -t 8 --use_hugepages
    record "ib_write_bw" MB/s "$(ib_write_bw -R -F -s 2097152 -n 64 -t 8 --use_hugepages --report_gbits \
        "$EMBAR_LAB_ADDR" 2>&1 | awk '$1 == 2097152 {print $4 * 125}')"
    wait "$server"
}

# What perftest does: the same bytes again and again, here with a new number at the head of each
# batch. Sequence, credits and, if asked for, the checksum of whole streams.
embar_perf() # CASE CHECKSUM
{
    "$bin/embar-perf" -q -c "$tree/config/rxe.yaml" --transport rdma --address "$EMBAR_LAB_ADDR" \
        --cpus none --size full --checksum "$2" --duration 2 --json /tmp/perf.json >/dev/null
    record "$1" MB/s "$(jq '.points[0].median.consumed_gbps * 1000' /tmp/perf.json)"
}

# With a publisher that fills every byte of every message.
embar_stream() # CASE CHECKSUM
{
    local config=(-q -c "$tree/config/rxe.yaml" --set "checksum=$2" --report)
    serve "$bin/embar-sub" "${config[@]}" /tmp/sub.json --listen "$EMBAR_LAB_ADDR:9400" --once -o null
    "$bin/embar-pub" "${config[@]}" /tmp/pub.json --connect "$EMBAR_LAB_ADDR:9400" --generate \
        --size 2097084 --total 256MiB
    wait "$server"
    record "$1" MB/s "$(jq '.rate_gbps_consumed * 1000' /tmp/pub.json)"
}

# Below the stream level: no sequence, no checksum, but a credit for every write.
embar_transport()
{
    serve "$bin/transport_bench" server rdma "$EMBAR_LAB_ADDR:9401"
    record "embar, transport level alone" MB/s "$("$bin/transport_bench" client rdma "$EMBAR_LAB_ADDR:9401" \
        write 2097152 8 128 2>/dev/null | awk '/^MB.s/ {print $2}')"
    wait "$server"
}

# One core each: two that poll on one core would wait for each other's time slices.
perftest_write_lat()
{
    serve taskset -c 0 ib_write_lat -R -F -s 64 -n 1000
    record "ib_write_lat, half a round trip" us "$(taskset -c 1 ib_write_lat -R -F -s 64 -n 1000 "$EMBAR_LAB_ADDR" 2>&1 |
        awk '$1 == 64 {print $5}')"
    wait "$server"
}

embar_latency()
{
    serve taskset -c 0 "$bin/transport_bench" server rdma "$EMBAR_LAB_ADDR:9401" rdma.completion=poll
    record "embar, half a round trip" us "$(taskset -c 1 "$bin/transport_bench" client rdma "$EMBAR_LAB_ADDR:9401" latency \
        64 1 1000 rdma.completion=poll 2>/dev/null | awk '/^us p50/ {print $3}')"
    wait "$server"
}

# rping prints no times: a thousand round trips by the clock, less what connecting takes.
rping_round_trips()
{
    local began ended count=1000
    serve taskset -c 0 rping -s -a "$EMBAR_LAB_ADDR" -C "$count"
    began=$EPOCHREALTIME
    taskset -c 1 rping -c -a "$EMBAR_LAB_ADDR" -C "$count" -S 64 >/dev/null
    ended=$EPOCHREALTIME
    wait "$server" || true
    record "rping, half a round trip (connecting included)" us \
        "$(awk -v a="${began/,/.}" -v b="${ended/,/.}" -v n="$count" 'BEGIN {print (b - a) * 1e6 / n / 2}')"
}

in_guest()
{
    local round
    for ((round = 0; round < rounds; round++)); do
        perftest_write_bw
        embar_perf "embar, checksum none" none
        embar_perf "embar, checksum crc32c" crc32c
        embar_stream "embar-pub --generate, checksum none" none
        embar_transport
        perftest_write_lat
        embar_latency
        rping_round_trips
        echo "round $((round + 1)) of $rounds"
    done
}

# ---- on this host ------------------------------------------------------------------------------

table()
{
    jq -rs '
        def median: sort | if length % 2 == 1 then .[length / 2 | floor]
            else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def digits: . * 100 | round / 100;
        group_by(.case) | map({case: .[0].case, unit: .[0].unit, values: map(.value)}) as $cases
        | (reduce $cases[] as $c ({}; .[$c.case] = $c.values)) as $of
        | "| case | median | lowest-highest | unit | ratio to the first, median of rounds |",
          "| --- | --- | --- | --- | --- |",
          ($cases | sort_by(.unit, (.case | startswith("embar"))) | .[]
           | (if .unit == "MB/s" then $of["ib_write_bw"] else $of["ib_write_lat, half a round trip"] end) as $base
           | "| \(.case) | \(.values | median | digits) | \(.values | min | digits)-\(.values | max | digits) | \(.unit) | \(
                [range(.values | length) as $i | .values[$i] / $base[$i]] | median | digits) |")
    ' "$out/rdma.jsonl"
}

while getopts n:b:o:g option; do
    case $option in
    n) rounds=$OPTARG ;;
    b) bin=$(cd "$OPTARG" && pwd) ;;
    o) out=$OPTARG ;;
    g) in_guest; exit ;;
    *) exit 2 ;;
    esac
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out/rdma.jsonl"
sees=() # a guest has a /tmp, /run and /dev/shm of its own
[[ $tree =~ ^/(tmp|run|dev/shm)/ ]] && sees=(--rw "$tree")
"$tree/tests/rxe/lab" run "${sees[@]}" --timeout $((rounds * 120 + 60))s --out "$out" \
    "bash '$tree/tests/bench/rdma.sh' -n $rounds -b '$bin' -g"
{
    echo "- processor: $(awk -F': ' '/^model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) cores"
    echo "- rounds: $rounds"
    echo
    table
} | tee "$out/rdma.md"
