#!/usr/bin/env bash
# Connections that are reset in mid-stream, several times, come back, and nothing is lost or doubled.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

random_file "$work/sent" 60000001
start_sub sub --once -o "$work/got"
start_proxy proxy --cut 1000 --cut 5000000 --cut 20000000 --cut 20100000 --cut 45000000
expect_pub pub 0 -i "$work/sent"
expect_end sub 0
same_bytes "$work/sent" "$work/got"
expect_report pub '.reconnects >= 3' '.peers == {joined: 1, finished: 1, lost: 0}'
expect_report sub '.reconnects >= 3' '.gaps == 0'
