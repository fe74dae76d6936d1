#!/usr/bin/env bash
# Compiles every public header alone, and twice in one file, as C11 and C++17 without extensions and
# without a warning; then builds a C++ program against the library and runs it.
# Usage: compile.sh CC CXX LIBEMBAR [SANITIZERS]
set -euo pipefail

cc=$1 cxx=$2 library=$3 sanitizers=${4:-}
source=${EMBAR_SOURCE:?the root of the source tree}
include=$source/core/include
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without -Wshadow: to C++ a function named as a struct (as stat(2) is) hides its constructor.
strict=(-pedantic-errors -Wall -Wextra -Wconversion -Werror -I "$include")
failed=0 checked=0

command -v "$cxx" >/dev/null || {
    echo "no $cxx: install g++ (or clang)"
    exit 1
}

for header in "$include"/embar/*.h; do
    name=embar/$(basename "$header")
    printf '#include <%s>\n#include <%s>\nextern int here;\nint here;\n' "$name" "$name" >"$work/one.c"
    cp "$work/one.c" "$work/one.cc"
    "$cc" -std=c11 "${strict[@]}" -c "$work/one.c" -o "$work/one.o" || {
        echo "$name does not compile as C11"
        failed=1
    }
    "$cxx" -std=c++17 "${strict[@]}" -c "$work/one.cc" -o "$work/one.o" || {
        echo "$name does not compile as C++17"
        failed=1
    }
    checked=$((checked + 1))
done
((checked >= 4)) || {
    echo "only $checked headers found in $include/embar"
    exit 1
}
((failed == 0)) || exit 1

options=()
[[ -z $sanitizers ]] || options=("-fsanitize=$sanitizers")
"$cxx" -std=c++17 "${strict[@]}" "${options[@]}" "$source/tests/headers/use.cc" "$library" \
    -o "$work/use" "-Wl,-rpath,$(dirname "$library")"
"$work/use"
echo "$checked headers, C11 and C++17"
