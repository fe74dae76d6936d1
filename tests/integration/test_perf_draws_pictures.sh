#!/usr/bin/env bash
# embar-perf --plot: each mode leaves its pictures as SVG and PNG, drawn from scripts beside them that
# draw them again.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1
command -v gnuplot >/dev/null || skip "gnuplot is not installed (package gnuplot-nox)"

draw() { # NAME PICTURES OPTION...
    local name=$1 pictures=$2 picture file
    shift 2
    timeout "$patience" "$EMBAR_BIN/embar-perf" --set buffer.size=16MiB --duration 0.1 --warmup 0.02 \
        --plot "$work/$name" "$@" >"$work/$name.out" 2>"$work/$name.log" || fail "embar-perf $* ended with $?"
    [[ ! -s $work/$name.log ]] || fail "gnuplot complained"
    for picture in $pictures; do
        file=$work/$name/$picture
        [[ -s $file.gp ]] || fail "there is no $picture.gp"
        [[ $(head -c 8 "$file.png" | od -An -tx1) == ' 89 50 4e 47 0d 0a 1a 0a' ]] || fail "$picture.png is no PNG"
        grep -q '<svg' "$file.svg" && grep -q '</svg>' "$file.svg" || fail "$picture.svg is no whole SVG"
    done
    (($(find "$work/$name" -name '*.png' | wc -l) == $(wc -w <<<"$pictures"))) || fail "other pictures than $pictures"
}

draw sizes "throughput cost messages" --size 64,4KiB,full --transport tcp,shm --rounds 2
for label in 'message size' 'GB/s' tcp shm 4KiB full 'median, lowest and highest of 2 runs'; do
    grep -q "$label" "$work/sizes/throughput.svg" || fail "'$label' is not in the picture"
done
rm "$work/sizes/throughput.png"
(cd "$work/sizes" && gnuplot throughput.gp) && [[ -s $work/sizes/throughput.png ]] ||
    fail "the script does not draw the picture again"

draw bars "throughput cost" --checksum none,crc32c
grep -q 'crc32c' "$work/bars/throughput.svg" || fail "'crc32c' is not in the picture"
draw percentiles latency --latency --transport tcp,shm
for label in p50 p99.9 max microseconds; do
    grep -q "$label" "$work/percentiles/latency.svg" || fail "'$label' is not in the picture"
done
draw load latency --load 1000 --subscribers 1,2
draw idle idle --idle 0.1
