#!/usr/bin/env bash
# Four lanes, each with a thread of its own at both ends: all arrives and is in order, however it is sent; cuts of
# all connections, in the middle of what the threads do, lose nothing; a slow lane does not stall the others; and
# where there is no processor for them, there are no threads, and that is said.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1
# shellcheck source=tests/integration/lanes.sh
. "$(dirname "${BASH_SOURCE[0]}")/lanes.sh" || exit 1

threads=(--set tcp.lanes=4 --set tcp.lane_threads=yes --set tcp.lane_thread_limit=32KiB)

for mode in auto copy splice zerocopy; do
    start_sub sub --once --verify "${threads[@]}"
    expect_pub pub 0 --generate --size 100000 --total 600000000 "${threads[@]}" --set "tcp.send_mode=$mode"
    expect_end sub 0
    expect_report pub '.lanes == 4' '.lane_threads == 4' '.reconnects == 0'
    expect_report sub '.lane_threads == 4' '.verified.mismatches == 0' '.gaps == 0' '.checksum_errors == 0'
done

for mode in copy splice zerocopy; do
    expect_cuts_to_lose_nothing $mode "${threads[@]}"
    expect_report pub '.lane_threads == 4'
done

for mode in copy splice; do
    expect_a_slow_lane_to_take_less $mode "${threads[@]}"
    expect_report sub '.lane_threads == 4'
done

# auto: one processor is not enough for two lanes.
start_sub sub --once --verify --set tcp.lanes=2 --set tcp.lane_threads=no
run_on_one=(taskset -c "$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')")
timeout "$patience" "${run_on_one[@]}" "$pub" --connect "$address" "${small[@]}" -v --report "$work/pub.json" \
    --generate --size 100000 --total 20000000 --set tcp.lanes=2 2>"$work/pub.log" || fail "the publisher failed"
expect_end sub 0
expect_report pub '.lanes == 2' '.lane_threads == 0'
logged pub 'one thread serves all lanes: the process may run on 1 processors' || fail "it does not say why"
