#!/usr/bin/env bash
# Runs in a lab guest, or on a host that has RDMA: guest.sh NAME... runs cases of the rdma backend's
# device tests, one after the other. Needs EMBAR_BIN, EMBAR_SOURCE and the lab's EMBAR_LAB_*. What a case
# opened on the device must be gone when it ends.
set -uo pipefail

address=$EMBAR_LAB_ADDR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*"
    tail -n 20 "$work"/*.log 2>/dev/null
    exit 1
}

# Queue pairs, completion queues, regions, ... as the kernel counts them.
resources() {
    rdma resource show "$EMBAR_LAB_DEVICE" | sed "s/^[0-9]*: //"
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# Whether devices and interfaces may be taken away here.
in_guest() {
    [[ $EMBAR_LAB == guest ]] && return 0
    echo "left out: this host's devices are not touched"
    return 1
}

conformance() {
    "$EMBAR_BIN/test_conformance" rdma "$@" || fail "conformance over rdma $*"
}

# ---- cases -----------------------------------------------------------------------------------

case_conformance() {
    conformance "$address:0"
}

# Without a thousand links made and unmade, which take long under sanitizers.
case_conformance_once() {
    EMBAR_CONFORMANCE_SKIP='*thousand_cycles*' conformance "$address:0"
}

case_conformance_v6() {
    EMBAR_CONFORMANCE='*messages*' conformance "[$EMBAR_LAB_ADDR6]:0"
}

case_conformance_lanes() {
    EMBAR_CONFORMANCE_SKIP='*_cycles_*' conformance "$address:0" rdma.lanes=3
}

# As on an iWARP device: no immediates, nothing inline.
case_conformance_by_send() {
    EMBAR_CONFORMANCE='*write*' conformance "$address:0" rdma.arrival=send \
        rdma.inline_limit=0 rdma.completion=event
}

# As on a device without memory windows. There a key is good for every link of the device.
case_conformance_by_region() {
    EMBAR_CONFORMANCE='*write*' EMBAR_CONFORMANCE_SKIP='*key_of_another_link*' \
        conformance "$address:0" rdma.key=region
}

case_faults() {
    "$EMBAR_BIN/rdma_faults" "$address" || fail "a lying peer did harm"
}

start_pair() { # MODE
    "$EMBAR_BIN/transport_bench" server rdma "$address:9400" >"$work/server.log" 2>&1 &
    server=$!
    until grep -q listening "$work/server.log"; do sleep 0.05; done
    "$EMBAR_BIN/transport_bench" client rdma "$address:9400" "$1" 1048576 8 1000000 \
        >"$work/client.log" 2>&1 &
    client=$!
    until grep -q running "$work/client.log"; do sleep 0.05; done
}

# kill -9 of either end, idle or in the middle of writes: the other knows within 2 s and says why.
case_killed_peer_is_noticed_within_two_seconds() {
    local mode victim other began took
    for mode in write idle; do
        for victim in server client; do
            start_pair "$mode"
            if [[ $victim == server ]]; then other=client; else other=server; fi
            sleep 0.5
            kill -9 "${!victim}"
            began=$(now_ms)
            wait "${!other}"
            (($? == 1)) || fail "the $other did not fail when the $victim was killed"
            took=$(($(now_ms) - began))
            echo "$victim killed ($mode): noticed after $took ms"
            ((took < 2000)) || fail "it took $took ms to notice that the $victim was killed"
            grep -q 'link down after .*: the peer' "$work/$other.log" || fail "no sentence"
            wait
        done
    done
}

# A subscriber that is stopped lets its publisher wait: no RNR, no retries, no growth.
case_stopped_peer_stalls_without_rnr() {
    local before after counted
    start_pair write
    kill -STOP "$server"
    sleep 1
    before=$(awk '/VmRSS/ {print $2}' "/proc/$client/status")
    sleep 3
    after=$(awk '/VmRSS/ {print $2}' "/proc/$client/status")
    ((after <= before + 8192)) || fail "the client grew from $before to $after KiB"
    kill -0 "$client" || fail "the client gave up"
    kill -CONT "$server"
    sleep 1
    kill "$client" "$server"
    wait
    counted=$(rdma statistic show link "$EMBAR_LAB_DEVICE/1" | grep -oE '(rcvd|send)_rnr_err [0-9]+')
    grep -qv ' 0$' <<<"$counted" && fail "RNR: $counted"
    return 0
}

case_memlock_limit_is_named() {
    prlimit --memlock=1048576 setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock \
        "$EMBAR_BIN/transport_bench" client rdma "$address:9400" write 2097152 8 1 \
        >"$work/out.log" 2>&1 && fail "32 MiB were registered under a limit of 1 MiB"
    cat "$work/out.log"
    grep -qi memlock "$work/out.log" || fail "the limit is not named"
}

case_limits_of_the_device_are_named() {
    local settings
    for settings in "rdma.send_queue_depth=16384 rdma.receive_depth=16384" rdma.devices=mlx5_7; do
        # shellcheck disable=SC2086 # several settings
        "$EMBAR_BIN/transport_bench" client rdma "$address:9400" write 4096 1 1 $settings \
            >"$work/out.log" 2>&1 && fail "$settings was taken"
        cat "$work/out.log"
        grep -q "open: .*${settings%%=*}" "$work/out.log" || fail "the setting is not named"
    done
}

case_unreachable_peers_are_explained() {
    "$EMBAR_BIN/transport_bench" client rdma "$address:1" write 4096 1 1 >"$work/out.log" 2>&1
    grep -q 'nobody listens' "$work/out.log" || fail "nobody listens, and it does not say so"
    "$EMBAR_BIN/transport_bench" client rdma 192.0.2.1:1 write 4096 1 1 >"$work/out.log" 2>&1
    cat "$work/out.log"
    grep -qE 'no way to that address|no RDMA device of this host' "$work/out.log" || fail "no reason"
    "$EMBAR_BIN/transport_bench" client rdma "${address%.*}.77:1" write 4096 1 1 \
        rdma.resolve_timeout=500ms >"$work/out.log" 2>&1
    cat "$work/out.log"
    grep -qE 'no neighbour|no way' "$work/out.log" || fail "no reason"
    "$EMBAR_BIN/transport_bench" server rdma 192.0.2.1:9400 >"$work/out.log" 2>&1
    cat "$work/out.log"
    grep -q 'not that of an RDMA device' "$work/out.log" || fail "no reason"
    "$EMBAR_BIN/transport_bench" server rdma "$address:9401" >"$work/first.log" 2>&1 &
    until grep -q listening "$work/first.log"; do sleep 0.05; done
    "$EMBAR_BIN/transport_bench" server rdma "$address:9401" >"$work/out.log" 2>&1
    kill %%
    wait
    cat "$work/out.log"
    grep -q 'port is in use' "$work/out.log" || fail "no reason"
}

case_interface_down_is_explained() {
    in_guest || return 0
    ip link set "$EMBAR_LAB_NETDEV" down
    "$EMBAR_BIN/transport_bench" client rdma "$address:1" write 4096 1 1 >"$work/out.log" 2>&1
    ip link set "$EMBAR_LAB_NETDEV" up
    ip address add "$EMBAR_LAB_ADDR6/64" dev "$EMBAR_LAB_NETDEV" nodad # lost with the interface
    cat "$work/out.log"
    grep -q 'no port of RDMA device' "$work/out.log" || fail "no reason"
}

# A second device: a listener serves both, and one that the settings leave out is not used.
case_devices_by_address() {
    local first=$address
    in_guest || return 0
    ip link add embar0 mtu 9000 type veth peer name embar1 mtu 9000
    ip address add 10.201.0.1/24 dev embar0
    ip link set embar0 up && ip link set embar1 up
    rdma link add rxe_second type rxe netdev embar0 || fail "no second device"
    for address in 10.201.0.1 "$first"; do
        start_pair idle
        kill "$server" "$client"
        wait
    done
    timeout 60 "$EMBAR_BIN/transport_bench" server rdma 10.201.0.1:9400 \
        "rdma.devices=$EMBAR_LAB_DEVICE" >"$work/out.log" 2>&1 && fail "it was used all the same"
    cat "$work/out.log"
    grep -q 'rxe_second, which rdma.devices leaves out' "$work/out.log" || fail "no reason"
    rdma link delete rxe_second
    ip link delete embar0
}

# The device goes away under a link: both ends say so at once, and nothing hangs.
case_removed_device_is_reported() {
    local end
    in_guest || return 0
    start_pair write
    rdma link delete "$EMBAR_LAB_DEVICE"
    for end in server client; do
        wait "${!end}"
        (($? == 1)) || fail "the $end did not fail"
        grep -q 'link down after .*: .* ' "$work/$end.log" || fail "the $end does not say why"
    done
    grep -q 'was removed' "$work/server.log" "$work/client.log" || fail "nobody names the cause"
    rdma link add "$EMBAR_LAB_DEVICE" type rxe netdev "$EMBAR_LAB_NETDEV"
}

# ----------------------------------------------------------------------------------------------

(($# > 0)) || fail "usage: guest.sh NAME..."
for name; do
    began=$SECONDS
    before=$(resources)
    "case_$name"
    for _ in {1..50}; do
        after=$(resources)
        [[ $after == "$before" ]] && break
        sleep 0.1
    done
    [[ $after == "$before" ]] || fail "$name left on the device: before $before, after $after"
    echo "ok: $name in $((SECONDS - began)) s"
done
