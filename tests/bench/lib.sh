# What the scripts in tests/bench share: waiting for a port, facts of the host, the table in
# docs/performance.md. Sourced; the script says its name in $me and has $tree, $rounds, $seconds.
# shellcheck shell=bash

: "${me:?the script must say its name}" "${tree:?}"
children=()

# shellcheck source=tools/packages.sh
. "$tree/tools/packages.sh"
# shellcheck source=tools/hugepages.sh
. "$tree/tools/hugepages.sh"

fail() # SENTENCE
{
    echo "$me: $1" >&2
    exit 1
}

# Ends the background children that are left.
end_children()
{
    local child
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
    done
    children=()
}

# Whether something listens on the port, by the kernel's own table. A prefix runs it elsewhere
# (ip netns exec NAME).
is_listening() # PORT [PREFIX...]
{
    local port=$1
    shift
    { "$@" cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true; } |
        awk -v hex="$(printf ':%04X' "$port")" '$2 ~ hex "$" && $4 == "0A" {found = 1} END {exit !found}'
}

wait_listening() # PORT [PREFIX...]
{
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        if is_listening "$@"; then return; fi
        sleep 0.05
    done
    fail "nothing listens on port $1 after 10 s"
}

# One JSON object; further --arg pairs of jq are added to it.
host_facts() # NAME VALUE...
{
    local more=() names=''
    while (($# > 0)); do
        more+=(--arg "$1" "$2")
        names+=", $1: \$$1"
        shift 2
    done
    jq -n --arg cpu "$(awk -F': ' '/^model name/ {print $2; exit}' /proc/cpuinfo)" \
        --arg cores "$(nproc)" --arg kernel "$(uname -r | grep -oE '^[0-9]+\.[0-9]+')" \
        --arg memory "$(($(hugepages_meminfo MemTotal) / 1024)) MiB" \
        --arg hugepages "$(cat "$hugepages_pool") x $(hugepages_meminfo Hugepagesize) KiB" \
        --arg load "$(cut -d' ' -f1 /proc/loadavg)" \
        --arg rounds "$rounds" --arg seconds "$seconds" "${more[@]}" \
        "{cpu: \$cpu, cores: \$cores, kernel: \$kernel, memory: \$memory, hugepages: \$hugepages,
          load_before: \$load, rounds: \$rounds, seconds_per_run: \$seconds$names}"
}

# Puts the table where docs/performance.md keeps it, between the script's two marks.
publish_tables() # TABLE
{
    local document=$tree/docs/performance.md draft
    grep -q "^<!-- $me begins -->\$" "$document" || fail "$document has no marks for the table"
    draft=$(mktemp)
    awk -v table="$1" -v begins="<!-- $me begins -->" -v ends="<!-- $me ends -->" '
        $0 == ends {skip = 0}
        !skip
        $0 == begins {skip = 1; while ((getline line <table) > 0) print line}' "$document" >"$draft"
    cat "$draft" >"$document"
    rm -f "$draft"
}

require_quiet()
{
    awk '$1 > 0.7 {exit 1}' /proc/loadavg ||
        fail "the machine is busy (load $(cut -d' ' -f1 /proc/loadavg)): nothing to publish; wait until it is below 0.7"
}
