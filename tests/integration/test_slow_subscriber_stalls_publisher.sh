#!/usr/bin/env bash
# A subscriber that is stopped stalls its publisher: no message is lost, no memory grows, and when it
# goes on, everything arrives.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

resident() { # NAME: resident bytes, huge pages included
    awk '/^(VmRSS|HugetlbPages):/ {sum += $2} END {print sum * 1024}' "/proc/${pids[$1]}/status"
}
written() { # NAME: bytes published so far, by the latest line of --stats
    sed -nE 's/^embar-...: [0-9.]+ s: ([0-9.]+ [kMGT]?B) in all.*/\1/p' "$work/$1.log" | tail -1
}

total=${EMBAR_TEST_STREAM_BYTES:-2000000000} # less where the machine is emulated
start_sub sub --once --verify
# The rate keeps a fast transport from being done before it can be stalled.
start pub "$pub" --connect "$address" "${small[@]}" --set batch.in_flight=4 \
    --generate --size 100000 --total "$total" --rate 600000000 --stats 0.1 --report "$work/pub.json"
await "the stream to flow" logged pub ' [0-9.]+ MB in all'
kill -STOP "${pids[sub]}"

# Stalled: two lines of stats in a row without a byte in between.
stalled() {
    local lines
    lines=$(sed -nE 's/^embar-pub: [0-9.]+ s: .* B in all|^embar-pub: [0-9.]+ s: (.*) in all.*/\1/p' \
        "$work/pub.log" | tail -3 | sort -u | wc -l)
    ((lines == 1)) && logged pub 'stalled (9[0-9]|100)%'
}
await "the publisher to stall" stalled
before=$(resident pub)
mark=$(written pub)
lines=$(wc -l <"$work/pub.log")
more_lines() { (($(wc -l <"$work/pub.log") >= lines + 10)); }
await "ten more lines of stats" more_lines
after=$(resident pub)
[[ $(written pub) == "$mark" ]] || fail "the publisher went on from $mark to $(written pub)"
((after - before < 1000000)) || fail "the stalled publisher grew from $before to $after bytes"

kill -CONT "${pids[sub]}"
expect_end pub 0
expect_end sub 0
expect_report sub ".bytes == $total" '.verified.mismatches == 0' '.gaps == 0' '.receiver_not_ready == 0'
expect_report pub '.credit_stall_seconds > 0.5' '.receiver_not_ready == 0' '.peers == {joined: 1, finished: 1, lost: 0}'
