#!/usr/bin/env bash
# Either side may listen: here the publisher does, and the subscriber connects.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

random_file "$work/sent" 30000001
start_pub pub -i "$work/sent"
timeout $((patience * 2)) "$sub" --connect "$address" "${small[@]}" --once -o "$work/got" \
    --report "$work/sub.json" 2>"$work/sub.log"
status=$?
((status == 0)) || fail "the subscriber ended with $status"
expect_end pub 0
same_bytes "$work/sent" "$work/got"
expect_report pub '.peers == {joined: 1, finished: 1, lost: 0}'
