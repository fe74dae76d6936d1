#!/usr/bin/env bash
# embar-perf: whichever of its processes is killed, it says which, ends with 3 and leaves none behind;
# interrupted it ends with 1; killed itself, its processes end too.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

begin() { # NAME
    start "$1" "$EMBAR_BIN/embar-perf" --set buffer.size=16MiB --duration 100 --warmup 0.01 --json "$work/$1.json" \
        --subscribers 2
    await "all processes of $1" have_started "$1"
    children=$(pgrep -P "${pids[$1]}")
}

have_started() { # NAME: the subscribers come first, the publisher last
    (($(pgrep -P "${pids[$1]}" | wc -l) == 3))
}

are_gone() {
    local child
    for child in $children; do
        [[ ! -d /proc/$child ]] || return 1
    done
}

for victim in subscriber publisher; do
    begin $victim
    if [[ $victim == publisher ]]; then n=3; else n=2; fi
    kill -KILL "$(sed -n ${n}p <<<"$children")"
    expect_end $victim 3
    grep -qE "$victim( [0-9])? was killed by signal 9" "$work/$victim.log" || fail "it did not say who was killed"
    (($(wc -l <"$work/$victim.log") == 1)) || fail "it said more than one sentence"
    expect_report $victim '.exit_status == 3 and (.error | test("killed by signal 9"))'
    are_gone || fail "processes were left behind"
done

begin interrupted
kill -INT "${pids[interrupted]}"
expect_end interrupted 1
grep -q 'interrupted' "$work/interrupted.log" || fail "it did not say that it was interrupted"
are_gone || fail "processes were left behind by an interrupt"

begin parent
kill -KILL "${pids[parent]}"
ended parent
await "the processes of a killed embar-perf to end" are_gone
