#!/usr/bin/env bash
# Real files with the shipped configuration: libraries and programs of this machine, random bytes, and
# many small files, one after the other, arrive as the same bytes.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1
small=("${over[@]}") # otherwise the defaults: 256 MiB buffers, 2 MiB batches

bytes=0
files=()
while read -r size file; do
    ((bytes < 250000000)) || break
    files+=("$file")
    bytes=$((bytes + size))
done < <(find -L /usr/lib /usr/bin /usr/share -xdev -type f -readable -size +64k -printf '%s %p\n' 2>/dev/null |
    sort -k2 -u | head -2000)
while read -r size file; do
    files+=("$file")
    bytes=$((bytes + size))
done < <(find /usr/share/doc /usr/include -xdev -type f -readable -size -8k -printf '%s %p\n' 2>/dev/null | head -500)
random_file "$work/random" 50000001
: >"$work/nothing"
files+=("$work/random" "$work/nothing" "$work/random")
bytes=$((bytes + 100000002))

start_sub sub -c "$EMBAR_SOURCE/config/embar.yaml" --once -o "$work/got"
inputs=()
for file in "${files[@]}"; do
    inputs+=(-i "$file")
done
expect_pub pub 0 -c "$EMBAR_SOURCE/config/embar.yaml" "${inputs[@]}"
expect_end sub 0

sent=$(cat "${files[@]}" | sha256sum)
got=$(sha256sum <"$work/got")
[[ $sent == "$got" ]] || fail "$(stat -c %s "$work/got") bytes came that are not the $bytes published"
expect_report pub ".bytes == $bytes" '.exit_status == 0' '.error == null' ".transport == \"$transport\"" \
    '.rate_gbps_consumed > 0' '.seconds > 0' '.latency_us.p50 > 0' '.latency_us.max >= .latency_us.p50'
expect_report sub ".bytes == $bytes" '.peers == {joined: 1, finished: 1, lost: 0}' '.gaps == 0'
