#!/usr/bin/env bash
# Four lanes, each with a thread of its own at both ends: all arrives and is in order, however it is sent; cuts of
# all connections, in the middle of what the threads do, lose nothing; a slow lane does not stall the others; and
# where there is no processor for them, there are no threads, and that is said.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

threads=(--set tcp.lanes=4 --set tcp.lane_threads=yes --set tcp.lane_thread_limit=32KiB)

for mode in auto copy splice zerocopy; do
    start_sub sub --once --verify "${threads[@]}"
    expect_pub pub 0 --generate --size 100000 --total 600000000 "${threads[@]}" --set "tcp.send_mode=$mode"
    expect_end sub 0
    expect_report pub '.lanes == 4' '.lane_threads == 4' '.reconnects == 0'
    expect_report sub '.lane_threads == 4' '.verified.mismatches == 0' '.gaps == 0' '.checksum_errors == 0'
done

random_file "$work/sent" 60000001
for mode in copy splice zerocopy; do
    how=("${threads[@]}" --set "tcp.send_mode=$mode" --set batch.size=256KiB --set checksum=none)
    start_sub sub --once -o "$work/got" "${how[@]}"
    start_proxy proxy --cut 1000 --cut 5000000 --cut 20000000 --cut 45000000
    expect_pub pub 0 -i "$work/sent" "${how[@]}"
    expect_end sub 0
    same_bytes "$work/sent" "$work/got"
    expect_report pub '.lane_threads == 4' '.reconnects >= 2' '.peers == {joined: 1, finished: 1, lost: 0}'
    expect_report sub '.gaps == 0'
    kill -KILL "${pids[proxy]}"
    ended proxy
done

# Told from what each lane carried, not from the time it took.
carried() { # LANE: bytes that the publisher sent on it
    sed -n "s/.*lane $1 of 4 sent \\([0-9]*\\) .*/\\1/p" "$work/pub.log"
}
for mode in copy splice; do
    how=("${threads[@]}" --set "tcp.send_mode=$mode" --set batch.size=256KiB --set batch.in_flight=32)
    start_sub sub --once --verify "${how[@]}"
    start_proxy proxy --throttle 6000000 --only 2
    expect_pub pub 0 -v --generate --size 200000 --total 150000000 "${how[@]}"
    expect_end sub 0
    expect_report sub '.lane_threads == 4' '.verified.mismatches == 0' '.reconnects == 0'
    total=0
    for lane in 0 1 2 3; do total=$((total + $(carried $lane))); done
    ((total > 150000000)) || fail "the lanes carried $total bytes of 150000000"
    (($(carried 2) * 10 < total)) || fail "the slow lane carried $(carried 2) of $total bytes by $mode"
    kill -KILL "${pids[proxy]}"
    ended proxy
done

# auto: one processor is not enough for two lanes.
start_sub sub --once --verify --set tcp.lanes=2 --set tcp.lane_threads=no
run_on_one=(taskset -c "$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')")
timeout "$patience" "${run_on_one[@]}" "$pub" --connect "$address" "${small[@]}" -v --report "$work/pub.json" \
    --generate --size 100000 --total 20000000 --set tcp.lanes=2 2>"$work/pub.log" || fail "the publisher failed"
expect_end sub 0
expect_report pub '.lanes == 2' '.lane_threads == 0'
logged pub 'one thread serves all lanes: the process may run on 1 processors' || fail "it does not say why"
