# Reserved huge pages for scripts: sourced by quickstart.sh and tests/run.sh.
# shellcheck shell=bash

hugepages_pool=/proc/sys/vm/nr_hugepages

hugepages_meminfo() # FIELD: its number in /proc/meminfo, 0 when there is none
{
    awk -v field="$1:" '$1 == field {n = $2} END {print n + 0}' /proc/meminfo
}

# Sees to it that MIB of huge pages are free, never taking more than half of the memory available.
# Says in one sentence what it did; `hugepages_before` is the size of the pool to go back to, or empty
# when the pool was left alone. Never fails: buffers take other pages where there are none.
hugepages_reserve() # MIB
{
    local page_kib free wanted size available_kib got
    hugepages_before=
    page_kib=$(hugepages_meminfo Hugepagesize)
    if ((page_kib == 0)); then
        echo "hugepages: this kernel has none; buffers take ordinary pages"
        return
    fi
    free=$(($(hugepages_meminfo HugePages_Free) - $(hugepages_meminfo HugePages_Rsvd)))
    wanted=$(($1 * 1024 / page_kib))
    if ((free >= wanted)); then
        echo "hugepages: $free of $page_kib KiB are free already"
        return
    fi
    size=$(cat $hugepages_pool)
    available_kib=$(hugepages_meminfo MemAvailable)
    if (((wanted - free) * page_kib > available_kib / 2)); then
        echo "hugepages: $((available_kib / 1024)) MiB of memory are too few to reserve $1 MiB;" \
            "buffers take other pages"
        return
    fi
    if ! { echo $((size + wanted - free)) >$hugepages_pool; } 2>/dev/null; then
        echo "hugepages: may not write $hugepages_pool; buffers take other pages"
        return
    fi
    hugepages_before=$size
    got=$(cat $hugepages_pool)
    echo "hugepages: raised vm.nr_hugepages from $size to $got ($page_kib KiB each);" \
        "undo with: echo $size >$hugepages_pool"
}

# Takes back what hugepages_reserve did.
hugepages_restore()
{
    if [[ -n ${hugepages_before:-} ]]; then
        echo "$hugepages_before" >$hugepages_pool
        hugepages_before=
    fi
}
