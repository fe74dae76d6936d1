#!/usr/bin/env bash
# Three publishers at once into one subscriber, whose output is a directory: a file for each publisher,
# named by its session id, each with just what that publisher sent.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

mkdir "$work/got"
start_sub sub --once --set subscriber.min_publishers=3 -o "$work/got"
for i in 1 2 3; do
    random_file "$work/sent$i" $((20000000 + i))
    start "pub$i" "$pub" --connect "$address" "${small[@]}" -i "$work/sent$i"
done
for i in 1 2 3; do
    expect_end "pub$i" 0
done
expect_end sub 0

names=$(ls "$work/got")
[[ $(wc -l <<<"$names") == 3 ]] || fail "three publishers left these files: $names"
grep -qvE '^[0-9a-f]{16}$' <<<"$names" && fail "not named by session ids: $names"
sent=$(sha256sum "$work"/sent* | cut -d' ' -f1 | sort)
got=$(sha256sum "$work"/got/* | cut -d' ' -f1 | sort)
[[ $sent == "$got" ]] || fail "the files of the publishers are not what they sent"
expect_report sub '.peers == {joined: 3, finished: 3, lost: 0}' '.bytes == 60000006'
