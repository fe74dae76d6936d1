#!/bin/busybox sh
# shellcheck shell=dash
#
# The first process of a lab guest, run by busybox from the initramfs. It loads the modules, makes
# the guest's root (the host's root, read-only, under a tmpfs), brings up the network and the rxe
# devices, and then does what the lab asks over the virtio port `lab.ctl`, line by line:
#   from the lab: ping ADDR | start | signal NAME | exec ID BASE64 | ack ID STATUS TEXT
#   to the lab:   up | pinged | exit STATUS | done ID STATUS | request ID ACTIONS | fail SENTENCE
# It never powers off: the lab kills the guest when it has what it wants.

export PATH=/bin

fail() {
    echo "<3>embar-lab: $*" >/dev/kmsg
    if [ -n "$ctl_open" ]; then
        echo "fail $*" >&3
    fi
    exec sleep 3600
}

find_port() { # by name: there is no udev to make /dev/virtio-ports
    for port in /sys/class/virtio-ports/*; do
        if [ "$(cat "$port/name" 2>/dev/null)" = "$1" ]; then
            echo "/dev/${port##*/}"
            return
        fi
    done
}

mount_host() { # tag, mount point, options
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=524288,$3" "$1" "$2"
}

# /root is a tmpfs in which each directory of the host's root appears read-only, save the few that
# belong to the guest. So a mount point (/out) can exist that the host's root does not have.
make_root() {
    mount -t tmpfs -o mode=755 root /root
    mount_host host /host ro,cache=loose || fail "the host's root cannot be mounted over 9p"
    for entry in /host/*; do
        name=${entry##*/}
        case $name in
        proc | sys | dev | tmp | run | out) continue ;;
        esac
        if [ -L "$entry" ]; then
            cp -P "$entry" "/root/$name"
        elif [ -d "$entry" ]; then
            mkdir "/root/$name"
            mount -o bind "$entry" "/root/$name"
        fi
    done
    for name in proc sys dev tmp run out; do
        mkdir "/root/$name" || fail "the guest's root cannot be made"
    done
    mount -t proc proc /root/proc
    mount -t sysfs sys /root/sys
    mount -t cgroup2 cgroup /root/sys/fs/cgroup
    mount -t debugfs debug /root/sys/kernel/debug
    mount -t devtmpfs dev /root/dev
    mkdir -p /root/dev/pts /root/dev/shm /root/dev/hugepages
    mount -t devpts devpts /root/dev/pts
    mount -t tmpfs -o mode=1777 shm /root/dev/shm
    mount -t hugetlbfs hugetlbfs /root/dev/hugepages
    ln -s /proc/self/fd /root/dev/fd
    ln -s /proc/self/fd/0 /root/dev/stdin
    ln -s /proc/self/fd/1 /root/dev/stdout
    ln -s /proc/self/fd/2 /root/dev/stderr
    mount -t tmpfs -o mode=1777 tmp /root/tmp
    mount -t tmpfs -o mode=755 run /root/run
    mkdir -p /root/run/lab/bin
    mkdir -m 1777 /root/run/lab/reply
    mkdir -m 1777 /root/run/lock
}

