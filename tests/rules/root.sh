#!/usr/bin/env bash
# The root of the tree holds what is listed here and what .gitignore names: a script that was tried
# there, or what a program left, does not come in unseen.
#   root.sh TREE
set -euo pipefail

known='.ci .clang-format .git .gitignore CMakeLists.txt CMakePresets.json LICENSE README.md
    cmake common config core docs rdma shm tcp tests tools'

cd "${1:?usage: root.sh TREE}"
mapfile -t ignored < <(sed 's|^/||; s|/$||' .gitignore)
strays=0

is_ignored() # NAME
{
    local pattern
    for pattern in "${ignored[@]}"; do
        # shellcheck disable=SC2053 # it is a pattern
        [[ $1 == $pattern ]] && return
    done
    return 1
}

while read -r name; do
    if ! grep -qxF -- "$name" < <(tr -s ' \n' '\n' <<<"$known") && ! is_ignored "$name"; then
        echo "$name is not known at the root: remove it, or name it in tests/rules/root.sh"
        strays=$((strays + 1))
    fi
done < <(find . -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)
((strays == 0))
