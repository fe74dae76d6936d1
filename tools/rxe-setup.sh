#!/bin/sh
# Sets up soft-RoCE (rxe), RDMA done by the kernel over an ordinary network interface, so that Embar's
# rdma transport can be tried on a host without an RDMA card; and says in a sentence what is missing.
# docs/soft-roce.md explains it. Exit status: 0 done, 1 not possible or not working, 2 usage.

set -u
LC_ALL=C
export LC_ALL

usage() {
    cat <<'HELP'
usage: rxe-setup.sh create IFACE [LINK]   makes the rxe device LINK (default: rxe0, rxe1, ...) on IFACE
       rxe-setup.sh show                  lists RDMA devices, their state, addresses and GIDs
       rxe-setup.sh remove IFACE|LINK     removes the rxe device
       rxe-setup.sh check [IFACE|LINK]    transfers data through the device and verifies it
create and remove want root. What create makes is gone after a reboot.
HELP
}

fail() {
    echo "rxe-setup: $*" >&2
    exit 1
}

misused() {
    echo "rxe-setup: $*" >&2
    usage >&2
    exit 2
}

need_root() {
    [ "$(id -u)" -eq 0 ] || fail "$1 needs root: run it with sudo"
}

need_rdma_tool() {
    command -v rdma >/dev/null || fail "there is no 'rdma' command: install the package iproute2"
    command -v ip >/dev/null || fail "there is no 'ip' command: install the package iproute2"
}

# One line per port: DEVICE STATE IFACE. IFACE is '-' for InfiniBand, and for a device whose interface
# is in another network namespace.
list_links() {
    rdma link show 2>/dev/null | while read -r _ port rest; do
        state=${rest#*state }
        netdev=-
        case $rest in
        *"netdev "*) netdev=${rest##*netdev } ;;
        esac
        echo "${port%/*} ${state%% *} ${netdev%% *}"
    done
}

find_link() { # IFACE|LINK: prints its line of list_links
    list_links | while read -r device state netdev; do
        if [ "$device" = "$1" ] || [ "$netdev" = "$1" ]; then
            echo "$device $state $netdev"
            break
        fi
    done
}

is_rxe() { [ -e "/sys/class/infiniband/$1/parent" ]; } # of the kernel's drivers only rxe has it

addresses() { # IFACE: those that rdma_cm can use, IPv4 first
    ip -o address show dev "$1" 2>/dev/null |
        sed -n 's/.* inet6\{0,1\} \([0-9a-f.:]*\).*/\1/p' | grep -v '^fe80:'
}

config_says() { # what the kernel's own config says about CONFIG_RDMA_RXE: y, m, no or nothing
    for config in "/boot/config-$(uname -r)" "/lib/modules/$(uname -r)/config"; do
        if [ -r "$config" ]; then
            sed -n 's/^CONFIG_RDMA_RXE=//p; s/^# CONFIG_RDMA_RXE is not set/no/p' "$config"
            return
        fi
    done
    if [ -r /proc/config.gz ]; then
        zcat /proc/config.gz 2>/dev/null |
            sed -n 's/^CONFIG_RDMA_RXE=//p; s/^# CONFIG_RDMA_RXE is not set/no/p'
    fi
}

where_rxe_is() { # the package that has it, for the distribution that runs
    # shellcheck disable=SC1091
    distribution=$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}")
    case " $distribution " in
    *" ubuntu "*) echo "it is in the package linux-modules-extra-$(uname -r)" ;;
    *" debian "*) echo "Debian's linux-image-amd64 has it, linux-image-cloud-amd64 has not" ;;
    *) echo "a kernel built with CONFIG_RDMA_RXE=m has it" ;;
    esac
}

