#!/usr/bin/env bash
# embar-perf: a process that cannot be started, or that dies as soon as it is, ends the run with one
# sentence that names it and exit status 3; the others are ended, and nobody else.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

options=(--set buffer.size=16MiB --duration 100 --warmup 0.01 --subscribers 2)

# Dies at once: the n-th child is killed as soon as it is seen, at whatever it is about.
children_of() { # PID: in $children, without starting a process, which would take too long
    read -r -a children <"/proc/$1/task/$1/children" 2>/dev/null || ((${#children[@]} > 0))
}
victims=("" "subscriber 1" "subscriber 2" "publisher")
for round in {1..5}; do
    for n in 1 2 3; do
        start perf "$EMBAR_BIN/embar-perf" "${options[@]}" --json "$work/perf.json"
        end=$((SECONDS + patience))
        children=()
        while ((${#children[@]} < n)); do
            ((SECONDS < end)) || fail "waited $patience s for process $n"
            children_of "${pids[perf]}"
        done
        kill -KILL "${children[n - 1]}"
        expect_end perf 3
        [[ $(<"$work/perf.log") == "embar-perf: ${victims[n]} was killed by signal 9 (Killed)" ]] ||
            fail "round $round: ${victims[n]} was killed, and it did not say so in one sentence"
        expect_report perf '.exit_status == 3'
        pgrep -f -- "--json $work/perf.json" >/dev/null && fail "round $round: processes were left behind"
    done
done

# Cannot be started. Root has no limit of processes; so the tool runs as a real user of its own, in a
# namespace of process ids where it could not reach more than one bystander.
((EUID == 0)) || exit 0
limited() { # PROCESSES OPTION...: leaves the exit status, or says what is wrong and ends with 99
    local processes=$1
    shift
    # shellcheck disable=SC2016 # the inner shell's
    unshare --pid --fork --mount-proc bash -c '
        sleep 1000 &
        bystander=$!
        (ulimit -u "$1" && exec setpriv --ruid "$2" --bounding-set -sys_resource,-sys_admin \
            --inh-caps -sys_resource,-sys_admin "${@:3}")
        status=$?
        kill -0 "$bystander" || status=99
        if grep -l embar-perf /proc/[0-9]*/comm; then status=99; fi
        exit "$status"' limited "$processes" $((100000 + BASHPID)) "$EMBAR_BIN/embar-perf" "$@"
}
refused() { # WHO PROCESSES OPTION...
    local who=$1
    shift
    limited "$@" >"$work/limited.out" 2>"$work/limited.log" </dev/null
    status=$?
    ((status == 3)) || fail "without $who it ended with $status, not 3: $(<"$work/limited.out")"
    [[ $(<"$work/limited.log") == "embar-perf: no process could be started for $who: Resource temporarily unavailable"* ]] ||
        fail "it did not say that $who could not be started"
    (($(wc -l <"$work/limited.log") == 1)) || fail "it said more than one sentence"
}
refused "subscriber 2" 2 "${options[@]}"
refused publisher 3 "${options[@]}"
refused "the answering end" 2 --set buffer.size=16MiB --latency --duration 100
# And it is the limit that stops it. A sanitizer takes a process or two of its own.
limited 20 --set buffer.size=16MiB --duration 0.1 --warmup 0.01 --subscribers 2 >"$work/limited.out" 2>"$work/limited.log" ||
    fail "twenty processes are enough, and it ended with $?"
