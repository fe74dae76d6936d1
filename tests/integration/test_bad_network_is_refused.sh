#!/usr/bin/env bash
# What cannot be reached or must not be joined: one sentence, and exit status 3.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

# No such host (.invalid never resolves: RFC 6761), and a bad form of address.
expect_refusal host 3 'no-such-host\.invalid' "$pub" -q "${small[@]}" --connect no-such-host.invalid:9400
expect_refusal host 3 'no-such-host\.invalid' "$sub" -q "${small[@]}" --listen no-such-host.invalid:9400
expect_refusal form 2 'HOST:PORT|port' "$pub" -q "${small[@]}" --connect 127.0.0.1

# A port in use.
start_sub busy
expect_refusal port 3 "${address//./\\.}.*in use" "$sub" -q "${small[@]}" --listen "$address" -o null
expect_refusal port 3 "${address//./\\.}.*in use" "$pub" -q "${small[@]}" --listen "$address"
kill -TERM "${pids[busy]}"
expect_end busy 0

# Nobody listens there any more: the publisher tries for connect_timeout, then says so.
began=${EPOCHREALTIME/[.,]/}
expect_refusal nobody 3 "${address//./\\.}" "$pub" -q "${small[@]}" --connect "$address" \
    --set connect_timeout=700ms
took=$((${EPOCHREALTIME/[.,]/} - began))
((took >= 700000)) || fail "it gave up after $took us"
grep -q 'connect_timeout\|700ms\|700 ms' "$work/nobody.log" || fail "connect_timeout was not named"

# Another stream, and another role.
start_sub other --set stream=harvest
expect_refusal stream 3 'harvest' "$pub" -q "${small[@]}" --connect "$address" --set stream=sowing
expect_refusal role 3 'subscriber' "$sub" -q "${small[@]}" --connect "$address" -o null
kill -TERM "${pids[other]}"
expect_end other 0
