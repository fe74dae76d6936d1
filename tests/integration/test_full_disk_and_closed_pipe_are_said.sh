#!/usr/bin/env bash
# What becomes of output that cannot be written: a sentence with the number of bytes that were, exit
# status 1, and what was written stays.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

random_file "$work/sent" 30000001
failing() { # NAME REGEX: publishes to the subscriber NAME, which must fail with the sentence
    run_pub "pub-$1" -i "$work/sent" --set reconnect_timeout=100ms
    ((status != 0)) || fail "the publisher to $1 succeeded"
    expect_end "$1" 1
    logged "$1" "$2" || fail "$1 did not say '$2'"
    expect_report "$1" '.exit_status == 1' '.error | length > 0'
}

# A device that is always full.
start_sub full --once -o /dev/full
failing full 'writing /dev/full failed after 0 bytes: No space left on device \(free some space'

# A limit on the size of files.
(
    ulimit -f 10000
    exec "$sub" --listen "$host:0" "${small[@]}" --once -o "$work/limited" --report "$work/limit.json"
) >"$work/limit.out" 2>"$work/limit.log" </dev/null &
pids[limit]=$!
listening limit
failing limit 'writing .*/limited failed after 10240000 bytes: File too large; what was written is left there'
[[ $(stat -c %s "$work/limited") == 10240000 ]] || fail "what was written is not there"
cmp -n 10240000 "$work/sent" "$work/limited" || fail "what was written is wrong"

# A small file system.
if mkdir "$work/disk" && mount -t tmpfs -o size=8m tmpfs "$work/disk" 2>/dev/null; then
    start_sub disk --once -o "$work/disk/got"
    failing disk 'writing .*/disk/got failed after [0-9]{7} bytes: No space left on device'
    umount "$work/disk"
else
    echo "no right to mount: a small file system was not tried, /dev/full was"
fi

# A reader that goes away, and one that nobody missed.
mkfifo "$work/pipe"
head -c 1000000 <"$work/pipe" >"$work/head" &
head_pid=$!
"$sub" --listen "$host:0" "${small[@]}" --once -o - --report "$work/closed.json" \
    >"$work/pipe" 2>"$work/closed.log" </dev/null &
pids[closed]=$!
listening closed
failing closed 'the reader of standard output has closed it after [0-9]+ bytes'
wait "$head_pid"
cmp -n 1000000 "$work/sent" "$work/head" || fail "what was read is wrong"
