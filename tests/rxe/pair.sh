#!/usr/bin/env bash
# What happens between two hosts: one behaviour per name, each with two guests and a cable. Usage:
# pair.sh NAME. Needs EMBAR_BIN and EMBAR_SOURCE. Reports and logs of both ends come back through the
# lab's shared folder and are judged here.
set -uo pipefail

lab=$EMBAR_SOURCE/tests/rxe/lab
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
rxe=$EMBAR_SOURCE/config/rxe.yaml
sub="exec $EMBAR_BIN/embar-sub --listen \$EMBAR_LAB_ADDR:9400 --once --report /out/sub.json"
pub="exec $EMBAR_BIN/embar-pub --connect \$EMBAR_LAB_PEER:9400 --report /out/pub.json"
small="--set buffer.size=16MiB --set batch.size=256KiB"

sees=() # guests have a /tmp, /run and /dev/shm of their own
[[ $EMBAR_SOURCE =~ ^/(tmp|run|dev/shm)/ ]] && sees=(--rw "$EMBAR_SOURCE")

fail() {
    echo "FAILED: $*"
    jq -c . "$out"/*.json 2>/dev/null
    exit 1
}

pair() { # LAB_OPTION... SERVER CLIENT
    "$lab" pair --timeout 250s "${sees[@]}" --out "$out" --ready 'listening on' "$@" || fail "the pair ended with $?"
}

holds() { # REPORT EXPRESSION
    jq -e "$2" "$out/$1.json" >/dev/null || fail "in the report of $1 '$2' does not hold"
}

# Real files from one host to the other; both see this host's, so the sum is taken here.
files_over_rdma() {
    find -L /usr/lib/x86_64-linux-gnu -xdev -type f -readable -size +1M -printf '%s %p\n' | sort -k2 -u |
        awk '{sum += $1; print $2} sum >= 268435456 {exit}' >"$out/inputs"
    pair "$EMBAR_BIN/embar-sub -c $rxe --listen \$EMBAR_LAB_ADDR:9400 --once -o - \
            --report /out/sub.json | sha256sum >/out/got" \
        "exec $EMBAR_BIN/embar-pub -c $rxe --connect \$EMBAR_LAB_PEER:9400 --report /out/pub.json \
            \$(sed 's/^/-i /' /out/inputs)"
    [[ $(xargs cat <"$out/inputs" | sha256sum) == "$(<"$out/got")" ]] || fail "other bytes came than went"
    holds sub '.transport == "rdma" and .bytes >= 268435456 and .exit_status == 0 and
        .pages.kind == "hugetlb" and .receiver_not_ready == 0 and .registrations == 0 and .gaps == 0'
    holds pub '.transport == "rdma" and .receiver_not_ready == 0 and .registrations == 0 and
        .peers.finished == 1'
}

# The network card of a guest reads the pages itself: nothing is copied.
tcp_is_truly_zero_copy() {
    pair "$sub -c $EMBAR_SOURCE/config/tcp.yaml --verify" \
        "$pub -c $EMBAR_SOURCE/config/tcp.yaml --generate --size 1MiB --total 256MiB"
    holds sub '.transport == "tcp" and .bytes == 268435456 and .verified.mismatches == 0'
    holds pub '.send_mode == "zerocopy" and .zerocopy_sends > 0 and .zerocopy_copied == 0'
}

# The device's own retries outlast two seconds in which every frame vanishes.
two_seconds_without_cable_lose_nothing() {
    pair --when client ' in all' 'drop,2s,pass' "$sub -c $rxe $small --verify" \
        "$pub -c $rxe $small --generate --size 64KiB --total 128MiB --stats 0.2"
    holds sub '.bytes == 134217728 and .verified.mismatches == 0 and .gaps == 0 and .duplicates == 0'
    holds pub '.peers.finished == 1 and .receiver_not_ready == 0'
}

# A cable that stays out: both ends say so within retries and reconnect_timeout.
a_cable_out_for_good_is_reported() {
    pair --when client ' in all' drop --expect-client 3 --expect-server any --stop-server \
        "$sub -c $rxe $small -o null --set reconnect_timeout=3s --set rdma.ack_timeout=130ms" \
        "$pub -c $rxe $small --set reconnect_timeout=3s --set rdma.ack_timeout=130ms \
            --generate --size 64KiB --total 4GiB --stats 0.2"
    holds pub '.exit_status == 3 and (.error | length) > 0 and .seconds < 60'
    jq -r '"embar-pub said: " + .error' "$out/pub.json"
}

# The client's end does ACTIONS once the stream flows, and looks how long it takes its embar-pub to say
# that the link was lost. One process reads the lines and the clock: forks are slow in a guest.
noticing() { # ACTIONS WITHIN_MS
    cat >"$out/notice.sh" <<EOF
exec 3< <($EMBAR_BIN/embar-pub --connect \$EMBAR_LAB_PEER:9400 -c $rxe $small --set reconnect_timeout=1s \\
    --set rdma.ack_timeout=130ms --generate --size 64KiB --total 8GiB --stats 0.2 \\
    --report /out/pub.json 2>&1; echo "ended with \$?")
while read -r line <&3; do
    echo "\$line"
    case \$line in
    *' in all'*) [[ -n \${began-} ]] || { began=\$EPOCHREALTIME; lab-ctl '$1' & } ;;
    *'was lost'*) noticed=\${noticed-\$EPOCHREALTIME} ;;
    'ended with '*) status=\${line##* } ;;
    esac
done
echo \$(((\${noticed/./} - \${began/./}) / 1000)) >/out/noticed_ms
exit \$status
EOF
    pair --expect-client 3 --expect-server any \
        "echo \$\$ >/tmp/sub.pid; exec $EMBAR_BIN/embar-sub --listen \$EMBAR_LAB_ADDR:9400 -c $rxe $small -o null" \
        "bash /out/notice.sh"
    echo "noticed after $(<"$out/noticed_ms") ms"
    (($(<"$out/noticed_ms") <= $2)) || fail "that is more than $2 ms"
}

a_killed_process_is_noticed_within_two_seconds() {
    noticing 'server=read pid </tmp/sub.pid; kill -KILL $pid' 2000
}

# rdma.ack_timeout of 130 ms is rounded up to 134 or 269 by the device, and repeated seven times.
a_dead_host_is_noticed_by_its_silence() {
    noticing 'kill-server' 10000
}

"$1"
echo "ok: $1"
