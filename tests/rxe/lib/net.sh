# shellcheck shell=bash
# The cable between two guests: per device one bridge and two taps, in the network namespace in
# which `lab pair` runs itself (see enter_namespace in ../lab), so nothing has to be removed
# afterwards. Taps carry vnet_hdr and a 9000-byte MTU: the guests keep scatter-gather and TSO.
# shellcheck disable=SC2154

make_network() {
    local i who
    if [[ ! -c /dev/net/tun ]]; then
        { mkdir -p /dev/net && mknod /dev/net/tun c 10 200; } 2>/dev/null ||
            die "there is no /dev/net/tun: load the module tun"
    fi
    for ((i = 0; i < devices; i++)); do
        printf 'link add br%d mtu 9000 type bridge mcast_snooping 0\n' "$i"
        for who in server client; do
            printf 'tuntap add dev %s%d mode tap vnet_hdr\n' "$who" "$i"
            printf 'link set %s%d mtu 9000 master br%d up\n' "$who" "$i" "$i"
        done
        printf 'link set br%d up\n' "$i"
    done >"$run/network"
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null
    ip -batch "$run/network" || die "the network between the guests cannot be made"
}

network_arguments() { # WHO HOST-NUMBER: adds to qemu
    local i
    for ((i = 0; i < devices; i++)); do
        qemu+=(-netdev "tap,id=net$i,ifname=$1$i,script=no,downscript=no,vnet_hdr=on"
            -device "virtio-net-pci,netdev=net$i,id=nic$i,host_mtu=9000,speed=10000,duplex=full,romfile=,mac=52:54:00:e0:0$i:0$2")
    done
}

chosen_devices() { # ARGUMENT: prints the devices that an action is about
    if [[ -n $1 ]]; then
        echo "$1"
    else
        seq 0 $((devices - 1))
    fi
}

set_carrier() { # on|off DEVICE|'': both ends see the link go or come, as with a real cable
    local i who
    for i in $(chosen_devices "$2"); do
        for who in server client; do
            ! pid_alive "${qemu_pid[$who]}" || monitor "$who" set_link \
                "{\"name\":\"nic$i\",\"up\":$([[ $1 == on ]] && echo true || echo false)}" || return 1
        done
    done
}

set_forwarding() { # on|off DEVICE|'': frames vanish on the way, neither end is told
    local i
    for i in $(chosen_devices "$2"); do
        if [[ $1 == on ]]; then
            ip link set "server$i" master "br$i" || return 1
        else
            ip link set "server$i" nomaster || return 1
        fi
    done
}
