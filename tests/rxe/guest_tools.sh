#!/usr/bin/env bash
# Runs in a guest (or on a host with RDMA): the tools over rdma. First real files in 2 MiB batches from
# 256 MiB buffers with config/rxe.yaml, as one would by the guide; then the integration scripts that
# hold for every transport: a few of them, those that the arguments name, or `all`. Needs EMBAR_BIN and
# EMBAR_SOURCE.
set -uo pipefail

export EMBAR_TEST_TRANSPORT=rdma EMBAR_TEST_HOST=$EMBAR_LAB_ADDR
export EMBAR_TEST_STREAM_BYTES=200000000 EMBAR_TEST_MESSAGES=${EMBAR_TEST_MESSAGES:-1000000}
scripts=("$@")
case ${1-} in
"") # what differs most from other transports; starting processes is slow in an emulated guest
    scripts=(three_publishers_keep_apart slow_subscriber_stalls_publisher) ;;
all)
    scripts=(publisher_may_listen three_subscribers_get_all three_publishers_keep_apart
        tar_streams_through_pipes formats_keep_boundaries nothing_is_a_stream_too
        generated_messages_verify_at_every_size ten_million_small_messages_verify
        slow_subscriber_stalls_publisher) ;;
esac

fail() {
    echo "FAILED: $*"
    tail -n 20 "$work"/*.log
    exit 1
}

holds() { # REPORT EXPRESSION
    jq -e "$2" "$work/$1" >/dev/null || fail "in $1 '$2' does not hold: $(jq -c . "$work/$1")"
}

real_files() {
    local files=() bytes=0 size file
    while read -r size file; do
        ((bytes < 270000000)) || break
        files+=("$file")
        bytes=$((bytes + size))
    done < <(find -L /usr/lib/x86_64-linux-gnu /usr/bin -xdev -type f -readable -size +64k \
        -printf '%s %p\n' 2>/dev/null | sort -k2 -u)
    ((bytes >= 268435456)) || fail "this host has only $bytes bytes of files to publish"

    local inputs=()
    for file in "${files[@]}"; do inputs+=(-i "$file"); done
    "$EMBAR_BIN/embar-sub" -c "$EMBAR_SOURCE/config/rxe.yaml" --listen "$EMBAR_LAB_ADDR:9400" --once -o - \
        --report "$work/sub.json" 2>"$work/sub.log" | sha256sum >"$work/got" &
    "$EMBAR_BIN/embar-pub" -c "$EMBAR_SOURCE/config/rxe.yaml" --connect "$EMBAR_LAB_ADDR:9400" \
        "${inputs[@]}" --report "$work/pub.json" 2>"$work/pub.log" || fail "embar-pub ended with $?"
    wait
    [[ $(cat "${files[@]}" | sha256sum) == "$(<"$work/got")" ]] || fail "other bytes came than went"
    holds pub.json ".transport == \"rdma\" and .bytes == $bytes and .pages.kind == \"hugetlb\" and
        .send_mode == \"rdma-write\" and .receiver_not_ready == 0 and .registrations == 0 and
        .reconnects == 0"
    holds sub.json ".transport == \"rdma\" and .bytes == $bytes and .pages.kind == \"hugetlb\" and
        .receiver_not_ready == 0 and .registrations == 0 and .gaps == 0 and .checksum_errors == 0"
    echo "ok: $bytes bytes of real files at $(jq .rate_gbps_consumed "$work/pub.json") GB/s"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
real_files
for script in "${scripts[@]}"; do
    began=$SECONDS
    bash "$EMBAR_SOURCE/tests/integration/test_$script.sh" || fail "$script over rdma"
    echo "ok: $script in $((SECONDS - began)) s"
done
