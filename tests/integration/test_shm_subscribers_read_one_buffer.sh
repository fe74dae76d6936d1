#!/usr/bin/env bash
# Several subscribers over shm read the publisher's own buffer: each gets every byte, the report says
# so, and one that stops in the midst of reading finds what it had unchanged, and is in nobody's way.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

small=(--set transport=shm --set buffer.size=16MiB --set batch.size=256KiB)

start_three() {
    local i addresses=()
    for i in 1 2 3; do
        start sub$i "$sub" --listen 127.0.0.1:0 "${small[@]}" --once --verify --report "$work/sub$i.json"
        listening sub$i
        addresses+=("$address")
    done
    address=$(IFS=,; echo "${addresses[*]}")
}

start_three
expect_pub pub 0 --set publisher.min_subscribers=3 --generate --size 50000 --total 1000000000
for i in 1 2 3; do
    expect_end sub$i 0
    expect_report sub$i '.bytes == 1000000000' '.verified.mismatches == 0' '.gaps == 0'
done
expect_report pub '.send_mode == "lent"' '.send_mode_why | test("read in the publisher")' \
    '.peers == {joined: 3, finished: 3, lost: 0}'

# The rate keeps it from being done before one is stopped. What that one had been lent must be the same
# when it goes on.
start_three
start pub "$pub" --connect "$address" "${small[@]}" --set publisher.min_subscribers=3 \
    --set slow_subscriber=drop --set slow_timeout=50ms \
    --generate --size 50000 --total 900000000 --rate 600000000 --stats 0.1 --report "$work/pub.json"
await "the stream to flow" logged pub ' [0-9.]+ MB in all'
kill -STOP "${pids[sub3]}"
await "the stopped one to be slow" logged pub 'is slow: .* dropped for it'
await "the others to have all" logged pub ' 900(\.0)? MB in all'
kill -CONT "${pids[sub3]}"
expect_end pub 1 # one did not get all
for i in 1 2; do
    expect_end sub$i 0
    expect_report sub$i '.bytes == 900000000' '.verified.mismatches == 0' '.gaps == 0'
done
ended sub3
# What it counts as wrong is the gap and nothing else.
expect_report sub3 '.verified.mismatches == 1' '.verified.first_mismatch | test("begins with message")' \
    '.checksum_errors == 0' '.gaps > 0' '.messages + .gaps == 18000'
expect_report pub '.send_mode == "lent"' '.peers == {joined: 3, finished: 3, lost: 0}'
