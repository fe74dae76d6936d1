#!/usr/bin/env bash
# --flush-level placed: the publisher ends as soon as everything lies in the subscriber's buffer, while
# the subscriber, whose output is a pipe that nobody reads yet, has consumed none of it. By default it
# waits. Either way the subscriber gets all of it and knows that it is all.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

random_file "$work/sent" 6000000

blocked_sub() { # NAME: writes into the pipe $work/NAME.pipe, which descriptor 9 keeps open unread
    mkfifo "$work/$1.pipe"
    exec 9<>"$work/$1.pipe"
    start_sub "$1" --once -o "$work/$1.pipe"
}
unblock() { # NAME: reads all of it
    cat <"$work/$1.pipe" >"$work/$1.got" 9>&- & # or it would wait for itself
    exec 9>&-
    wait $!
    expect_end "$1" 0
    same_bytes "$work/sent" "$work/$1.got"
    expect_report "$1" '.bytes == 6000000' '.peers == {joined: 1, finished: 1, lost: 0}'
}

for level in placed sent; do
    blocked_sub "sub-$level"
    expect_pub "pub-$level" 0 -i "$work/sent" --flush-level $level
    unblock "sub-$level"
done
expect_report pub-placed '.rate_gbps_placed > 0' '.exit_status == 0'

# The default waits: a line of stats that has everything placed and nothing more consumed, twice.
blocked_sub sub
start pub "$pub" --connect "$address" "${small[@]}" -i "$work/sent" --stats 0.05 --report "$work/pub.json"
placed_and_waiting() { (($(grep -c '6.00 MB in all; sent 0.000, placed 0.000, consumed 0.000' "$work/pub.log") >= 5)); }
await "all to be placed" placed_and_waiting
is_gone pub && fail "the publisher did not wait until its messages were consumed"
unblock sub
expect_end pub 0
expect_report pub '.peers.finished == 1' '.rate_gbps_consumed > 0'
