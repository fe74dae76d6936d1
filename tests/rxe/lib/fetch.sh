# shellcheck shell=bash
# Gets what a guest needs and keeps it outside of the tree: the host's tools (apt-get, as root), a
# Debian kernel package that is unpacked and never installed, the initramfs, and the answer to
# "does KVM work here?", found by booting once. Several labs may do this at the same time: a lock
# on the cache makes them take turns. Runs on the host.
# shellcheck disable=SC2154

# Loaded in the guest, with all that they depend on, in this order.
readonly GUEST_MODULES="virtio_pci virtio_console 9pnet_virtio 9p virtio_net virtio-rng veth
    sch_netem crc32_generic ib_uverbs rdma_ucm rdma_rxe"

readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/embar-lab

install_packages() { # PACKAGE...
    [[ $EUID -eq 0 ]] || die "needs the packages $*: run as root, or apt-get install $*"
    local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    mkdir -p "$cache" || die "cannot make $cache"
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    timeout 900 "${apt[@]}" install --no-install-recommends "$@" >"$cache/apt.log" 2>&1 </dev/null ||
        { timeout 300 "${apt[@]}" update &&
            timeout 900 "${apt[@]}" install --no-install-recommends "$@"; } \
            >"$cache/apt.log" 2>&1 </dev/null ||
        die "apt-get could not install $* (see $cache/apt.log)"
}

need_tools() { # TOOL:PACKAGE...
    local pair missing=()
    for pair in "$@"; do
        type -P "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
}

kernel_package() { # prints the name of the newest kernel's package
    printf '%s\n' "${EMBAR_LAB_KERNEL_PACKAGE:-$(apt-cache depends linux-image-amd64 2>/dev/null |
        sed -n 's/^ *Depends: *\(linux-image-[0-9]\)/\1/p' | head -n 1)}"
}

download_kernel() { # sets kernel_dir; makes kernel.deb and vmlinux there
    local package attempt
    for attempt in 1 2; do
        package=$(kernel_package)
        [[ -z $package ]] || ! download_package "$package" || break
        if [[ $attempt -eq 2 ]]; then
            die "apt-get could not download ${package:-linux-image-amd64} (see $cache/apt.log);" \
                "a Debian mirror must be in its sources"
        fi
        timeout 300 apt-get -q update >"$cache/apt.log" 2>&1 </dev/null
    done
    printf '%s\n' "$package" >"$cache/kernel.new"
    mv "$cache/kernel.new" "$cache/kernel"
}

