# What Embar needs from Debian 12, in one list: sourced by quickstart.sh and tests/run.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the lists are for those who source this

# To build the library, the tools and the test programs, and to read reports.
packages_build=(
    gcc libc6-dev cmake ninja-build pkgconf
    libyaml-dev libnuma-dev libisal-dev libjansson-dev libibverbs-dev librdmacm-dev libcmocka-dev
    jq
)
# Beyond that to run every test: a C++ user of the library, the second compiler and its fuzzer,
# network namespaces, processes to look at, man pages to check, pictures.
packages_test=(
    "${packages_build[@]}"
    g++ clang libclang-rt-14-dev clang-format iproute2 procps groff-base gnuplot-nox
)
# Beyond that for tests/bench: what Embar is measured against.
packages_bench=("${packages_build[@]}" iperf3 libzmq3-dev libnng-dev ucx-utils gnuplot-nox procps iproute2)

# Prints those of the named packages that are not installed.
packages_missing() # NAME...
{
    local name
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] ||
            printf '%s\n' "$name"
    done
}

# Installs what is missing; asks apt for nothing when all is there, so that it then needs no network
# and no rights. Returns 1 after a sentence when it cannot.
packages_install() # NAME...
{
    local missing
    mapfile -t missing < <(packages_missing "$@")
    ((${#missing[@]} > 0)) || return 0
    if ! command -v apt-get >/dev/null; then
        echo "packages: this is not Debian; install what these provide and try again: ${missing[*]}" >&2
        return 1
    fi
    if ((EUID != 0)); then
        echo "packages: run 'apt-get install ${missing[*]}' as root, then try again" >&2
        return 1
    fi
    echo "packages: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local log
    log=$(mktemp)
    if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } \
        </dev/null >"$log" 2>&1; then
        tail -20 "$log" >&2
        rm -f "$log"
        echo "packages: apt-get could not install ${missing[*]}" >&2
        return 1
    fi
    rm -f "$log"
}