mount_shares() {
    case $cwd in
    /tmp/* | /run/* | /dev/shm/*) # hidden by the guest's own, so show it where the caller expects it
        mkdir -p "/root$cwd"
        mount -o bind "/host$cwd" "/root$cwd"
        ;;
    esac
    number=0
    while IFS= read -r path; do
        mkdir -p "/root$path"
        mount_host "rw$number" "/root$path" rw,cache=mmap || fail "$path cannot be mounted over 9p"
        number=$((number + 1))
    done </lab/writable
    cp /lab/environment /lab/hosts /root/run/lab/
    mount -o bind /root/run/lab/hosts /root/etc/hosts
    cp /lab/lab-ctl /root/run/lab/bin/lab-ctl
    chmod 755 /root/run/lab/bin/lab-ctl
}

start_network() {
    echo "$role" >/proc/sys/kernel/hostname
    ip link set lo up
    i=0
    while [ "$i" -lt "$devices" ]; do
        if [ "$role" = guest ]; then
            echo "link add eth$i mtu 9000 type veth peer name far$i mtu 9000"
            echo "link set far$i up"
        fi
        echo "link set eth$i up"
        echo "address add 10.200.$i.$host_number/24 dev eth$i"
        echo "address add fd00:200:$i::$host_number/64 dev eth$i nodad"
        i=$((i + 1))
    done >/network
    chroot /root "$ip_tool" -batch - </network || fail "the network cannot be set up"
    i=0
    while [ "$i" -lt "$devices" ]; do
        chroot /root "$rdma_tool" link add "rxe$i" type rxe netdev "eth$i" ||
            fail "rdma link add rxe$i failed"
        i=$((i + 1))
    done
}

# Turns this (sub)shell into a shell command line that runs as the caller of the lab would run it.
# A shell's background processes ignore SIGINT and SIGQUIT: the host's env takes that back.
# shellcheck disable=SC2016
become_command() {
    exec env -i setsid chroot /root /usr/bin/env --default-signal=INT --default-signal=QUIT \
        /bin/sh -c '. /run/lab/environment && exec sh -c "$1"' sh "$1" \
        </dev/null >/out.fifo 2>/err.fifo 3>&- 4>&- 5>&-
}

# The streams go through pipes, not straight to the ports: a port can be opened only once, and a
# command may well say `echo >/dev/stderr`.
copy_stream() { # out | err
    cat "/$1.fifo" >"$(find_port "lab.$1")"
    : >"/$1.done"
}

run_command() {
    exec 4>/out.fifo 5>/err.fifo # keeps both open until the command has ended
    echo "<4>embar-lab: command starts" >/dev/kmsg
    become_command "$(cat /lab/command)" &
    command_pid=$!
    echo "$command_pid" >/command.pid
    wait "$command_pid" 2>/dev/null
    status=$?
    : >/command.ended
    kill -KILL "-$command_pid" 2>/dev/null
    exec 4>&- 5>&-
    tries=0
    until { [ -e /out.done ] && [ -e /err.done ]; } || [ "$tries" -eq 20 ]; do
        sleep 0.05
        tries=$((tries + 1))
    done
    sync
    echo "exit $status" >&3
}

signal_command() { # NAME: to its process group, which is there a moment after the command
    until kill "-$1" "-$(cat /command.pid)" || [ -e /command.ended ]; do
        sleep 0.05
    done 2>/dev/null
}

run_action() { # id, command in base64
    (become_command "$(echo "$2" | base64 -d)")
    echo "done $1 $?" >&3
}

forward_requests() { # from lab-ctl in the guest, which waits for what `ack` writes
    while read -r id actions; do
        echo "request $id $actions" >&3
    done <>/root/run/lab/request
}

serve() {
    while read -r verb id rest <&3; do
        case $verb in
        ping) until ping -c 1 -W 1 "$id" >/dev/null; do :; done && echo pinged >&3 ;;
        start) run_command & ;;
        signal) signal_command "$id" & ;;
        exec) run_action "$id" "$rest" & ;;
        ack) [ ! -p "/root/run/lab/reply/$id" ] || echo "$rest" 1<>"/root/run/lab/reply/$id" ;;
        esac
    done
}

mkdir -p /proc /sys /dev /root /host /lab
mount -t proc proc /proc
mount -t devtmpfs dev /dev
if grep -q embar_lab_probe /proc/cmdline; then
    echo embar-lab-probe-ok >/dev/ttyS0
    poweroff -f
fi
mount -t sysfs sys /sys
while read -r module; do
    insmod "$module" || echo "<3>embar-lab: cannot load $module" >/dev/kmsg
done </modules/order

ctl=$(find_port lab.ctl)
[ -n "$ctl" ] || fail "no virtio port lab.ctl"
exec 3<>"$ctl"
ctl_open=1
mount_host lab /lab ro,cache=loose || fail "the lab's settings cannot be mounted over 9p"
# shellcheck disable=SC1091
. /lab/settings
: "${role:=}" "${host_number:=}" "${devices:=}" "${hugepages:=}" "${cwd:=}" "${ip_tool:=}" "${rdma_tool:=}"
make_root
mount_shares
start_network
echo "$hugepages" >/proc/sys/vm/nr_hugepages
got=$(cat /proc/sys/vm/nr_hugepages)
[ "$got" -eq "$hugepages" ] || fail "only $got of $hugepages huge pages: give the guest more --memory"

mkfifo /out.fifo /err.fifo /root/run/lab/request
chmod 622 /root/run/lab/request
copy_stream out &
copy_stream err &
forward_requests &
serve &
echo up >&3
wait # for ever: the first process must reap what others orphan
