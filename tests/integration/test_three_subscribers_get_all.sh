#!/usr/bin/env bash
# One publisher, three subscribers at once: each gets every byte.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

random_file "$work/sent" 40000001
addresses=()
for i in 1 2 3; do
    start_sub "sub$i" --once -o "$work/got$i"
    addresses+=("$address")
done
address=$(IFS=,; echo "${addresses[*]}")
expect_pub pub 0 --set publisher.min_subscribers=3 -i "$work/sent"
for i in 1 2 3; do
    expect_end "sub$i" 0
    same_bytes "$work/sent" "$work/got$i"
done
expect_report pub '.peers == {joined: 3, finished: 3, lost: 0}' '.bytes == 40000001'
