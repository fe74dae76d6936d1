#!/usr/bin/env bash
# --help, --version and --print-config answer; every option that --help names is in the man page, and
# the other way round; the effective configuration can be read back.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

for tool in embar-pub embar-sub embar-perf; do
    "$EMBAR_BIN/$tool" --help >"$work/help" 2>"$work/help.log" || fail "$tool --help failed"
    [[ ! -s $work/help.log ]] || fail "$tool --help wrote to stderr"
    "$EMBAR_BIN/$tool" --version | grep -qE "^$tool [0-9]+\.[0-9]+\.[0-9]+$" || fail "$tool --version"
    page=$EMBAR_SOURCE/docs/man/$tool.1
    groff -man -Tutf8 -rHY=0 -ww -P-cbou "$page" 2>"$work/page.log" >"$work/page"
    [[ ! -s $work/page.log ]] || fail "$tool.1 has mistakes"
    options() { grep -oE -- '(^|[^-[:alnum:]])--[a-z][a-z-]+' "$1" | grep -oE -- '--[a-z-]+' | sort -u; }
    options "$work/help" >"$work/help.options"
    options "$work/page" >"$work/page.options"
    (($(wc -l <"$work/help.options") > 10)) || fail "no options found in $tool --help"
    diff "$work/help.options" "$work/page.options" || fail "$tool --help and $tool.1 name other options"
done

"$pub" --print-config --set stream=harvest --set batch.size=1MiB >"$work/effective.yaml" ||
    fail "--print-config failed"
grep -q 'harvest' "$work/effective.yaml" || fail "what --set sets is not in --print-config"
grep -q 'command line' "$work/effective.yaml" || fail "--print-config does not say where values come from"
"$pub" -c "$work/effective.yaml" --print-config >"$work/again.yaml" || fail "it cannot be read back"
values() { sed 's/#.*//; s/ *$//' "$1" | grep -v '^$'; }
diff <(values "$work/effective.yaml") <(values "$work/again.yaml") || fail "read back it says something else"
"$pub" --print-config >/dev/full 2>"$work/full.log" && fail "a full standard output went unnoticed"
EMBAR_STREAM=sowing "$sub" --print-config | grep 'sowing' >/dev/null || fail "the environment was not read"
