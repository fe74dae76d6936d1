#!/usr/bin/env bash
# The steps of the install tests; CMakeLists.txt says in which order.
#   check.sh install BUILD STAGE   installs BUILD into the empty folder STAGE, under DESTDIR and a prefix
#   check.sh c|cpp|readme STAGE
set -euo pipefail
shopt -s nullglob

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
strict=(-Wall -Wextra -pedantic -Werror)

fail() # SENTENCE
{
    echo "$1"
    exit 1
}

# The tree is staged under DESTDIR and then used where it lies, moved from the prefix it was made for.
install_all() # BUILD STAGE
{
    rm -rf "$2"
    DESTDIR=$2 cmake --install "$1" --prefix /opt/embar >/dev/null
    local root=$2/opt/embar file missing=0
    local library=(libembar.so libembar.so.0 pkgconfig/embar.pc cmake/Embar/EmbarConfig.cmake
        cmake/Embar/EmbarConfigVersion.cmake cmake/Embar/EmbarTargets.cmake)
    local expected=(bin/embar-pub bin/embar-sub bin/embar-perf share/embar/embar.yaml
        share/doc/embar/LICENSE share/doc/embar/README.md)
    for file in "$tree"/core/include/embar/*.h; do
        expected+=("include/embar/${file##*/}")
    done
    for file in "$tree"/docs/man/*.[1-8]; do
        expected+=("share/man/man${file##*.}/${file##*/}")
    done
    expected+=("${library[@]/#/lib/}")
    for file in "${expected[@]}"; do
        [[ -e $root/$file ]] || { echo "not installed: $file"; missing=1; }
    done
    ((missing == 0)) || exit 1
    [[ $(find "$2" -mindepth 1 -maxdepth 2 | wc -l) == 2 ]] ||
        fail "something was installed outside of DESTDIR/prefix: $(find "$2" -mindepth 1 -maxdepth 2)"
    "$root/bin/embar-pub" --version
    "$root/bin/embar-sub" --version
}

build_c() # SOURCE PROGRAM: by what pkg-config says
{
    export PKG_CONFIG_PATH=$root/lib/pkgconfig
    # shellcheck disable=SC2046 # flags are words
    ${CC:-cc} -std=c11 "${strict[@]}" "$1" -o "$2" $(pkg-config --cflags --libs embar)
}

check_c()
{
    build_c "$here/c/consumer.c" "$work/consumer"
    LD_LIBRARY_PATH=$root/lib "$work/consumer" | tee "$work/out"
    grep -qx "version $(pkg-config --modversion embar)" "$work/out" ||
        fail "the library and its pkg-config file disagree on the version"
}

check_cpp()
{
    cmake -G Ninja -S "$here/cpp" -B "$work/build" -DCMAKE_PREFIX_PATH="$root" >/dev/null
    cmake --build "$work/build" >/dev/null
    "$work/build/consumer"
}

# The C blocks of README.md are whole programs, a publisher and a subscriber: they talk to each other.
check_readme()
{
    local port status=0
    awk -v dir="$work" '/^```c$/ {out = dir "/example" ++n ".c"; next} /^```/ {out = ""} out {print >out}' \
        "$tree/README.md"
    build_c "$work/example1.c" "$work/publisher"
    build_c "$work/example2.c" "$work/subscriber"
    export LD_LIBRARY_PATH=$root/lib
    EMBAR_SUBSCRIBER_LISTEN=127.0.0.1:0 "$work/subscriber" >"$work/out" &
    subscriber=$!
    port=$(wait_for_port "$subscriber") || fail "the subscriber of the example does not listen"
    EMBAR_PUBLISHER_CONNECT=127.0.0.1:$port "$work/publisher" || status=$?
    wait "$subscriber" || status=$?
    subscriber=
    cat "$work/out"
    ((status == 0)) || fail "an example ended with status $status"
    grep -qx 'hello, subscriber' "$work/out" || fail "the message did not arrive"
}

# The port on which a process of ours listens, from the kernel's own table.
wait_for_port() # PID
{
    local inode port tries
    for ((tries = 0; tries < 200; tries++)); do
        for inode in $(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n'); do
            port=$(awk -v inode="$inode" '$4 == "0A" && $10 == inode {split($2, a, ":"); print a[2]}' \
                /proc/net/tcp)
            if [[ -n $port ]]; then
                echo $((16#$port))
                return 0
            fi
        done
        sleep 0.05
    done
    return 1
}

case ${1:-} in
install)
    install_all "$2" "$3"
    ;;
c | cpp | readme)
    root=$2/opt/embar
    work=$(mktemp -d)
    subscriber=
    trap '[[ -z $subscriber ]] || kill "$subscriber"; rm -rf "$work"' EXIT
    "check_$1"
    ;;
*)
    fail "usage: check.sh install BUILD STAGE | check.sh c|cpp|readme STAGE"
    ;;
esac
