#!/usr/bin/env bash
# What README.md and docs/*.md point at exists: the targets of links, and every file or folder of the
# tree that is named in backticks.
#   docs.sh TREE
set -euo pipefail

cd "${1:?usage: docs.sh TREE}"
shopt -s nullglob
tree=$(find . \( -name .git -o -path './build*' \) -prune -o -printf '%P\n')
missing=0

lost() # DOCUMENT NAME
{
    echo "$1: there is no $2"
    missing=$((missing + 1))
}

for document in README.md docs/*.md docs/decisions/*.md; do
    while read -r target; do
        [[ -e $(dirname "$document")/${target%%#*} ]] || lost "$document" "$target"
    done < <(grep -oP '\]\(\K[^)#:]+(?=[)#])' "$document" || true)
    # A name may be given from the root or, where the text is about its folder, without it.
    while read -r name; do
        grep -qE "(^|/)${name%/}\$" <<<"$tree" || lost "$document" "$name"
    done < <(grep -oP '(?<![\w/])`\K[A-Za-z][\w./-]*(\.(c|h|sh|md|yaml|cmake|json|txt)|/)(?=`)' "$document" |
        grep -v '^build/' || true)
done
((missing == 0))
