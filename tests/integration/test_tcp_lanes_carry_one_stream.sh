#!/usr/bin/env bash
# Several connections under one link: batches that overtake each other are put in order again, and a
# cut of all of them loses nothing, however they send. The side that wants fewer lanes decides.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1
# shellcheck source=tests/integration/lanes.sh
. "$(dirname "${BASH_SOURCE[0]}")/lanes.sh" || exit 1

for mode in copy splice zerocopy; do
    expect_cuts_to_lose_nothing $mode
done

start_sub sub --once --verify --set tcp.lanes=2
expect_pub pub 0 --generate --size 100000 --total 200000000 --set tcp.lanes=5
expect_end sub 0
expect_report pub '.lanes == 2'
expect_report sub '.lanes == 2' '.verified.mismatches == 0'
