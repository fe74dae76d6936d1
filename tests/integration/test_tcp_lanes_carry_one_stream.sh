#!/usr/bin/env bash
# Several connections under one link: batches that overtake each other are put in order again, and a
# cut of all of them loses nothing, however they send. The side that wants fewer lanes decides.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

random_file "$work/sent" 60000001
for mode in copy splice zerocopy; do
    lanes=(--set tcp.lanes=4 --set "tcp.send_mode=$mode" --set batch.size=256KiB --set checksum=none)
    start_sub sub --once -o "$work/got" "${lanes[@]}"
    start_proxy proxy --cut 1000 --cut 5000000 --cut 20000000 --cut 45000000
    expect_pub pub 0 -i "$work/sent" "${lanes[@]}"
    expect_end sub 0
    same_bytes "$work/sent" "$work/got"
    expect_report pub '.lanes == 4' '.reconnects >= 2' '.peers == {joined: 1, finished: 1, lost: 0}'
    expect_report sub '.lanes == 4' '.gaps == 0'
    kill -KILL "${pids[proxy]}"
    ended proxy
done

start_sub sub --once --verify --set tcp.lanes=2
expect_pub pub 0 --generate --size 100000 --total 200000000 --set tcp.lanes=5
expect_end sub 0
expect_report pub '.lanes == 2'
expect_report sub '.lanes == 2' '.verified.mismatches == 0'
