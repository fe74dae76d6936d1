# What the tests of several lanes share, with threads of their own or without. Sourced after lib.sh.
# shellcheck shell=bash

# Four lanes carry a file while all connections are cut again and again; nothing is lost.
expect_cuts_to_lose_nothing() # MODE OPTION...
{
    local how=(--set tcp.lanes=4 --set "tcp.send_mode=$1" --set batch.size=256KiB --set checksum=none "${@:2}")
    [[ -s $work/sent ]] || random_file "$work/sent" 60000001
    start_sub sub --once -o "$work/got" "${how[@]}"
    start_proxy proxy --cut 1000 --cut 5000000 --cut 20000000 --cut 45000000
    expect_pub pub 0 -i "$work/sent" "${how[@]}"
    expect_end sub 0
    same_bytes "$work/sent" "$work/got"
    expect_report pub '.lanes == 4' '.reconnects >= 2' '.peers == {joined: 1, finished: 1, lost: 0}'
    expect_report sub '.lanes == 4' '.gaps == 0'
    kill -KILL "${pids[proxy]}"
    ended proxy
}

carried() # LANE: bytes that the publisher sent on it
{
    sed -n "s/.*lane $1 of 4 sent \\([0-9]*\\) .*/\\1/p" "$work/pub.log"
}

# One of four lanes has a path that is far slower than the others': it takes less, and the stream does not run
# at its pace, as it would if the lanes took turns. Told from what each lane carried, not from the time it took.
expect_a_slow_lane_to_take_less() # MODE OPTION...
{
    local how=(--set tcp.lanes=4 --set "tcp.send_mode=$1" --set batch.size=256KiB --set batch.in_flight=32 "${@:2}")
    local total=0 lane
    start_sub sub --once --verify "${how[@]}"
    start_proxy proxy --throttle 6000000 --only 2
    expect_pub pub 0 -v --generate --size 200000 --total 150000000 "${how[@]}"
    expect_end sub 0
    expect_report sub '.lanes == 4' '.verified.mismatches == 0' '.reconnects == 0'
    for lane in 0 1 2 3; do total=$((total + $(carried $lane))); done
    ((total > 150000000)) || fail "the lanes carried $total bytes of 150000000"
    (($(carried 2) * 10 < total)) || fail "the slow lane carried $(carried 2) of $total bytes by $1"
    kill -KILL "${pids[proxy]}"
    ended proxy
}
