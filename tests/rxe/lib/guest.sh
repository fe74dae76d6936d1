# shellcheck shell=bash
# One guest: its QEMU process, the pipes that join it to the lab, and what is shown of it when it
# fails. Per guest a directory $run/WHO holds: share/ (what the guest is told, read-only over 9p),
# the pipes ctl.in ctl.out (lines, see guest-init.sh), qmp.in qmp.out (QEMU's monitor), out err (the
# command's streams) and console.log (its kernel). Runs on the host.
# shellcheck disable=SC2154

declare -A qemu_pid=() to_guest=() to_monitor=() from_monitor=()
relay_pids=() reader_pids=()

write_environment() { # WHO HOST-NUMBER PEER-NUMBER: what the command sees; read by sh in the guest
    local i item addresses=() peers=()
    for ((i = 0; i < devices; i++)); do
        addresses+=("10.200.$i.$2")
        peers+=("10.200.$i.$3")
    done
    echo 'ulimit -l unlimited; ulimit -n 65536; ulimit -c 0; umask 022'
    for item in "PATH=/run/lab/bin:$PATH" HOME=/tmp USER=root LANG=C.UTF-8 TERM=dumb \
        EMBAR_LAB=guest EMBAR_LAB_ROLE="$1" EMBAR_LAB_ACCEL="$accel" EMBAR_LAB_OUT=/out \
        EMBAR_LAB_DEVICE=rxe0 EMBAR_LAB_NETDEV=eth0 \
        EMBAR_LAB_ADDR="10.200.0.$2" EMBAR_LAB_PEER="10.200.0.$3" \
        EMBAR_LAB_ADDR6="fd00:200::$2" EMBAR_LAB_PEER6="fd00:200::$3" \
        EMBAR_LAB_ADDRS="${addresses[*]}" EMBAR_LAB_PEERS="${peers[*]}" \
        "${environment[@]}"; do
        printf 'export %s=%s\n' "${item%%=*}" "$(quote "${item#*=}")"
    done
    printf 'cd %s || exit 126\n' "$(quote "$PWD")"
}

write_share() { # WHO HOST-NUMBER PEER-NUMBER COMMAND
    local share=$run/$1/share
    mkdir "$share"
    printf 'role=%s host_number=%d devices=%d hugepages=%d cwd=%s ip_tool=%s rdma_tool=%s\n' \
        "$1" "$2" "$devices" "$hugepages" "$(quote "$PWD")" "$(type -P ip)" "$(type -P rdma)" \
        >"$share/settings"
    write_environment "$@" >"$share/environment"
    printf '%s\n' "$4" >"$share/command"
    [[ ${#writable[@]} -eq 0 ]] || printf '%s\n' "${writable_at[@]}" >"$share/writable"
    touch "$share/writable"
    cp "$lab_dir/lab-ctl.sh" "$share/lab-ctl"
    {
        echo "127.0.0.1 localhost"
        echo "::1 localhost ip6-localhost"
        if [[ $1 == guest ]]; then
            echo "10.200.0.1 guest server client"
        else
            echo "10.200.0.1 server"
            echo "10.200.0.2 client"
        fi
    } >"$share/hosts"
}

share_argument() { # DIRECTORY TAG OPTIONS: a comma in a path is written twice
    qemu+=(-virtfs "local,path=${1//,/,,},mount_tag=$2,security_model=none,multidevs=remap$3")
}

port_argument() { # NAME CHARDEV-KIND
    qemu+=(-chardev "$2,id=$1,path=$run/$who/$1" -device "virtserialport,chardev=$1,name=lab.$1")
}

start_guest() { # WHO HOST-NUMBER PEER-NUMBER COMMAND
    local who=$1 i cpu=max accelerator=tcg,thread=multi qemu
    mkdir "$run/$who"
    mkfifo "$run/$who/"{ctl.in,ctl.out,qmp.in,qmp.out,out,err}
    write_share "$@"
    [[ $accel == tcg ]] || { cpu=host accelerator=kvm; }
    # shellcheck disable=SC2054
    qemu=(qemu-system-x86_64 -M q35,usb=off -accel "$accelerator" -cpu "$cpu" -smp "$cpus"
        -m "$memory" -nodefaults -no-user-config -display none -no-reboot
        -kernel "$kernel_dir/vmlinux" -initrd "$initramfs"
        -append "console=ttyS0 loglevel=7 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on init_on_alloc=0 cryptomgr.notests"
        -serial "file:$run/$who/console.log"
        -chardev "pipe,id=qmp,path=$run/$who/qmp" -mon chardev=qmp,mode=control
        -device virtio-rng-pci -device virtio-serial-pci)
    port_argument ctl pipe
    port_argument out file
    port_argument err file
    share_argument / host ,readonly=on
    share_argument "$run/$who/share" lab ,readonly=on
    for i in "${!writable[@]}"; do
        share_argument "${writable[i]}" "rw$i" ""
    done
    [[ $who == guest ]] || network_arguments "$who" "$2"

    start_relays "$who"
    setpriv --pdeathsig KILL -- "${qemu[@]}" </dev/null >"$run/$who/qemu.log" 2>&1 &
    qemu_pid[$who]=$!
    read_guest "$who" &
    reader_pids+=($!)
    exec {i}<>"$run/$who/ctl.in"
    to_guest[$who]=$i
    exec {i}<>"$run/$who/qmp.in"
    to_monitor[$who]=$i
    exec {i}<>"$run/$who/qmp.out"
    from_monitor[$who]=$i
    printf '{"execute":"qmp_capabilities"}\n' >&"${to_monitor[$who]}"
}

read_guest() { # WHO: its lines become events
    local line
    while IFS= read -r line; do
        printf 'guest %s %s\n' "$1" "$line" >&"$events"
    done <"$run/$1/ctl.out"
}

# The command's streams. `run` passes them through untouched; `pair` prefixes lines, and shows them
# to those who wait for a line.
start_relays() { # WHO
    local stream
    for stream in out err; do
        relay "$1" "$run/$1/$stream" >&"${stream_fd[$stream]}" &
        relay_pids+=($!)
    done
}

relay() { # WHO FIFO
    [[ $1 != guest ]] || exec cat "$2"
    local i watchers=()
    for i in "${!when_who[@]}"; do
        [[ ${when_who[i]} != "$1" ]] || watchers+=("$i")
    done
    show_to_watchers "${watchers[@]}" <"$2" | stdbuf -oL sed "s/^/$1: /"
}

show_to_watchers() { # INDEX...: copies its input to its output and to a watcher for each
    [[ $# -gt 0 ]] || exec cat
    local first=$1
    shift
    tee -p >(watch_lines "$first") | show_to_watchers "$@"
}

watch_lines() { # INDEX
    if grep -q -m 1 -E -e "${when_regex[$1]}"; then
        echo "seen $1" >&"$events"
    fi >/dev/null
    exec cat >/dev/null
}

tell() { # WHO LINE
    printf '%s\n' "$2" >&"${to_guest[$1]}"
}

monitor() { # WHO COMMAND ARGUMENTS: 0 if QEMU did it
    local line
    printf '{"execute":"%s","arguments":%s,"id":"%s"}\n' "$2" "$3" "$2" >&"${to_monitor[$1]}"
    while IFS= read -r -t 5 line <&"${from_monitor[$1]}"; do
        [[ $line != *'"id": "'"$2"'"'* ]] || { [[ $line != *'"error"'* ]] && return; }
    done
    return 1
}

kill_guest() { # WHO
    pid_alive "${qemu_pid[$1]}" || return 0
    kill -KILL "${qemu_pid[$1]}"
    wait "${qemu_pid[$1]}" 2>/dev/null
}

unblock_readers() { # WHO: of pipes that a QEMU which did not start has never opened
    local fifo fd
    for fifo in "$run/$1/"{out,err,ctl.out}; do
        exec {fd}<>"$fifo" {fd}>&-
    done
}

show_kernel_log() { # WHO
    local log=$run/$1/console.log
    if [[ -s $run/$1/qemu.log ]]; then
        sed "s/^/lab: $1's QEMU: /" "$run/$1/qemu.log" >&2
    fi
    if grep -qs 'embar-lab: command starts' "$log"; then
        sed -n '/embar-lab: command starts/,$p' "$log"
    else
        cat "$log" 2>/dev/null
    fi | tr -d '\r' | tail -n 30 | sed "s/^/lab: $1's kernel: /" >&2
}
