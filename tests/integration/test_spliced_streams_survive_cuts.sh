#!/usr/bin/env bash
# Spliced payloads lie in receive queues as references to the publisher's own slots. Nothing is
# checksummed here, and every message is verified: a slot that were reused before the subscriber has
# read it would show. Connections are reset in mid-stream, and a subscriber is stopped with its queue
# full while the publisher drops what it does not take and goes on.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

splice=(--set tcp.send_mode=splice --set checksum=none)

for ack in placed consumed; do # with sent, a cut loses what is under way
    for size in 100000 2000000; do
        start_sub sub --once --verify "${splice[@]}"
        start_proxy proxy --cut 3000 --cut 5000000 --cut 20000000 --cut 20100000 --cut 145000000
        expect_pub pub 0 --generate --size $size --total 300000000 "${splice[@]}" --set "ack=$ack" \
            --set batch.in_flight=4
        expect_end sub 0
        expect_report sub '.reconnects >= 3' '.gaps == 0' '.bytes == 300000000' \
            '.verified.mismatches == 0'
        expect_report pub '.reconnects >= 3' '.send_mode == "splice"' '.peers.lost == 0'
        kill -KILL "${pids[proxy]}"
        ended proxy
    done
done

# Straight, without a proxy that copies in between: the queue is the subscriber's own.
start_sub sub --once --verify "${splice[@]}"
start pub "$pub" --connect "$address" "${small[@]}" "${splice[@]}" --set slow_subscriber=drop \
    --set slow_timeout=20ms --set ack=sent --generate --size 50000 --total 3000000000 \
    --rate 1000000000 --report "$work/pub.json"
back() { # HOW_MANY
    (($(grep -c 'is back over tcp' "$work/pub.log") >= $1))
}
drops() { # HOW_MANY
    (($(grep -c 'takes nothing of what was written to it: its link is reset' "$work/pub.log") >= $1))
}
for n in 1 2 3; do
    sleep 0.2
    kill -STOP "${pids[sub]}"
    await "the publisher to reset the link" drops "$n"
    sleep 0.1 # it goes on and rewrites its slots
    kill -CONT "${pids[sub]}"
    await "the subscriber to come back" back "$n"
done
expect_end pub 1
expect_end sub 1
# A gap is a mismatch, and one of many messages; a rewritten batch would be some forty.
expect_report sub '.gaps > 0' '.duplicates == 0' '.verified.mismatches < 30' \
    '.verified.first_mismatch | test(": batch [0-9]+ begins with message [0-9]+ where ")'
expect_report pub '.send_mode == "splice"'
