#!/usr/bin/env bash
# Ten million messages of 16 bytes, each checked for number and contents.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

count=${EMBAR_TEST_MESSAGES:-10000000} # fewer where the machine is emulated
start_sub sub --once --verify
expect_pub pub 0 --generate --size 16 --count "$count"
expect_end sub 0
expect_report sub ".messages == $count" ".bytes == $((count * 16))" \
    ".verified == {messages: $count, mismatches: 0, first_mismatch: null}"
expect_report pub ".messages == $count" '.peers.finished == 1'
