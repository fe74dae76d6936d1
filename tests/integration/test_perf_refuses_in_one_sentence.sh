#!/usr/bin/env bash
# embar-perf: what it cannot do is said in one sentence before anything is measured.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

refuse() { # REGEX OPTION...
    local regex=$1
    shift
    expect_refusal refusal 2 "^embar-perf: .*$regex" "$EMBAR_BIN/embar-perf" --duration 0.1 --warmup 0 "$@"
    [[ ! -s $work/refusal.out ]] || fail "$* printed something on standard output"
}

refuse "--frobnicate is no option" --frobnicate
refuse "'7' is no option" 7
refuse "--size needs a value" --size
refuse "--size: 'big' is not a size" --size 64,big
refuse "--size: '8' is too small; .* at least 16" --size 8
refuse "empty item" --transport tcp,,shm
refuse "--transport was given twice" --transport tcp --transport shm
refuse "transport.*'pigeon'" --transport tcp,pigeon
refuse "checksum.*'md5'" --checksum md5
refuse "--subscribers: '0' is not 1 to 63" --subscribers 0
refuse "are more than 64" --subscribers 40 --publishers 40
refuse "give one of --throughput, --latency, --load and --idle" --latency --idle 1
refuse "--load: '0' is not 1 to" --load 0
refuse "--latency is between two processes" --latency --subscribers 2
refuse "--source is for --throughput only" --latency --source fill
refuse "--touch is for --throughput and --load only" --idle 1 --touch all
refuse "--source: 'thin-air' is not one of number, fill, in-place" --source thin-air
refuse "--touch: 'gently' is not one of none, headers, all" --touch gently
refuse "--duration" --duration never
refuse "--rounds: '0' is not 1 to 10000" --rounds 0
refuse "--cpus: '0,x' is not a list of core numbers" --cpus 0,x
refuse "--cpus: this process may not run on core 1023" --cpus 1023
refuse "--size 9999999: the largest message of such a batch is 2097084 bytes; raise --batch" --size 9999999
refuse "--subscriber-netns: cannot enter /run/netns/nowhere" --subscriber-netns nowhere
refuse "--json /nowhere/x: cannot write into /nowhere" --json /nowhere/x
refuse "--plot /nowhere/x: cannot make this folder" --plot /nowhere/x
refuse "batch.size" --set batch.size=3parsecs
refuse "no/such/file" -c no/such/file

# Without gnuplot, which package it is in.
mkdir "$work/empty"
PATH=$work/empty "$EMBAR_BIN/embar-perf" --plot "$work" >"$work/plot.out" 2>"$work/plot.log"
status=$?
((status == 2)) || fail "a missing gnuplot ended with $status, not 2"
[[ $(<"$work/plot.log") == *"gnuplot, which is not installed; it is in the package gnuplot-nox"* ]] ||
    fail "a missing gnuplot was not explained"
