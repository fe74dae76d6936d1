#!/usr/bin/env bash
# What is particular to shared memory: two processes of one host meet where a list of transports has it
# first; a process of another user is refused with the reason, unless that is allowed; an address of
# another host is; a killed peer, of either side, is noticed at once.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1
shm=(--set transport=shm)

# Ends with a status, and says why in its last line.
refuses() { # NAME STATUS REGEX COMMAND...
    local name=$1 wanted=$2 regex=$3
    shift 3
    timeout "$patience" "$@" </dev/null >"$work/$name.out" 2>"$work/$name.log"
    status=$?
    ((status == wanted)) || fail "$name ended with $status, not $wanted"
    tail -n 1 "$work/$name.log" | grep -qE -- "$regex" || fail "$name did not say '$regex'"
}

# A list: both ends take the first that works, on one address.
random_file "$work/sent" 20000001
start_sub sub --set transport=shm,tcp --once -o "$work/got"
expect_pub pub 0 --set transport=shm,tcp -i "$work/sent"
expect_end sub 0
same_bytes "$work/sent" "$work/got"
expect_report pub '.transport == "shm"'

# A subscriber that has both, a publisher that has only tcp: the same port.
start_sub sub --set transport=shm,tcp --once -o "$work/got"
expect_pub pub 0 --set transport=tcp -i "$work/sent"
expect_end sub 0
same_bytes "$work/sent" "$work/got"

# A list, and nobody there over shm: tcp is taken, and why is in the report.
start_sub sub --set transport=tcp --once -o "$work/got"
expect_pub pub 0 --set transport=shm,tcp -i "$work/sent"
expect_end sub 0
expect_report pub '.transport == "tcp"' '.transport_why | test("shm.*no process of this host")'

# Another host's address (RFC 5737).
refuses far 3 'not an address of this host' "$pub" "${shm[@]}" --connect 192.0.2.1:9400 -i "$work/sent" \
    --set connect_timeout=200ms

# Twice the same port.
start_sub sub "${shm[@]}"
refuses twice 3 'listens on that port over shm already' "$sub" "${shm[@]}" --listen "$address"

# A killed subscriber, then a killed publisher. The survivor's own log line must come at once: patience
# only bounds a wait that fails.
start pub "$pub" --connect "$address" "${small[@]}" "${shm[@]}" --generate --size 1000 --duration 3600 \
    --stats 0.05 --set reconnect_timeout=100ms
await "the stream to flow" logged pub ' [0-9.]+ [MG]B in all'
kill -KILL "${pids[sub]}"
since=${EPOCHREALTIME/./}
ended sub
expect_end pub 3
took=$((${EPOCHREALTIME/./} - since))
((took < 5000000)) || fail "a killed subscriber was noticed after $took us"
start_sub sub "${shm[@]}" --set reconnect_timeout=100ms --once
start pub "$pub" --connect "$address" "${small[@]}" "${shm[@]}" --generate --size 1000 --duration 3600 --stats 0.05
await "the stream to flow" logged pub ' [0-9.]+ [MG]B in all'
kill -KILL "${pids[pub]}"
ended pub
expect_end sub 1
logged sub 'its process has ended or was killed' || fail "the subscriber did not say what happened"

# Another user, both ways round.
((EUID == 0)) && command -v setpriv >/dev/null || exit 0
other=(setpriv --reuid=65534 --regid=65534 --clear-groups)
cp "$pub" "$sub" "$work/" && cp "${pub%/*}"/../library/libembar.so* "$work/" 2>/dev/null
chmod 755 "$work" "$work"/embar-*
"${other[@]}" env LD_LIBRARY_PATH="$work" "$work/embar-pub" --version >/dev/null 2>&1 ||
    skip "user 65534 cannot run the tools here; all else passed"
start_sub sub "${shm[@]}" --once -o "$work/got"
address_of_sub=$address
refuses stranger 3 'belongs to user 65534' "${other[@]}" env LD_LIBRARY_PATH="$work" "$work/embar-pub" \
    "${small[@]}" "${shm[@]}" --connect "$address_of_sub" --generate --size 100 --count 10 --set connect_timeout=200ms
await "the refusal to be logged" logged sub 'belongs to user 65534.*shm.allow_other_users'
kill -KILL "${pids[sub]}"
ended sub
start_sub sub "${shm[@]}" --set shm.allow_other_users=true --once --verify
timeout "$patience" "${other[@]}" env LD_LIBRARY_PATH="$work" "$work/embar-pub" "${small[@]}" "${shm[@]}" \
    --connect "$address" --generate --size 100 --count 10 >"$work/pub.out" 2>"$work/pub.log" ||
    fail "another user was refused though it is allowed"
expect_end sub 0
