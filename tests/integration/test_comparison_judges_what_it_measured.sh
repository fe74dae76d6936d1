#!/usr/bin/env bash
# tests/bench/compare.sh: a few of its cases, quickly. Each row's ratio is that of the two runs it names,
# and it is judged against what is asked for; nothing is left behind.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

compare=$EMBAR_SOURCE/tests/bench/compare.sh
namespaces() { ip netns list 2>/dev/null | grep -c embar-bench- || true; }

before=$(namespaces)
timeout $((patience * 2)) bash "$compare" --quick -t 0.2 -b "$EMBAR_BIN" -o "$work/out" \
    -k '^(memcpy 8 MiB|embar shm 2 MiB numbered|raw tcp ping-pong|embar tcp ping-pong|embar tcp 2 MiB.*)$' \
    >"$work/compare.out" 2>"$work/compare.log" || fail "compare.sh ended with $?"
cp "$work/out/compare.json" "$work/compare.json"
expect_report compare '.runs | length == 6' '.facts.cores | tonumber >= 2' \
    'any(.rows[]; .peer == "memcpy 8 MiB" and .met == null)' \
    'any(.rows[]; .peer == "raw tcp ping-pong" and .target == 1.15 and .met == (.ratio <= 1.15))' \
    'any(.rows[]; .peer == "embar tcp 2 MiB" and .target == 0.8 and .met == (.ratio >= 0.8))' \
    '([.runs[] | select(.case == "embar tcp 2 MiB crc32c") | .gbps] | first) as $with
        | ([.runs[] | select(.case == "embar tcp 2 MiB") | .gbps] | first) as $without
        | any(.rows[]; .peer == "embar tcp 2 MiB" and (.ratio - $with / $without | fabs) < 1e-9)'
grep -q '^| tcp, one way, 64 B, both spinning | .* | raw tcp ping-pong | ' "$work/compare.out" || fail "no such row"
grep -q "does not match\|jq: error" "$work/compare.log" && fail "compare.sh complained"
if command -v gnuplot >/dev/null; then
    [[ -s $work/out/compare.svg && -s $work/out/compare.png ]] || fail "there is no picture"
fi
(($(namespaces) <= before)) || fail "a network namespace was left behind"

expect_refusal usage 1 '^compare.sh: usage: ' bash "$compare" --frobnicate
expect_refusal value 1 '^compare.sh: -n needs a value' bash "$compare" -n
expect_refusal tools 1 '^compare.sh: no embar-perf in ' bash "$compare" -b "$work"
