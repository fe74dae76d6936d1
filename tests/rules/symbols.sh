#!/usr/bin/env bash
# The shared library exports just the functions that the public headers declare: nothing else, and
# nothing missing.
#   symbols.sh LIBRARY INCLUDE_DIR
set -euo pipefail

library=${1:?usage: symbols.sh LIBRARY INCLUDE_DIR}
include=${2:?usage: symbols.sh LIBRARY INCLUDE_DIR}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# `A` is the version node itself.
nm -D --defined-only "$library" | awk '$2 != "A" {sub(/@.*/, "", $3); print $3}' |
    sort >"$work/exported"

for header in "$include"/embar/*.h; do
    echo "#include <embar/${header##*/}>"
done | ${CC:-cc} -std=c11 -E -P -I"$include" - |
    tr '\n' ' ' | sed 's/[;{}]/\n/g' |
    grep -v 'typedef' | grep -oP '\bembar_\w+(?=\s*\()' | sort -u >"$work/declared"

[[ -s $work/declared ]] || { echo "no declarations found in $include/embar"; exit 1; }

status=0
if ! comm -23 "$work/exported" "$work/declared" | awk '{print "exported, but not declared: " $0} END {exit NR > 0}'; then
    status=1
fi
if ! comm -13 "$work/exported" "$work/declared" | awk '{print "declared, but not exported: " $0} END {exit NR > 0}'; then
    status=1
fi
echo "$(wc -l <"$work/exported") symbols exported, $(wc -l <"$work/declared") declared"
exit $status
