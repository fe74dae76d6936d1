#!/usr/bin/env bash
# tar | embar-pub ... embar-sub | tar: a directory goes through two pipes, and a second run through pipes
# whose writer pauses, so that what is there must go out before the input ends.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

mkdir "$work/tree" "$work/copy"
cp -rL /usr/include/linux "$work/tree/" 2>/dev/null
random_file "$work/tree/random" 5000001

mkfifo "$work/out"
tar x -C "$work/copy" <"$work/out" &
tar_pid=$!
"$sub" --listen "$host:0" "${small[@]}" --once -o - >"$work/out" 2>"$work/sub.log" &
pids[sub]=$!
listening sub
tar c -C "$work/tree" . | "$pub" --connect "$address" "${small[@]}" -i - 2>"$work/pub.log"
status=$?
((status == 0)) || fail "the publisher ended with $status"
expect_end sub 0
wait "$tar_pid" || fail "tar could not unpack what came"
diff -r "$work/tree" "$work/copy" || fail "the tree that came is another one"

# A pause of the writer: its first words arrive while it still holds the pipe open.
mkfifo "$work/slow"
start_sub sub2 --once -o "$work/words"
"$pub" --connect "$address" "${small[@]}" <"$work/slow" 2>"$work/pub2.log" &
pids[pub2]=$!
exec 9>"$work/slow"
printf 'first' >&9
await "the first words" grep -q '^first$' "$work/words"
printf ' second' >&9
await "the next words" grep -q '^first second$' "$work/words"
exec 9>&-
expect_end pub2 0
expect_end sub2 0