load_modules() {
    if [ ! -d /sys/module/rdma_rxe ]; then
        release=$(uname -r)
        [ -e /proc/modules ] ||
            fail "the kernel $release has no rdma_rxe and cannot load modules; $(where_rxe_is)"
        [ "$(config_says)" != no ] ||
            fail "the kernel $release was built without rdma_rxe (CONFIG_RDMA_RXE is not set); $(where_rxe_is)"
        command -v modprobe >/dev/null || fail "there is no 'modprobe' command: install the package kmod"
        reason=$(modprobe rdma_rxe 2>&1) ||
            fail "the kernel $release has no module rdma_rxe: $(where_rxe_is) (modprobe says: $reason)"
    fi
    # Without crc32_generic older kernels refuse to make a link; newer ones have no such module.
    for module in crc32_generic ib_uverbs rdma_ucm; do
        [ -d "/sys/module/$module" ] || modprobe -q "$module" 2>/dev/null || :
    done
    [ -e /sys/class/misc/rdma_cm ] || fail "the kernel has no rdma_ucm, which connects by IP address: load the module rdma_ucm"
}

check_interface() { # IFACE
    ip link show dev "$1" >/dev/null 2>&1 || fail "there is no interface '$1' ('ip link' lists them)"
    [ "$1" != lo ] ||
        fail "rxe on 'lo' cannot connect by address: take a real interface, or a veth pair (docs/soft-roce.md)"
    case $(ip -o link show dev "$1") in
    *[\<,]UP[,\>]*) ;;
    *) fail "the interface '$1' is down: ip link set $1 up" ;;
    esac
    [ -n "$(addresses "$1")" ] ||
        fail "the interface '$1' has no address, and RDMA connects by address: ip address add ADDRESS/PREFIX dev $1"
}

why_refused() { # IFACE MESSAGE-OF-RDMA
    case $2 in
    *"No such file"*) echo "the module crc32_generic is missing: modprobe crc32_generic" ;;
    *"not permitted"*)
        if ip -d link show dev "$1" | grep -q ' vlan '; then
            echo "'$1' is a VLAN: make the link on the interface below it"
        else
            echo "CAP_NET_ADMIN in the first network namespace is needed"
        fi
        ;;
    *"not supported"* | *"Invalid argument"*) echo "the kernel's rxe or iproute2's rdma is too old, or '$1' is of a kind that rxe does not take" ;;
    *) echo "see 'dmesg | tail'" ;;
    esac
}

warn_about_memlock() {
    limit=$(sed -n 's/^Max locked memory *\([^ ]*\).*/\1/p' /proc/self/limits 2>/dev/null)
    if [ -n "$limit" ] && [ "$limit" != unlimited ] && [ "$limit" -lt 536870912 ]; then
        echo "note: RLIMIT_MEMLOCK is $((limit / 1024)) KiB here; a user other than root needs room for all" \
            "buffers (256 MiB each): ulimit -l unlimited, or LimitMEMLOCK= in the service"
    fi
}

free_name() {
    number=0
    while [ -e "/sys/class/infiniband/rxe$number" ]; do
        number=$((number + 1))
    done
    echo "rxe$number"
}

create() { # IFACE [LINK]
    need_root create
    need_rdma_tool
    check_interface "$1"
    read -r device state netdev <<EOF
$(find_link "$1")
EOF
    if [ -n "$device" ]; then
        echo "$device is there already on $netdev ($state)"
        return
    fi
    load_modules
    name=${2:-$(free_name)}
    [ ! -e "/sys/class/infiniband/$name" ] || fail "an RDMA device named '$name' exists already: choose another name"
    message=$(rdma link add "$name" type rxe netdev "$1" 2>&1) ||
        fail "the kernel refused the link ($message): $(why_refused "$1" "$message")"
    show_one "$name" "$(cat "/sys/class/infiniband/$name/ports/1/state")" "$1"
    warn_about_memlock
}

show_one() { # DEVICE STATE IFACE
    kind=hardware
    ! is_rxe "$1" || kind=rxe
    echo "$1 ($kind) on $3: ${2#*: }, addresses: $(addresses "$3" | tr '\n' ' ')"
    port=/sys/class/infiniband/$1/ports/1
    for gid in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        value=$(cat "$port/gids/$gid" 2>/dev/null) || break
        case $value in
        0000:0000:0000:0000:0000:0000:0000:0000) continue ;;
        esac
        echo "  GID $gid $value $(cat "$port/gid_attrs/types/$gid" 2>/dev/null)"
    done
}