download_package() { # PACKAGE
    kernel_dir=$cache/$1
    [[ ! -s $kernel_dir/vmlinux ]] || return 0
    say "fetching $1 into $cache"
    mkdir -p "$kernel_dir"
    (
        cd "$kernel_dir" && rm -f ./*.deb &&
            timeout 900 apt-get -q -o APT::Sandbox::User=root download "$1" && mv ./*.deb kernel.deb
    ) >"$cache/apt.log" 2>&1 </dev/null || return 1
    unpack_kernel
}

unpack_from_deb() { # DIRECTORY TAR-MEMBER-PATTERN
    mkdir -p "$1" && dpkg-deb --fsys-tarfile "$kernel_dir/kernel.deb" |
        tar -x -C "$1" --wildcards "$2"
}

# The guest boots the kernel within the package's bzImage: unpacking xz under emulation takes
# longer than all the rest of the boot. Where that cannot be taken out, the bzImage itself does.
unpack_kernel() {
    local tree=$kernel_dir/unpack image offset
    rm -rf "$tree"
    unpack_from_deb "$tree" './boot/vmlinuz-*' || die "the kernel package cannot be unpacked"
    image=$(echo "$tree"/boot/vmlinuz-*)
    offset=$(LC_ALL=C grep -aboP '\xFD7zXZ\x00' "$image" | head -n 1 | cut -d: -f1)
    if [[ -n $offset ]]; then
        tail -c "+$((offset + 1))" "$image" | xz -dcq >"$tree/vmlinux" 2>/dev/null
    fi
    if [[ ! -s $tree/vmlinux || $(head -c 4 "$tree/vmlinux") != $'\x7fELF' ]]; then
        cp "$image" "$tree/vmlinux"
    fi
    mv "$tree/vmlinux" "$kernel_dir/vmlinux"
    rm -rf "$tree"
}

# Prints modules and what they depend on, each after what it needs. Reads modules.dep.
order_modules() { # MODULES.DEP NAME...
    local line file deps seen=' '
    declare -A deps_of=() file_of=()
    while IFS= read -r line; do
        file=${line%%:*}
        deps=${file##*/}
        deps=${deps%.ko}
        file_of[${deps//-/_}]=$file
        deps_of[$file]=${line#*:}
    done <"$1"
    visit() {
        [[ $seen != *" $1 "* ]] || return 0
        seen+="$1 "
        local dep
        for dep in ${deps_of[$1]}; do visit "$dep"; done
        printf '%s\n' "$1"
    }
    shift
    for line in "$@"; do
        if [[ -n ${file_of[${line//-/_}]:-} ]]; then
            visit "${file_of[${line//-/_}]}"
        fi # else it is built in
    done
}

make_initramfs() { # sets initramfs; the name says what is in it
    local wanted="$GUEST_MODULES ${EMBAR_LAB_MODULES:-}" key tree tool module
    key=$({ cat "$lab_dir/guest-init.sh" "$lab_dir/lib/fetch.sh" && echo "$wanted"; } | cksum)
    initramfs=$kernel_dir/initramfs-${key%% *}.cpio
    [[ ! -s $initramfs ]] || return 0
    tree=$kernel_dir/initramfs.$$
    rm -rf "$kernel_dir"/initramfs.*
    unpack_from_deb "$tree/unpack" '*lib/modules/*' || die "the kernel package cannot be unpacked"
    [[ -d $tree/unpack/lib ]] || ln -s usr/lib "$tree/unpack/lib"
    find "$tree/unpack" -name '*.ko.xz' -exec xz -d {} +
    (cd "$tree/unpack" && busybox depmod -b . "$(ls lib/modules)") || die "depmod failed"
    mkdir -p "$tree/root/bin" "$tree/root/modules"
    cp "$lab_dir/guest-init.sh" "$tree/root/init"
    chmod 755 "$tree/root/init"
    cp "$(type -P busybox)" "$tree/root/bin/busybox"
    for tool in $(busybox --list); do
        [[ $tool == busybox ]] || ln -s busybox "$tree/root/bin/$tool"
    done
    # shellcheck disable=SC2086
    for module in $(order_modules "$tree"/unpack/lib/modules/*/modules.dep $wanted); do
        cp "$tree"/unpack/lib/modules/*/"$module" "$tree/root/modules/"
        echo "/modules/${module##*/}" >>"$tree/root/modules/order"
    done
    (cd "$tree/root" && find . | cpio -o -H newc --quiet) >"$tree/cpio" || die "cpio failed"
    find "$kernel_dir" -name 'initramfs-*.cpio' -mmin +1440 -delete # of older checkouts
    mv "$tree/cpio" "$initramfs"
    rm -rf "$tree"
}

# A KVM that is there may still be unable to run this kernel, so it is tried once.
choose_accelerator() { # sets accel: kvm | tcg
    local answer serial
    if [[ -n ${EMBAR_LAB_ACCEL:-} ]]; then
        accel=$EMBAR_LAB_ACCEL
        [[ $accel == kvm || $accel == tcg ]] || usage_error "EMBAR_LAB_ACCEL is kvm or tcg, not '$accel'"
        return
    fi
    accel=tcg
    [[ -r /dev/kvm && -w /dev/kvm ]] || return 0
    answer=$cache/accel-$(uname -r)
    if [[ -s $answer ]]; then
        accel=$(<"$answer")
        return
    fi
    serial=$kernel_dir/probe.$$
    (
        ulimit -c 0
        timeout -s KILL 15 qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 512 -nodefaults \
            -no-user-config -display none -no-reboot -kernel "$kernel_dir/vmlinux" \
            -initrd "$initramfs" -append "console=ttyS0 quiet panic=-1 embar_lab_probe" \
            -serial "file:$serial" </dev/null
    ) >/dev/null 2>&1
    if grep -qs embar-lab-probe-ok "$serial"; then
        accel=kvm
    else
        say "KVM is here but cannot boot the guest; using emulation from now on"
    fi
    rm -f "$serial"
    printf '%s\n' "$accel" >"$answer.new" && mv "$answer.new" "$answer"
}

prepare() { # ['newest': asks apt for a newer kernel]; sets kernel_dir, initramfs, accel
    [[ $(uname -m) == x86_64 ]] || die "guests need an x86_64 host, this is $(uname -m)"
    mkdir -p "$cache" || die "cannot make $cache"
    exec {cache_lock}>"$cache/lock"
    flock -w 1800 "$cache_lock" || die "another lab has held $cache/lock for half an hour"
    need_tools qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio \
        ip:iproute2 rdma:iproute2 xz:xz-utils
    busybox --list | grep -qx depmod || install_packages busybox-static
    [[ -e /usr/share/doc/ibverbs-providers ]] || install_packages ibverbs-providers
    if [[ ${1:-} != newest && -s $cache/kernel && -s $cache/$(<"$cache/kernel")/vmlinux ]]; then
        kernel_dir=$cache/$(<"$cache/kernel")
    else
        download_kernel
    fi
    make_initramfs
    choose_accelerator
    exec {cache_lock}>&-
}
