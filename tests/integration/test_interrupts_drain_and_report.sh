#!/usr/bin/env bash
# SIGINT and SIGTERM: what was published arrives, the report is written, and the exit status says
# whether something was left out.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

# A publisher without an end is ended, and nothing is missing.
start_sub sub --once --verify
start pub "$pub" --connect "$address" "${small[@]}" --generate --size 1000 --duration 3600 --stats 0.05 \
    --report "$work/pub.json"
await "the stream to flow" logged pub ' [0-9.]+ [MG]B in all'
kill -INT "${pids[pub]}"
expect_end pub 0
expect_end sub 0
[[ $(jq .messages "$work/pub.json") == $(jq .messages "$work/sub.json") ]] ||
    fail "published $(jq .messages "$work/pub.json"), delivered $(jq .messages "$work/sub.json")"
expect_report sub '.verified.mismatches == 0' '.peers == {joined: 1, finished: 1, lost: 0}'

# One that had more to publish says that it left something out.
start_sub sub --once --verify
start pub "$pub" --connect "$address" "${small[@]}" --generate --size 1000 --count 1000000000 --stats 0.05 \
    --report "$work/pub.json"
await "the stream to flow" logged pub ' [0-9.]+ [MG]B in all'
kill -TERM "${pids[pub]}"
expect_end pub 1
expect_end sub 0
expect_report pub '.error | test("interrupted after [0-9]+ messages, which were delivered")'

# A subscriber that nobody told when to end writes what it has and ends well.
start_sub sub -o "$work/got" -f lines
seq 1 100000 >"$work/lines"
expect_pub pub 0 -f lines -i "$work/lines"
kill -INT "${pids[sub]}"
expect_end sub 0
same_bytes "$work/lines" "$work/got"

# One in mid-stream writes whole messages in order; its publisher learns that it has gone.
start_sub sub -o "$work/got" -f lines
mkfifo "$work/endless"
seq 1 100000000 >"$work/endless" 2>/dev/null &
seq_pid=$!
start pub "$pub" --connect "$address" "${small[@]}" -f lines -i "$work/endless" --report "$work/pub.json"
await "the stream to flow" test -s "$work/got"
kill -INT "${pids[sub]}"
ended sub
((status == 0 || status == 1)) || fail "the subscriber ended with $status"
expect_end pub 3
wait "$seq_pid"
last=$(tail -n 1 "$work/got")
seq 1 "$last" | cmp - "$work/got" || fail "the output has a gap"

# What is placed when the signal comes is written, however long the output takes it.
mkfifo "$work/later"
exec 9<>"$work/later"
random_file "$work/sent" 6000000
start_sub sub -o "$work/later"
expect_pub pub 0 -i "$work/sent" --flush-level placed
kill -INT "${pids[sub]}"
cat <"$work/later" >"$work/got" 9>&- & # or it would wait for itself
cat_pid=$!
exec 9>&-
ended sub
wait "$cat_pid"
same_bytes "$work/sent" "$work/got"

# A second one ends at once: a publisher whose subscriber takes nothing any more, and a subscriber whose
# output takes nothing.
mkfifo "$work/full"
exec 9<>"$work/full"
random_file "$work/sent" 40000000
start_sub sub -o "$work/full"
start pub "$pub" --connect "$address" "${small[@]}" -i "$work/sent" --stats 0.05 --report "$work/pub.json"
stalled() { (($(grep -c 'sent 0.000, placed 0.000, consumed 0.000' "$work/pub.log") >= 3)); }
await "the publisher to stall" stalled
kill -INT "${pids[pub]}"
lines=$(wc -l <"$work/pub.log")
more_lines() { (($(wc -l <"$work/pub.log") >= lines + 3)); }
await "the publisher to drain in vain" more_lines
kill -INT "${pids[pub]}"
expect_end pub 1
expect_report pub '.error | test("interrupted before all that was published had been consumed")'
kill -INT "${pids[sub]}"
kill -TERM "${pids[sub]}" # another signal, so that the two are not taken for one
expect_end sub 1
exec 9>&-
expect_report sub '.error | test("interrupted while writing .*, after [0-9]+ bytes")'

# While nobody has joined there is nothing to drain.
start_pub pub --generate --size 1 --duration 10
kill -INT "${pids[pub]}"
expect_end pub 1
expect_report pub '.error | test("interrupted before enough subscribers")'
