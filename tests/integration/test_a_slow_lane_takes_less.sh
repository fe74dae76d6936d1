#!/usr/bin/env bash
# One of four lanes has a path that is far slower than the others': it takes less, and the stream does not run
# at its pace, as it would if the lanes took turns. Told from what each lane carried, not from the time it took.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

carried() { # LANE: bytes that the publisher sent on it
    sed -n "s/.*lane $1 of 4 sent \\([0-9]*\\) .*/\\1/p" "$work/pub.log"
}

for mode in copy splice; do
    lanes=(--set tcp.lanes=4 --set "tcp.send_mode=$mode" --set batch.size=256KiB --set batch.in_flight=32)
    start_sub sub --once --verify "${lanes[@]}"
    start_proxy proxy --throttle 6000000 --only 2
    expect_pub pub 0 -v --generate --size 200000 --total 150000000 "${lanes[@]}"
    expect_end sub 0
    expect_report sub '.lanes == 4' '.verified.mismatches == 0' '.reconnects == 0'
    total=0
    for lane in 0 1 2 3; do total=$((total + $(carried $lane))); done
    ((total > 150000000)) || fail "the lanes carried $total bytes of 150000000"
    (($(carried 2) * 10 < total)) || fail "the slow lane carried $(carried 2) of $total bytes by $mode"
    kill -KILL "${pids[proxy]}"
    ended proxy
done
