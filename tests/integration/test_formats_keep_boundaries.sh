#!/usr/bin/env bash
# Lines and records: what goes in as a message comes out as one, at every size there is.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

limit=$((2 * 1024 * 1024 - 64 - 4)) # a slot less the batch header and one message header

record() { # BYTES: one record of so many random bytes, with its length in front
    # shellcheck disable=SC2059 # the format is the length, byte by byte
    printf "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)))"
    head -c "$1" /dev/urandom
}

through() { # NAME IN OUT FORMAT...: publishes a file to a subscriber, both in the format
    local name=$1 in=$2 out=$3
    shift 3
    start_sub "sub-$name" --once -f "$1" -o "$out"
    expect_pub "pub-$name" 0 -f "$1" -i "$in"
    expect_end "sub-$name" 0
}

# Records of 1 byte, of 4 KiB, of none, and of exactly the largest message.
{
    for _ in {1..50}; do record 1; done
    for _ in {1..50}; do record 4096; done
    record 0
    record $limit
    record 1
    record $limit
    record 0
} >"$work/records"
through records "$work/records" "$work/records.got" records
same_bytes "$work/records" "$work/records.got"
expect_report pub-records '.messages == 105' ".bytes == 50 + 50 * 4096 + 2 * $limit + 1"
expect_report sub-records '.messages == 105'

# Lines: empty ones, one as long as the largest message, and a last one without its newline.
{
    seq 1 20000
    printf '\n\n'
    head -c $limit /dev/zero | tr '\0' 'x'
    printf '\nlast'
} >"$work/lines"
through lines "$work/lines" "$work/lines.got" lines
(cat "$work/lines"; echo) >"$work/lines.whole"
same_bytes "$work/lines.whole" "$work/lines.got"
expect_report sub-lines '.messages == 20004'

# Messages, not bytes, are what travels: lines in, records out.
printf 'one\n\nthree\n' >"$work/three"
start_sub sub-mixed --once -f records -o "$work/three.got"
expect_pub pub-mixed 0 -f lines -i "$work/three"
expect_end sub-mixed 0
printf '\3\0\0\0one\0\0\0\0\5\0\0\0three' >"$work/three.records"
same_bytes "$work/three.records" "$work/three.got"

# One byte more than a slot holds is refused with the limit; what came before it arrives.
refused() { # NAME FORMAT REGEX: publishes $work/NAME
    start_sub "sub-$1" --once -f "$2" -o "$work/$1.got"
    expect_pub "pub-$1" 1 -f "$2" -i "$work/$1"
    logged "pub-$1" "$3" || fail "pub-$1 did not say '$3'"
    expect_end "sub-$1" 1
    expect_report "sub-$1" '.messages == 1' '.peers.lost == 1'
    expect_report "pub-$1" '.exit_status == 1' '.messages == 1' '.error | contains("batch.size")'
}
{ record 3; record $((limit + 1)); } >"$work/long-record"
refused long-record records "long-record: the record at byte 7 is $((limit + 1)) bytes long, the largest .* is $limit"
{ echo one; head -c $((limit + 1)) /dev/zero | tr '\0' 'x'; echo; } >"$work/long-line"
refused long-line lines "long-line:2: the line is longer than $limit bytes"

# A record that ends too early says where.
{ record 3; record 100 | head -c 50; } >"$work/cut"
start_sub sub-cut --once -f records -o "$work/cut.got"
expect_pub pub-cut 1 -f records -i "$work/cut"
logged pub-cut 'cut: the record at byte 7 is cut off: it ends after 50 of 104 bytes' ||
    fail "the cut record was not named"
expect_end sub-cut 1
