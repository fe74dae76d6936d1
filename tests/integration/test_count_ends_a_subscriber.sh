#!/usr/bin/env bash
# --count: just so many messages, whether the publisher has as many, more, or fewer.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

seq 1 1000 >"$work/lines"
start_sub sub --count 1000 -f lines -o "$work/got"
expect_pub pub 0 -f lines -i "$work/lines"
expect_end sub 0
same_bytes "$work/lines" "$work/got"

start_sub sub --count 10 -f lines -o "$work/got"
run_pub pub -f lines -i "$work/lines" --set reconnect_timeout=100ms
expect_end sub 0
head -n 10 "$work/lines" >"$work/ten"
same_bytes "$work/ten" "$work/got"

start_sub sub --once --count 2000 -f lines -o "$work/got"
expect_pub pub 0 -f lines -i "$work/lines"
expect_end sub 1
expect_report sub '.error | test("1000 of --count 2000 messages came")'

start_sub sub --count 10 --verify
expect_pub pub 0 --generate --size 8 --count 10
expect_end sub 0
expect_report sub '.verified.messages == 10'
