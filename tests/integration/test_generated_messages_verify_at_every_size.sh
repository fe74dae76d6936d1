#!/usr/bin/env bash
# Generated messages of every awkward size verify; a damaged and a missing one are found and named.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

limit=$((2 * 1024 * 1024 - 64 - 4))
for size in 0 1 2 7 8 9 4096 65544 65545 1MiB $limit; do
    start_sub sub --once --verify
    expect_pub pub 0 --generate --size "$size" --count 300
    expect_end sub 0
    expect_report sub '.verified == {messages: 300, mismatches: 0, first_mismatch: null}'
done

# One byte more than the largest message is refused with the limit.
start_sub sub --verify
expect_pub pub 2 --generate --size $((limit + 1)) --count 1
logged pub "the largest message with batch.size 2MiB is $limit bytes" || fail "the limit was not named"
kill -TERM "${pids[sub]}"
expect_end sub 0

# --total is exact, the last message is shorter, and --rate holds the run back.
start_sub sub --once --verify
expect_pub pub 0 --generate --size 1000 --total 100001 --rate 200KiB/s
expect_end sub 0
expect_report sub '.messages == 101' '.bytes == 100001' '.verified.mismatches == 0'
expect_report pub '.seconds > 0.4'

# --duration ends by itself, and takes its time.
start_sub sub --once --verify
expect_pub pub 0 --generate --size 1000 --duration 0.3 --rate 10MiB
expect_end sub 0
expect_report pub '.seconds > 0.25' '.messages > 100'

# A stream that was kept as records, changed, and published again.
start_sub sub --once -f records -o "$work/kept"
expect_pub pub 0 --generate --size 100 --count 100
expect_end sub 0
verified() { # FILE STATUS
    start_sub sub --once --verify
    expect_pub pub 0 -f records -i "$1"
    expect_end sub "$2"
}
verified "$work/kept" 0
cp "$work/kept" "$work/damaged"
byte=$(od -An -tu1 -j $((104 * 42 + 4 + 77)) -N1 "$work/kept")
printf '%b' "\\x$(printf %02x $((byte ^ 1)))" |
    dd of="$work/damaged" bs=1 seek=$((104 * 42 + 4 + 77)) conv=notrunc status=none
verified "$work/damaged" 1
expect_report sub '.verified.mismatches == 1' \
    '.verified.first_mismatch | test("message 42 of 100 bytes: byte 77 is 0x")'
{ head -c $((104 * 30)) "$work/kept"; tail -c +$((104 * 31 + 1)) "$work/kept"; } >"$work/missing"
verified "$work/missing" 1
expect_report sub '.verified.mismatches == 1' \
    '.verified.first_mismatch | test("message 31 came where 30 was due")'
