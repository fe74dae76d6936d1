#!/usr/bin/env bash
# From a fresh Debian 12 to real bytes on the wire: installs what is missing, builds, publishes at
# least 1 GiB of files to a subscriber in another process, compares the SHA-256 of both ends and prints
# what the two reports say. Exits 0 only when the bytes are equal. Run it from anywhere, as often as
# you like: a second run installs and rebuilds nothing.
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$tree/build
bytes_wanted=$((1 << 30))
work=
children=()

# shellcheck source=tools/packages.sh
. "$tree/tools/packages.sh"
# shellcheck source=tools/hugepages.sh
. "$tree/tools/hugepages.sh"

fail() # SENTENCE
{
    echo "quickstart: $1" >&2
    exit 1
}

clean_up()
{
    local child
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
    done
    if [[ -n $work ]]; then rm -rf "$work"; fi
}

build_tools()
{
    local log=$build/quickstart.log
    mkdir -p "$build"
    if [[ ! -e $build/CMakeCache.txt ]]; then
        cmake -S "$tree" --preset release >"$log" 2>&1 || { cat "$log"; fail "cmake failed"; }
    fi
    cmake --build "$build" --target embar-pub embar-sub >"$log" 2>&1 ||
        { cat "$log"; fail "the build failed"; }
    if grep -q 'no work to do' "$log"; then
        echo "build: nothing to rebuild in $build"
    else
        echo "build: embar-pub and embar-sub are in $build/bin"
    fi
}

# A folder with room for the received file: in memory where there is plenty, so that the rates are not
# those of a disk.
make_work_folder()
{
    local folder free_kib
    for folder in /dev/shm "${TMPDIR:-/tmp}" "$build"; do
        [[ -w $folder ]] || continue
        if [[ $folder == /dev/shm ]] && (($(hugepages_meminfo MemAvailable) < 4 << 20)); then continue; fi
        free_kib=$(df -Pk "$folder" | awk 'NR == 2 {print $4}')
        if ((free_kib * 1024 > bytes_wanted * 5 / 4)); then
            work=$(mktemp -d "$folder/embar-quickstart.XXXXXX")
            return
        fi
    done
    fail "no room for the received file: free 1.3 GiB in ${TMPDIR:-/tmp} or set TMPDIR"
}

# Fills `files` with the largest files of /usr that are no larger than 64 MiB, by size and then by
# name, until there are enough bytes; a small system's list is used more than once. Sets `sent` to their SHA-256.
collect_files()
{
    local list=() sizes=() size path i
    while IFS=' ' read -r -d '' size path; do
        sizes+=("$size")
        list+=("$path")
    done < <(find /usr -xdev -type f -size +3k -size -65537k -readable -printf '%s %p\0' |
        LC_ALL=C sort -z -k1,1nr -k2)
    ((${#list[@]} > 0)) || fail "no files found in /usr"
    files=()
    bytes=0
    while ((bytes < bytes_wanted)); do
        for i in "${!list[@]}"; do
            files+=("${list[i]}")
            bytes=$((bytes + sizes[i]))
            if ((bytes >= bytes_wanted)); then break; fi
        done
    done
    sent=$(cat -- "${files[@]}" | sha256sum | cut -d' ' -f1)
    echo "files: ${#files[@]} from /usr, $bytes bytes; received into ${work%/*}"
}

# Runs both tools with the shipped configuration, each in a process of its own.
stream_files()
{
    local inputs=() file subscriber publisher_status=0 subscriber_status=0
    for file in "${files[@]}"; do
        inputs+=(-i "$file")
    done
    timeout 300 "$build/bin/embar-sub" -c "$tree/config/embar.yaml" -q -f raw --once \
        -o "$work/received" --report "$work/sub.json" &
    subscriber=$!
    children+=("$subscriber")
    timeout 300 "$build/bin/embar-pub" -c "$tree/config/embar.yaml" -q -f raw "${inputs[@]}" \
        --report "$work/pub.json" || publisher_status=$?
    if ((publisher_status != 0)); then kill "$subscriber" 2>/dev/null || true; fi
    wait "$subscriber" || subscriber_status=$?
    children=()
    if ((publisher_status != 0 || subscriber_status != 0)); then
        fail "embar-pub ended with status $publisher_status, embar-sub with $subscriber_status"
    fi
}

compare_ends()
{
    local received
    received=$(sha256sum <"$work/received" | cut -d' ' -f1)
    echo "sha256 published: $sent"
    echo "sha256 received:  $received"
    [[ $sent == "$received" ]] || fail "the received bytes differ from the published ones"
    echo "equal"
}

print_table()
{
    jq -rs '
        def gbps: . * 1000 | round / 1000 | tostring;
        def us: . * 10 | round / 10 | tostring;
        .[0] as $p | .[1] as $s |
        ["", "publisher", "subscriber"],
        ["sent GB/s", ($p.rate_gbps_sent | gbps), ($s.rate_gbps_sent | gbps)],
        ["placed GB/s", ($p.rate_gbps_placed | gbps), ($s.rate_gbps_placed | gbps)],
        ["consumed GB/s", ($p.rate_gbps_consumed | gbps), ($s.rate_gbps_consumed | gbps)],
        (["p50", "p90", "p99", "p999", "max"][] as $q |
            ["latency \($q) us", ($p.latency_us[$q] | us), ($s.latency_us[$q] | us)]),
        ["batches", ($p.batches | tostring), ($s.batches | tostring)],
        ["transport", $p.transport, $s.transport],
        ["send mode", $p.send_mode, "-"],
        ["pages", "\($p.pages.kind) x \($p.pages.count)", "\($s.pages.kind) x \($s.pages.count)"]
        | @tsv' "$work/pub.json" "$work/sub.json" |
        awk -F'\t' '{printf "  %-16s %16s %16s\n", $1, $2, $3}'
    jq -r '.send_mode_why | select(. != "") | "  send mode: \(.)"' "$work/pub.json"
    echo "  latency: from the closing of a batch to its release by the subscriber, and to its delivery"
}

trap clean_up EXIT
trap 'exit 130' INT TERM
packages_install "${packages_build[@]}" || exit 1
build_tools
hugepages_reserve 512
make_work_folder
collect_files
stream_files
compare_ends
print_table
