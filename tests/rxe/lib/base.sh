# shellcheck shell=bash
# What every part of the lab uses: messages, the ways to end, time, quoting, and the directory of
# this run. Sourced by ../lab; runs on the host. Variables set here for others are shared on purpose.
# shellcheck disable=SC2034,SC2154

# Exit statuses of the lab's own, as timeout(1) and docker have them. A command's own status
# passes through.
readonly LAB_USAGE=2 LAB_TIMEOUT=124 LAB_FAILED=125

say() { printf 'lab: %s\n' "$*" >&2; }

detail() { # shown with -v: MESSAGE with the seconds since the lab started
    [[ -n $verbose ]] || return 0
    read_clock
    printf 'lab: %d.%03d s: %s\n' $(((now - started) / 1000)) $(((now - started) % 1000)) "$*" >&2
}

die() { # the lab itself failed
    say "$*"
    exit "$LAB_FAILED"
}

usage_error() {
    say "$* (lab --help shows how)"
    exit "$LAB_USAGE"
}

read_clock() { now=$((${EPOCHREALTIME//[^0-9]/} / 1000)); } # sets now, milliseconds

parse_duration() { # 3, 3s, 500ms, 2m: sets duration, milliseconds; 1 if it is none of these
    [[ $1 =~ ^([0-9]{1,7})(\.([0-9]{1,3}))?(ms|s|m)?$ ]] || return 1
    local whole=$((10#${BASH_REMATCH[1]})) part=${BASH_REMATCH[3]}00 unit=1000
    case ${BASH_REMATCH[4]} in
    ms) unit=1 ;;
    m) unit=60000 ;;
    esac
    part=$((10#${part:0:3}))
    duration=$((whole * unit + part * unit / 1000))
}

quote() { printf "'%s'" "${1//\'/\'\\\'\'}"; } # for any POSIX shell

# Waits for what others write to a pipe, whole lines at a time. Not by `read -t`: bash reads a pipe byte
# by byte, and when the time is up in the midst of a line, what it had read is lost, now and then even
# to the caller that looks at the variable. A lost "up" or "seen" is a lab that waits for ever.
readable_within() { # MS FD: 1 if nothing came
    local slice
    for ((slice = $1; ; slice -= 10)); do
        ! read -r -t 0 <&"$2" || return 0
        [[ $slice -gt 0 ]] || return 1
        read -r -t 0.01 <&"$never"
    done
}
exec {never}<> <(:) # a pipe that nobody writes to

pid_alive() { [[ -n $1 ]] && kill -0 "$1" 2>/dev/null; }

# One directory per run: a lab that was killed outright leaves its directory, the next one clears it.
runs_dir() { printf '%s/embar-lab-%s' "${TMPDIR:-/tmp}" "$EMBAR_LAB_UID"; }

make_run_dir() { # sets run
    local base left
    base=$(runs_dir)
    [[ $base != *,* ]] || die "QEMU cannot work below a directory with a comma in its name: set TMPDIR"
    mkdir -m 700 "$base" 2>/dev/null
    [[ -O $base && ! -L $base ]] || die "$base is not this user's directory"
    for left in "$base"/*/; do
        if [[ -e $left/pid ]] && ! pid_alive "$(<"$left/pid")"; then
            rm -rf -- "$left"
        fi
    done
    mkdir -m 700 "$base/$name" 2>/dev/null || die "a lab named $name runs already"
    run=$base/$name
    echo "$$" >"$run/pid"
}
