#!/usr/bin/env bash
# Ten million messages of 16 bytes, each checked for number and contents.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

start_sub sub --once --verify
expect_pub pub 0 --generate --size 16 --count 10000000
expect_end sub 0
expect_report sub '.messages == 10000000' '.bytes == 160000000' \
    '.verified == {messages: 10000000, mismatches: 0, first_mismatch: null}'
expect_report pub '.messages == 10000000' '.peers.finished == 1'
