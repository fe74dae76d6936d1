#!/usr/bin/env bash
# Every C file of the tree is as clang-format would write it (.clang-format, version 14).
#   format.sh TREE         lists the files that are not and exits 1
#   format.sh --fix TREE   rewrites them
set -euo pipefail

mode=check
if [[ ${1:-} == --fix ]]; then
    mode=fix
    shift
fi
cd "${1:?usage: format.sh [--fix] TREE}"
command -v clang-format >/dev/null || { echo "clang-format is not installed"; exit 77; }

mapfile -t files < <(find common core tcp rdma shm tools tests -name '*.[ch]' | sort)
((${#files[@]} > 0)) || { echo "no C files found in $PWD"; exit 1; }

bad=()
for file in "${files[@]}"; do
    clang-format --dry-run -Werror "$file" 2>/dev/null || bad+=("$file")
done
if ((${#bad[@]} == 0)); then
    echo "${#files[@]} files are well formed"
elif [[ $mode == fix ]]; then
    clang-format -i "${bad[@]}"
    printf 'rewrote %s\n' "${bad[@]}"
else
    printf 'not as clang-format would write it: %s\n' "${bad[@]}"
    echo "bash tests/rules/format.sh --fix . puts it right"
    exit 1
fi
