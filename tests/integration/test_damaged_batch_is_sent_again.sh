#!/usr/bin/env bash
# A byte that changes on its way is found by the checksum; the batch is sent again and what arrives is
# right. Without the checksum it gets through: that is what the checksum is for.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

# The first byte lies in the third batch. While that is not consumed, no more than ten are on their way (8 in flight),
# 21 MB: the second byte lies behind them, or it would be lost with the link that the first one ends.
random_file "$work/sent" 30000001
start_sub sub --once -o "$work/got"
start_proxy proxy --flip 5000000 --flip 24000000
expect_pub pub 0 -i "$work/sent"
expect_end sub 0
same_bytes "$work/sent" "$work/got"
expect_report sub '.checksum_errors == 2' '.gaps == 0' '.peers == {joined: 1, finished: 1, lost: 0}'

start_sub sub2 --once -o "$work/got2"
start_proxy proxy2 --flip 5000000
expect_pub pub2 0 --set checksum=none -i "$work/sent"
expect_end sub2 0
cmp -s "$work/sent" "$work/got2" && fail "the proxy changed nothing"
expect_report sub2 '.checksum_errors == 0' '.bytes == 30000001'

# --verify finds what the checksum was told not to look for.
start_sub sub3 --once --verify
start_proxy proxy3 --flip 5000000
expect_pub pub3 0 --set checksum=none --generate --size 1000000 --count 10
expect_end sub3 1
expect_report sub3 '.verified.mismatches == 1' '.error | test("byte [0-9]+ is 0x")'
