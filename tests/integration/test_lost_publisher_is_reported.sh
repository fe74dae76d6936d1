#!/usr/bin/env bash
# A publisher that is killed: its subscriber ends with 1, and says that it was lost.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

start_sub sub --once --verify --set reconnect_timeout=300ms
start pub "$pub" --connect "$address" "${small[@]}" --generate --size 1000 --duration 3600 --stats 0.05
await "the stream to flow" logged pub ' [0-9.]+ [MG]B in all'
kill -KILL "${pids[pub]}"
ended pub
expect_end sub 1
expect_report sub '.peers == {joined: 1, finished: 0, lost: 1}' '.verified.mismatches == 0' \
    '.error | test("1 of 1 publishers were lost")'

# And a subscriber that is killed: its publisher ends with 3.
start_sub sub2 --once --verify
start pub2 "$pub" --connect "$address" "${small[@]}" --generate --size 1000 --duration 3600 --stats 0.05 \
    --set reconnect_timeout=300ms --report "$work/pub2.json"
await "the stream to flow" logged pub2 ' [0-9.]+ [MG]B in all'
kill -KILL "${pids[sub2]}"
ended sub2
expect_end pub2 3
expect_report pub2 '.exit_status == 3' '.error | length > 0' '.peers.joined == 1'
