#!/usr/bin/env bash
# Nothing that a peer says is believed. Random bytes and a publisher that lies about version, role,
# stream, geometry, slot, credit, length, session, numbers, key, bounds or totals cost that peer its
# link, with the reason; the honest publisher beside it goes on, and not a byte of its is wrong. The same
# for subscribers that lie to a publisher.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

start_sub victim --verify
victim=$address
start honest "$pub" --connect "$victim" "${small[@]}" --generate --size 10000 --rate 20MiB/s --duration 3600 \
    --stats 0.05 --report "$work/honest.json"
await "the honest publisher" logged honest ' [0-9.]+ MB in all'

lies_to_subscriber() { # LIE REGEX: what the liar is told, or what the victim says of it
    timeout "$patience" "$support/hostile_peer" "$1" "$victim" >"$work/lie.out" 2>"$work/lie.log" ||
        fail "the lie '$1' was swallowed: $(cat "$work/lie.out")"
    grep -qE "$2" "$work/lie.out" || fail "to the lie '$1' the answer was: $(cat "$work/lie.out")"
    is_gone victim && fail "the lie '$1' ended the subscriber"
}
lies_to_subscriber version 'ended: .*version 99 met version 1'
lies_to_subscriber role 'ended: a subscriber cannot join a subscriber'
lies_to_subscriber stream "ended: stream 'harvest' was asked for, this is stream 'default'"
lies_to_subscriber geometry 'ended: batches of 67108864 bytes do not fit into slots of 2097152'
lies_to_subscriber noise 'ended: .*control message of unknown type 200'
lies_to_subscriber slot 'ended: .*a batch came for slot 15 of 8'
lies_to_subscriber no-credit 'ended: .*a batch came for slot 3 without a credit'
lies_to_subscriber long-payload 'ended: .*a batch says it has 1048576 payload bytes, 104 arrived'
lies_to_subscriber many-messages 'ended: .*a batch says it has 1073741824 messages in 104 bytes'
lies_to_subscriber session 'ended: .*a batch of another session came'
lies_to_subscriber skipped-numbers 'ended: .*batch 0 begins with message 5 where 0 is due'
lies_to_subscriber short-batch 'ended: .*a batch of 40 bytes is shorter than its header'
lies_to_subscriber checksum 'ended: .*checksum of batch 0 does not fit'
lies_to_subscriber bounds 'ended: .*a write of 168 bytes at offset 16777216 is outside of the exposed buffer'
lies_to_subscriber key 'ended: .*a write came with a key that is not, or no longer, valid for this link'
lies_to_subscriber credit-to-subscriber 'ended: .*CREDIT is not for a subscriber'
lies_to_subscriber totals 'ended: '
await "the wrong totals to be noticed" logged victim 'publisher .* up to message 1000 and 123456 bytes'

# Bytes that are no protocol at all.
for i in 1 2 3; do
    (
        exec 8<>"/dev/tcp/${victim%:*}/${victim##*:}" || exit 0
        head -c $((i * 1000)) /dev/urandom >&8
        cat <&8 >/dev/null # until the other side ends it
    ) 2>/dev/null
done
is_gone victim && fail "random bytes ended the subscriber"
# A link that says nothing at all is not waited for beyond the handshake, nor in the way meanwhile.
exec 7<>"/dev/tcp/${victim%:*}/${victim##*:}"

kill -INT "${pids[honest]}"
expect_end honest 0
exec 7>&-
kill -INT "${pids[victim]}"
ended victim
expect_report honest '.peers == {joined: 1, finished: 1, lost: 0}' '.reconnects == 0'
expect_report victim '.verified.mismatches == 0' '.gaps == 0'
[[ $(jq .messages "$work/honest.json") == $(jq .messages "$work/victim.json") ]] ||
    fail "the honest publisher's messages did not all arrive"

lies_to_publisher() { # LIE STATUS REGEX: how the publisher ends, and what it says
    start liar "$support/hostile_peer" "$1"
    listening liar
    run_pub victim --generate --size 1000 --count 10 --set connect_timeout=1s --set reconnect_timeout=300ms
    ((status == $2)) || fail "with the lie '$1' the publisher ended with $status, not $2"
    logged victim "$3" || fail "with the lie '$1' the publisher did not say '$3'"
    kill -KILL "${pids[liar]}" 2>/dev/null
    wait "${pids[liar]}" 2>/dev/null
    unset "pids[liar]"
}
lies_to_publisher sub-version 3 'version 99 met version 1'
lies_to_publisher sub-role 3 'a publisher cannot join a publisher'
lies_to_publisher sub-stream 3 "stream 'harvest' was asked for"
lies_to_publisher sub-noise 3 'control message of unknown type 200'
lies_to_publisher sub-small-slots 3 'GRANT of slots of 4096 bytes'
lies_to_publisher sub-free-slot 3 'CREDIT gives back slot 7, which was not in use'
lies_to_publisher sub-slot-out-of-range 3 'slot 60000'
lies_to_publisher sub-placed-beyond 3 'CREDIT says placed 1000000 .* of 1 written'
lies_to_publisher sub-consumed-beyond 3 'CREDIT'
lies_to_publisher sub-start 3 'START is not for a publisher'
lies_to_publisher sub-totals 1 'confirms 1 batches, 77 messages, 77 bytes; published were 1, 10, 10000'
