#!/usr/bin/env bash
# No message at all: an empty file, an empty pipe and a generator that makes none end well on both sides.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

: >"$work/empty"
for input in "-i $work/empty" "-i -" "-i $work/empty -f lines" "-i $work/empty -f records" \
    "--generate --size 16 --count 0"; do
    start_sub sub --once -o "$work/got"
    # shellcheck disable=SC2086 # several words
    expect_pub pub 0 $input </dev/null
    expect_end sub 0
    [[ -e $work/got && ! -s $work/got ]] || fail "with $input the output is not an empty file"
    expect_report pub '.messages == 0' '.bytes == 0' '.peers.finished == 1'
    expect_report sub '.messages == 0' '.peers == {joined: 1, finished: 1, lost: 0}'
done
