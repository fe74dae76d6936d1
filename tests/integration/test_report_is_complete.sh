#!/usr/bin/env bash
# The report has every field that is promised, with its type, from both tools; it replaces an old one
# whole, follows a link, and goes to standard output with "-".
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

shape='def n: type == "number"; def s: type == "string";
    (.transport, .stream, .send_mode | s) and
    (.messages, .batches, .bytes, .seconds, .rate_gbps_sent, .rate_gbps_placed, .rate_gbps_consumed,
     .latency_us.p50, .latency_us.p90, .latency_us.p99, .latency_us.p999, .latency_us.max,
     .zerocopy_sends, .zerocopy_copied, .pages.count, .gaps, .duplicates, .reordered,
     .checksum_errors, .reconnects, .failovers, .credit_stall_seconds, .cpu_seconds,
     .peak_rss_bytes, .receiver_not_ready, .registrations, .lanes, .lane_threads, .send_calls, .receive_calls,
     .peers.joined, .peers.finished, .peers.lost, .exit_status | n) and
    (.transport_why, .send_mode_why, .pages.kind, .tool, .version | s)'

echo old >"$work/target.json"
ln -s target.json "$work/pub.json"
start_sub sub --once --verify --set stream=harvest
expect_pub pub 0 --generate --size 4096 --count 10000 --set stream=harvest
expect_end sub 0
for name in pub sub; do
    jq -e ".| [$shape] | all" "$work/$name.json" >/dev/null || fail "the report of $name: $(cat "$work/$name.json")"
    expect_report $name '.stream == "harvest"' ".transport == \"$transport\"" '.bytes == 40960000' '.lanes >= 1' \
        '.cpu_seconds > 0' '.receiver_not_ready == 0' '.registrations == 0' \
        '.latency_us | .p50 <= .p90 and .p90 <= .p99 and .p99 <= .p999 and .p999 <= .max'
done
expect_report pub '.rate_gbps_sent >= .rate_gbps_consumed' '.send_calls > 0' '.tool == "embar-pub"'
expect_report sub '.receive_calls > 0' '.tool == "embar-sub"'
[[ -L $work/pub.json ]] || fail "the link was replaced by the report"
compgen -G "$work/*draft*" >/dev/null && fail "a draft of a report is left"

# The man pages name every field.
for name in pub sub; do
    for field in $(jq -r 'keys[]' "$work/$name.json"); do
        grep -q "\b$field\b" "$EMBAR_SOURCE/docs/man/embar-$name.1" ||
            fail "embar-$name.1 does not name the report's '$field'"
    done
done

start_sub sub --once --verify
"$pub" --connect "$address" "${small[@]}" --generate --size 10 --count 10 --report - -q >"$work/out.json"
expect_report out '.messages == 10' '.exit_status == 0'
expect_end sub 0

# Rates by interval, on stderr.
start_sub sub --once -o null
expect_pub pub 0 --generate --size 1000 --duration 0.5 --stats 0.1
expect_end sub 0
(($(grep -cE 's: .* in all; sent [0-9.]+, placed [0-9.]+, consumed [0-9.]+ GB/s; ' "$work/pub.log") >= 4)) ||
    fail "--stats 0.1 did not print a line that often"
