#!/usr/bin/env bash
# Everything, in one command, on a machine that has nothing but Debian 12 (as root): installs what is
# missing, builds every lane and runs all their tests in one ctest, whose summary is the last thing
# printed. A test that was skipped, or a lane that did not run, is a failure here.
#
#   lane      build          what
#   release   build/         gcc, warnings are errors: every test
#   asan      build/asan     gcc, address and undefined behaviour sanitizers: the tests again, "asan.NAME"
#   tsan      build/tsan     gcc, thread sanitizer: the tests of what has several threads, "tsan.NAME"
#   fuzz      build/fuzz     clang, warnings are errors, sanitizers: library and tools compile, and
#                            libFuzzer drives the fuzz targets, "fuzz.NAME"
#
# The soft-RoCE tests (label rxe) are in the first two lanes: they boot guests, one at a time, beside
# the other tests. Arguments are handed to ctest (-R NAME, -L LABEL, ...).
set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$tree/build
results=$build/lanes
jobs=$(nproc)

# shellcheck source=tools/packages.sh
. "$tree/tools/packages.sh"
# shellcheck source=tools/hugepages.sh
. "$tree/tools/hugepages.sh"

step() # SENTENCE
{
    printf '== %s\n' "$1"
}

# Configures a preset and builds targets of it; prints its log when that fails.
build_lane() # PRESET TARGETS CMAKE_ARGUMENT...
{
    local preset=$1 targets=$2 log=$build/lane-$1.log seconds=$SECONDS
    shift 2
    step "build $preset"
    # shellcheck disable=SC2086 # several targets
    if ! { cmake -S "$tree" --preset "$preset" "$@" &&
        cd "$tree" && cmake --build --preset "$preset" -j "$jobs" --target $targets; } >"$log" 2>&1; then
        grep -E -A15 'FAILED|CMake Error|error:' "$log" || tail -50 "$log"
        echo "run.sh: lane $preset does not build; all of it is in $log" >&2
        exit 1
    fi
    echo "done in $((SECONDS - seconds)) s"
}

# One ctest over the lanes that run tests.
join_lanes() # BUILD_FOLDER...
{
    rm -rf "$results"
    mkdir -p "$results"
    printf 'subdirs("%s")\n' "$@" >"$results/CTestTestfile.cmake"
    local names twice
    names=$(ctest --test-dir "$results" -N | sed -n 's/^ *Test *#[0-9]*: //p' | sort)
    twice=$(uniq -d <<<"$names")
    if [[ -n $twice ]]; then
        echo "run.sh: two tests of one name (declare with embar_script_test): $twice" >&2
        exit 1
    fi
    local lane
    for lane in '[^.]*$' 'asan\.' 'tsan\.' 'fuzz\.'; do
        if ! grep -q "^$lane" <<<"$names"; then
            echo "run.sh: a lane has no tests ($lane)" >&2
            exit 1
        fi
    done
}

# What counts as not run: ctest's own word, and cmocka's skip() inside a program that passed.
count_skips()
{
    local junit=$results/results.xml log=$results/Testing/Temporary/LastTest.log
    skips=0
    if [[ ! -s $junit ]]; then
        echo "run.sh: ctest was stopped before it had finished" >&2
        exit 1
    fi
    if grep -q '<skipped' "$junit" || grep -qE 'status="(notrun|disabled)"' "$junit"; then
        skips=1
    fi
    if grep -E '^\[  SKIPPED \]' "$log"; then skips=1; fi
}

trap hugepages_restore EXIT
trap 'exit 130' INT TERM
exec </dev/null

step "packages"
packages_install "${packages_test[@]}" || exit 1
"$tree/tests/rxe/lab" fetch || exit 1 # the guests of the soft-RoCE tests
mkdir -p "$build"
build_lane release all -DEMBAR_WERROR=ON
build_lane asan all -DEMBAR_WERROR=ON
build_lane tsan threaded_tests -DEMBAR_WERROR=ON
build_lane fuzz "embar-pub embar-sub embar-perf fuzzers" -DEMBAR_WERROR=ON

step "memory"
hugepages_reserve 2048

join_lanes "$build" "$build/asan" "$build/tsan/tests/threads" "$build/fuzz/tests/fuzz"

step "tests"
status=0
ctest --test-dir "$results" -j "$((jobs + 1))" --output-on-failure --no-label-summary --no-tests=error \
    --output-junit "$results/results.xml" "$@" || status=$?
count_skips
if ((skips != 0)); then
    echo "run.sh: tests were skipped, and a test that did not run is a failure here" >&2
    exit 1
fi
exit $status
