#!/usr/bin/env bash
# What a message costs in instructions, counted by callgrind: a number that no busy machine disturbs.
# Opening and closing batches is included, spread over their messages; what the application does is not.
#
#   callgrind.sh [-b BUILD_FOLDER] [-n MESSAGES]
#
# Prints a markdown table: instructions in embar_publish, in embar_reserve with embar_commit, and in
# embar_iter_next, the caller's few included, for messages of 64 bytes and of 4 KiB. memcpy's are named
# apart: valgrind counts every round of `rep movsb`.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$tree/build
count=400000
while getopts b:n: option; do
    case $option in
        b) build=$OPTARG ;;
        n) count=$OPTARG ;;
        *) exit 2 ;;
    esac
done
for needed in valgrind "${CC:-cc}"; do
    command -v "$needed" >/dev/null || { echo "callgrind.sh: $needed is not installed" >&2; exit 77; }
done
[[ -e /usr/include/valgrind/callgrind.h ]] || { echo "callgrind.sh: valgrind's headers are not installed" >&2; exit 77; }
[[ -e $build/library/libembar.so ]] || { echo "callgrind.sh: no library in $build: build it first" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CC:-cc}" -O2 -std=gnu17 -I"$tree/core/include" "$tree/tests/bench/message_path.c" -o "$work/message_path" \
    -L"$build/library" -lembar -Wl,-rpath,"$build/library"

# Instructions per message: all, and those of them in memcpy.
count() { # MODE BYTES
    valgrind --tool=callgrind --collect-atstart=no --callgrind-out-file="$work/out" \
        "$work/message_path" "$1" "$2" "$count" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    callgrind_annotate --auto=no --threshold=100 "$work/out" | awk -v n="$count" '
        /PROGRAM TOTALS/ { gsub(",", "", $1); total = $1 }
        /memcpy|memmove/ { gsub(",", "", $1); copy += $1 }
        END { print total / n, copy / n }'
}

row() { # CALL MODE BYTES
    local figures
    figures=$(count "$2" "$3")
    awk -v call="$1" -v bytes="$3" -v nothing="$nothing" '
        { printf "| %s | %d | %.1f | %.1f |\n", call, bytes, $1 - nothing - $2, $2 }' <<<"$figures"
}

read -r nothing _ <<<"$(count nothing 0)"
echo "| call | message bytes | instructions | and in memcpy |"
echo "| --- | --- | --- | --- |"
for bytes in 64 4096; do
    row embar_publish publish "$bytes"
    row "embar_reserve, embar_commit" reserve "$bytes"
    row embar_iter_next walk "$bytes"
done
