#!/usr/bin/env bash
# `transport: shm,tcp`: the shm link breaks in mid-stream and shm stays away. The stream goes on over tcp,
# nothing is lost or doubled, and the report counts one failover: with one subscriber, whose batches are
# built in its own buffer, and with two, to each of whom they are copied.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1
over=(--set transport=shm,tcp)
small=("${over[@]}" --set buffer.size=64MiB)
total=400000000

# A tcp proxy finds the port, an shm proxy takes the same.
start_proxies() { # for $address
    local target=${address##*:}
    start_proxy tcp_proxy
    start shm_proxy "$support/shm_proxy" "${address##*:}" "$target"
    await "the shm proxy" test -s "$work/shm_proxy.out"
}

# Publishes, and breaks the shm link while the stream flows.
publish_and_break() { # SEND_MODE ADDRESSES OPTION...
    local mode=$1 addresses=$2
    shift 2
    start pub "$pub" --connect "$addresses" "${small[@]}" --report "$work/pub.json" --stats 0.05 \
        --generate --size 10000 --total "$total" --rate 200000000 "$@"
    await "the stream to flow" logged pub ' [0-9]{2,}[.0-9]* MB in all'
    logged pub 'over shm' || fail "the stream did not begin over shm"
    if [[ $mode == in-place ]]; then
        logged pub 'are built in its buffer' || fail "no batch was built in place"
    elif logged pub 'are built in its buffer'; then
        fail "batches for two subscribers were built in the buffer of one"
    fi
    kill -KILL "${pids[shm_proxy]}"
    ended shm_proxy
    expect_end pub 0
    expect_report pub '.failovers == 1' '.reconnects == 1' ".bytes == $total"
    logged pub 'is back over tcp' || fail "the stream did not go on over tcp"
}

expect_whole() { # NAME FAILOVERS
    expect_end "$1" 0
    expect_report "$1" ".bytes == $total" '.verified.mismatches == 0' '.gaps == 0' '.duplicates == 0' \
        ".failovers == $2" '.peers == {joined: 1, finished: 1, lost: 0}'
}

start_sub sub --once --verify
start_proxies
publish_and_break in-place "$address"
expect_report pub '.transport == "tcp"' '.transport_why | test("shm")'
expect_whole sub 1
kill -KILL "${pids[tcp_proxy]}"
ended tcp_proxy

start_sub near --once --verify
near=$address
start_sub sub --once --verify
start_proxies
publish_and_break copy "$address,$near" --set publisher.min_subscribers=2
expect_whole sub 1
expect_whole near 0