show() {
    need_rdma_tool
    links=$(list_links)
    [ -n "$links" ] || fail "this host has no RDMA device; rxe-setup.sh create IFACE makes one"
    echo "$links" | while read -r device state netdev; do
        show_one "$device" "$state" "$netdev"
    done
}

remove() { # IFACE|LINK
    need_root remove
    need_rdma_tool
    read -r device state netdev <<EOF
$(find_link "$1")
EOF
    [ -n "$device" ] || fail "there is no RDMA device on or named '$1'"
    is_rxe "$device" || fail "'$device' is not an rxe device: it stays"
    message=$(rdma link delete "$device" 2>&1) || fail "the kernel did not remove $device: $message"
    echo "$device on $netdev is removed"
}

# rping sends data there and back with RDMA READ and WRITE, and -V compares it. Server and client
# both run here, over the device's own address.
transfer() { # ADDRESS: prints what failed
    port=$((20000 + $$ % 20000))
    timeout 40 rping -s -V -C 10 -S 4096 -a "$1" -p "$port" >/dev/null 2>&1 &
    server=$!
    attempt=0
    while [ "$attempt" -lt 5 ]; do
        sleep 1
        if output=$(timeout 20 rping -c -V -C 10 -S 4096 -a "$1" -p "$port" 2>&1); then
            wait "$server" 2>/dev/null
            return 0
        fi
        kill -0 "$server" 2>/dev/null || break
        attempt=$((attempt + 1))
    done
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    echo "$output" | head -n 1
    return 1
}

check() { # [IFACE|LINK]
    need_rdma_tool
    wanted=${1:-$(list_links | sed -n '1s/ .*//p')}
    [ -n "$wanted" ] || fail "this host has no RDMA device; rxe-setup.sh create IFACE makes one"
    read -r device state netdev <<EOF
$(find_link "$wanted")
EOF
    [ -n "$device" ] || fail "there is no RDMA device on or named '$wanted'"
    [ "$state" = ACTIVE ] ||
        fail "$device is $state: the interface $netdev must be up and have a carrier (ip link set $netdev up)"
    address=$(addresses "$netdev" | head -n 1)
    [ -n "$address" ] || fail "$netdev has no address, and RDMA connects by address"
    [ -c /dev/infiniband/rdma_cm ] || fail "there is no /dev/infiniband/rdma_cm: modprobe rdma_ucm (in a container, pass /dev/infiniband in)"
    for node in /dev/infiniband/rdma_cm /dev/infiniband/uverbs*; do
        [ -w "$node" ] || fail "$node may not be written by $(id -un): give the user access to it"
    done
    command -v rping >/dev/null || fail "there is no 'rping' command: install the package rdmacm-utils"
    if command -v ibv_devices >/dev/null && ! ibv_devices 2>/dev/null | grep -qw "$device"; then
        fail "libibverbs has no driver for $device: install the package ibverbs-providers"
    fi
    problem=$(transfer "$address") || fail "$device on $netdev does not transfer over $address: ${problem:-rping got no answer in time}; see docs/soft-roce.md"
    echo "$device on $netdev transfers: 10 messages of 4096 bytes there and back over $address, verified"
    warn_about_memlock
}

[ $# -gt 0 ] || misused "say create, show, remove or check"
command=$1
shift
case $command in
create)
    [ $# -eq 1 ] || [ $# -eq 2 ] || misused "create takes IFACE and, if you like, LINK"
    create "$@"
    ;;
show)
    [ $# -eq 0 ] || misused "show takes nothing"
    show
    ;;
remove)
    [ $# -eq 1 ] || misused "remove takes IFACE or LINK"
    remove "$1"
    ;;
check)
    [ $# -le 1 ] || misused "check takes IFACE or LINK, or nothing"
    check "$@"
    ;;
help | --help | -h) usage ;;
*) misused "there is no command '$command'" ;;
esac
