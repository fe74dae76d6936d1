# What the integration tests share: starting the tools, waiting for conditions, judging what came out.
# Sourced by each test_*.sh. Nothing here decides by time: what is awaited has a generous bound, and a
# bound that is reached is a failure.
#
# Every test has a folder of its own, $work, and ports of its own: whoever listens takes port 0 and says
# what it got. A background tool NAME leaves NAME.log (stderr), NAME.out (stdout) and NAME.json.
# shellcheck shell=bash

set -uo pipefail
: "${EMBAR_BIN:?the folder of the tools}" "${EMBAR_SOURCE:?the source tree}"

pub=$EMBAR_BIN/embar-pub
sub=$EMBAR_BIN/embar-sub
support=$EMBAR_BIN
work=$(mktemp -d)
patience=60 # seconds; what a condition may take on a slow machine under sanitizers

# The same scripts run over every transport: on loopback, or in a guest on the address of its device.
transport=${EMBAR_TEST_TRANSPORT:-tcp}
host=${EMBAR_TEST_HOST:-127.0.0.1}
over=(--set "transport=$transport")

# Small buffers keep the tests quick; what the defaults do is shown by the tests that say so.
small=("${over[@]}" --set buffer.size=16MiB)

declare -A pids=()

finish() {
    local status=$? name
    for name in "${!pids[@]}"; do
        kill -KILL "${pids[$name]}" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT

fail() { # SENTENCE...
    local log
    echo "FAILED: $*"
    for log in "$work"/*.log; do
        [[ -s $log ]] && printf -- '---- %s\n%s\n' "${log##*/}" "$(tail -n 20 "$log")"
    done
    exit 1
}

skip() { # WHY
    echo "skipped: $*"
    exit 77
}

# Polls until a command succeeds.
await() { # WHAT COMMAND...
    local what=$1 end=$((SECONDS + patience))
    shift
    until "$@"; do
        ((SECONDS < end)) || fail "waited $patience s for $what"
        sleep 0.02
    done
}

logged() { # NAME REGEX
    grep -qsE -- "$2" "$work/$1.log"
}

is_gone() { # NAME
    ! kill -0 "${pids[$1]}" 2>/dev/null
}

# Starts a command in the background. stdin is empty unless NAME.in exists.
start() { # NAME COMMAND...
    local name=$1 in=/dev/null
    shift
    [[ -e $work/$name.in ]] && in=$work/$name.in
    rm -f "$work/$name".{out,json} # of an earlier one of that name
    : >"$work/$name.log"
    "$@" <"$in" >"$work/$name.out" 2>"$work/$name.log" &
    pids[$name]=$!
}

# Waits until NAME ends and leaves its exit status in $status.
ended() { # NAME
    await "the end of $1" is_gone "$1"
    wait "${pids[$1]}"
    status=$?
    unset "pids[$1]"
}

expect_end() { # NAME STATUS
    ended "$1"
    ((status == $2)) || fail "$1 ended with $status, not $2"
}

# The address that NAME says it listens on, in $address.
listening() { # NAME
    await "$1 to listen" logged "$1" 'listening on [^ ,]+|^proxy on '
    address=$(sed -nE 's/.*listening on ([^ ,]+).*/\1/p; s/^proxy on (.*)/\1/p' "$work/$1.log" | head -1)
}

# A subscriber on a free port of its own, and its address in $address.
start_sub() { # NAME OPTION...
    local name=$1
    shift
    start "$name" "$sub" --listen "$host:0" "${small[@]}" --report "$work/$name.json" "$@"
    listening "$name"
}

# The same for a publisher.
start_pub() { # NAME OPTION...
    local name=$1
    shift
    start "$name" "$pub" --listen "$host:0" "${small[@]}" --report "$work/$name.json" "$@"
    listening "$name"
}

# A publisher in the foreground that connects to $address; its exit status is in $status.
run_pub() { # NAME OPTION...
    local name=$1
    shift
    timeout $((patience * 2)) "$pub" --connect "$address" "${small[@]}" --report "$work/$name.json" "$@" \
        >"$work/$name.out" 2>"$work/$name.log"
    status=$?
}

expect_pub() { # NAME STATUS OPTION...
    local name=$1 wanted=$2
    shift 2
    run_pub "$name" "$@"
    ((status == wanted)) || fail "$name ended with $status, not $wanted"
}

# A proxy in front of $address, whose own address is in $address afterwards.
start_proxy() { # NAME OPTION...
    local name=$1
    shift
    start "$name" "$support/tcp_proxy" "$address" "$@"
    await "the proxy" test -s "$work/$name.out"
    address=$(sed -n 's/^proxy on //p' "$work/$name.out")
}

# Holds when jq's expression is true of NAME's report.
expect_report() { # NAME EXPRESSION...
    local name=$1 expression
    shift
    for expression; do
        jq -e "$expression" "$work/$name.json" >/dev/null ||
            fail "in the report of $name '$expression' does not hold: $(jq -c . "$work/$name.json" 2>&1)"
    done
}

same_bytes() { # FILE FILE
    local a b
    [[ -r $1 && -r $2 ]] || fail "cannot read $1 or $2"
    a=$(sha256sum <"$1")
    b=$(sha256sum <"$2")
    [[ $a == "$b" ]] || fail "$2 ($(stat -c %s "$2") bytes) is not what $1 ($(stat -c %s "$1") bytes) was"
}

random_file() { # FILE BYTES
    head -c "$2" /dev/urandom >"$1"
}

# A tool that must refuse: NAME, its exit status, a regular expression that its one sentence matches.
expect_refusal() { # NAME STATUS REGEX COMMAND...
    local name=$1 wanted=$2 regex=$3 lines
    shift 3
    timeout "$patience" "$@" </dev/null >"$work/$name.out" 2>"$work/$name.log"
    status=$?
    ((status == wanted)) || fail "$name ended with $status, not $wanted"
    lines=$(wc -l <"$work/$name.log")
    ((lines == 1)) || fail "$name said $lines lines, not one sentence"
    grep -qE -- "$regex" "$work/$name.log" || fail "$name did not say '$regex'"
}
