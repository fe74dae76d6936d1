#!/usr/bin/env bash
# Huge pages that are required and not there: one sentence with cause and fix. A process that may lock
# no memory streams all the same, zero-copy asked for or not.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

free_kib=$(awk '/^HugePages_Free:/ {n = $2} /^Hugepagesize:/ {print n * $2}' /proc/meminfo)
too_much=$((free_kib / 1024 + 512))MiB
for tool in "$pub" "$sub"; do
    expect_refusal pages 3 'hugepages|huge pages' "$tool" -q --set hugepages=require \
        --set "buffer.size=$too_much" --listen "$host:0"
    grep -q 'nr_hugepages' "$work/pages.log" || fail "the fix is not named"
done
EMBAR_USE_HUGETLB=1 expect_refusal variable 3 'nr_hugepages' "$pub" -q --listen "$host:0" \
    --set "buffer.size=$too_much"

# EMBAR_USE_HUGETLB=0 wants ordinary pages, and the report says what was had.
export EMBAR_USE_HUGETLB=0
start_sub sub --once --verify
expect_pub pub 0 --generate --size 4096 --count 1000
expect_end sub 0
expect_report pub '.pages.kind == "ordinary"' '.pages.count == 4096'
expect_report sub '.pages.kind == "ordinary"' '.pages.count == 4096'
unset EMBAR_USE_HUGETLB

# RLIMIT_MEMLOCK does not stop the tcp transport: what may not be pinned is copied.
start_sub sub --once --verify
timeout $((patience * 2)) setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock \
    prlimit --memlock=65536:65536 "$pub" --connect "$address" "${small[@]}" --generate --size 1MiB \
    --count 100 --set tcp.send_mode=zerocopy --report "$work/locked.json" 2>"$work/locked.log"
status=$?
((status == 0)) || fail "without the right to lock memory the publisher ended with $status"
expect_end sub 0
expect_report sub '.verified == {messages: 100, mismatches: 0, first_mismatch: null}'
