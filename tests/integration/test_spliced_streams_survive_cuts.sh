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
    --set slow_timeout=20ms --set ack=sent --generate --size 50000 --duration 1000 \
    --rate 1000000000 --report "$work/pub.json"
said() { # HOW_MANY TEXT: by the publisher
    (($(grep -c "$2" "$work/pub.log") >= $1))
}
# The publisher drops in either case. It resets the link where what was written to it holds all slots,
# and not where the subscriber was stopped before it had given some credits back.
stops=0
resets=0
while ((resets < 3)); do
    ((++stops <= 20)) || fail "only $resets links of $stops were reset"
    sleep 0.2
    kill -STOP "${pids[sub]}"
    await "the publisher to drop batches" said $stops 'is slow: until it takes some'
    sleep 0.1 # it goes on and rewrites its slots
    kill -CONT "${pids[sub]}"
    resets=$(grep -c 'takes nothing of what was written to it: its link is reset' "$work/pub.log")
    await "the subscriber to come back" said "$resets" 'is back over tcp'
done
kill -INT "${pids[pub]}"
expect_end pub 1
expect_end sub 1
# A slot that is rewritten mostly holds a later batch, whole and with its own header: what the subscriber
# reads of it after its link was reset is no wrong message, but a batch before its turn, or one whose
# length is another's. One connection brings neither by itself.
expect_report sub '.reordered == 0' '.checksum_errors == 0'
# A gap is a mismatch, and one of many messages; a batch that was rewritten in part would be some forty.
expect_report sub '.gaps > 0' '.duplicates == 0' '.verified.mismatches < 30' \
    '.verified.first_mismatch | test(": batch [0-9]+ begins with message [0-9]+ where ")'
expect_report pub '.send_mode == "splice"'
