# shellcheck shell=bash
# The lab's main loop. Everything that happens comes as one line through one pipe, $run/events:
#   guest WHO LINE   from a guest (see guest-init.sh)
#   seen INDEX       the line that a --when waits for was printed
#   ctl ID ACTIONS   from `lab ctl`
# and the loop itself watches the clock and the processes. Runs on the host.
# shellcheck disable=SC2154

declare -A state=() status=()
declare -rA state_text=([booting]='has not booted' [up]='waits to start' [running]='still runs')
failed_actions=0
begin_again='' # not empty: a guest stopped while booting
culprit='' # the first whose command ended otherwise than expected

supervise() { # until every command has ended, or exits
    local line wait_ms i
    while ! all_ended; do
        read_clock
        wait_ms=500
        for i in "${!due_at[@]}"; do
            ((due_at[i] - now >= wait_ms)) || wait_ms=$((due_at[i] > now ? due_at[i] - now : 1))
        done
        if readable_within "$wait_ms" "$events"; then
            read -r line <&"$events"
            handle "$line"
        fi
        read_clock
        perform_due
        check_processes
        check_boot
        [[ $now -lt $deadline ]] || time_out
    done
}

all_ended() {
    local who
    for who in "${guests[@]}"; do
        [[ -n ${status[$who]:-} ]] || return 1
    done
}

handle() { # LINE
    local kind who verb rest
    read -r kind who rest <<<"$1"
    case $kind in
    guest)
        read -r verb rest <<<"$rest"
        handle_guest "$who" "$verb" "$rest"
        ;;
    seen) seen "$who" ;;
    ctl) handle_ctl "ctl $who" "$rest" ;;
    esac
}

handle_guest() { # WHO VERB ARGUMENTS
    detail "$1: $2 $3"
    case $2 in
    up)
        state[$1]=up
        [[ ${#guests[@]} -gt 1 ]] || start_command "$1"
        [[ ${state[server]:-} != up || ${state[client]:-} != up ]] || tell client "ping 10.200.0.1"
        ;;
    pinged) start_pair ;;
    exit) end_of "$1" "$3" ;;
    done) command_done "${3%% *}" "${3#* }" ;;
    request) handle_ctl "$1 ${3%% *}" "${3#* }" ;;
    fail)
        say "the $1 cannot start: $3"
        show_kernel_log "$1"
        exit "$LAB_FAILED"
        ;;
    esac
}

start_command() { # WHO
    [[ ${state[$1]} == up ]] || return 0
    state[$1]=running
    detail "$1: the command starts"
    tell "$1" start
}

start_pair() {
    start_command server
    [[ -n $ready_regex ]] || start_client
}

start_client() {
    local i
    start_command client
    for i in "${!at_time[@]}"; do
        later "${at_time[i]}" "${at_actions[i]}" ''
    done
}

seen() { # INDEX of a --when; the one without actions is --ready
    if [[ -z ${when_actions[$1]} ]]; then
        start_client
    else
        detail "${when_who[$1]} printed what matches '${when_regex[$1]}'"
        perform "${when_actions[$1]}" ''
    fi
}

handle_ctl() { # REPLY ACTIONS
    if [[ ${#guests[@]} -eq 1 ]]; then
        answer "$1" 1 'actions are for a pair'
    elif ! check_actions "$2"; then
        answer "$1" 2 "$problem"
    elif [[ ${state[server]:-booting} == booting || ${state[client]:-booting} == booting ]]; then
        answer "$1" 1 'the guests have not booted yet'
    else
        perform "$2" "$1"
    fi
}

# When one command has ended the other goes on, as long as all is as expected.
end_of() { # WHO STATUS
    local other=server
    [[ -z ${status[$1]:-} ]] || return 0
    status[$1]=$2
    state[$1]=ended
    detail "$1: the command ended with $2"
    as_expected "$1" || culprit=${culprit:-$1}
    [[ ${#guests[@]} -gt 1 ]] || return 0
    [[ $1 == client ]] || other=client
    [[ -z ${status[$other]:-} ]] || return 0
    if [[ $1 == server && ${state[client]} == up ]]; then
        say "the server exited $2 before the client could start"
        show_kernel_log server
        exit $(($2 > 0 ? $2 : LAB_FAILED))
    elif ! as_expected "$1"; then
        say "$1 exited $2, expected ${expected[$1]}; the $other gets ten seconds to end"
        later 10000 "term-$other,5s,kill-$other" ''
    elif [[ -n ${stop[$other]:-} ]]; then
        signal_command "$other" "${stop[$other]}"
        later 15000 "kill-$other" ''
    fi
}

as_expected() { # WHO
    [[ ${expected[$1]} == any || ${expected[$1]} == "${status[$1]:-}" ]]
}

check_processes() {
    local who pid
    for who in "${guests[@]}"; do
        if ! pid_alive "${qemu_pid[$who]}" && [[ -z ${status[$who]:-} ]]; then
            say "the $who died"
            show_kernel_log "$who"
            exit "$LAB_FAILED"
        fi
    done
    for pid in "${relay_pids[@]}"; do
        if ! pid_alive "$pid" && ! any_killed; then
            exit 141 # nobody reads our output any more
        fi
    done
}

# An emulated guest's kernel stops for ever in the midst of booting once in some hundred times, with
# nothing on its console. It is told from a slow one by time, and the whole lab begins once more.
readonly BOOT_MS=60000

check_boot() {
    local who
    [[ -z ${EMBAR_LAB_AGAIN:-} && $((now - started)) -gt $BOOT_MS ]] || return 0
    for who in "${guests[@]}"; do
        if [[ -z ${state[$who]:-} ]]; then
            say "the $who has not booted in $((BOOT_MS / 1000)) s; beginning once more"
            begin_again=yes
            exit "$LAB_FAILED"
        fi
    done
}

any_killed() {
    local who
    for who in "${guests[@]}"; do
        pid_alive "${qemu_pid[$who]}" || return 0
    done
    return 1
}

time_out() {
    local who
    for who in "${guests[@]}"; do
        if [[ -z ${status[$who]:-} ]]; then
            say "timeout after $((timeout_ms / 1000)) s: $who ${state_text[${state[$who]:-booting}]}"
            show_kernel_log "$who"
        fi
    done
    exit "$LAB_TIMEOUT"
}

conclude() { # exits with the culprit's status
    local who result=0
    if [[ -n $culprit ]]; then
        result=${status[$culprit]}
        [[ $result -ne 0 ]] || result=1
    fi
    for who in "${guests[@]}"; do
        if ! as_expected "$who" && [[ -n $show_log ]]; then
            say "$who exited ${status[$who]}, expected ${expected[$who]}"
            show_kernel_log "$who"
        fi
    done
    if [[ $result -eq 0 && $failed_actions -gt 0 ]]; then
        say "$failed_actions actions failed"
        result=$LAB_FAILED
    fi
    exit "$result"
}

clean_up() { # on exit, however it comes about
    local who pid tries=0
    trap '' INT TERM HUP PIPE
    for who in "${!qemu_pid[@]}"; do
        kill_guest "$who"
        unblock_readers "$who"
    done
    read_clock
    for pid in "${relay_pids[@]}"; do # what the guests said last is still on its way to our output
        while pid_alive "$pid" && { [[ $tries -lt 60 ]] || [[ $now -lt $deadline ]]; }; do
            sleep 0.05
            tries=$((tries + 1))
            read_clock
        done
    done
    for pid in "${relay_pids[@]}" "${reader_pids[@]}"; do
        kill "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    [[ -z $run ]] || rm -rf -- "$run"
    [[ -n $begin_again ]] || return 0
    trap - INT TERM HUP PIPE EXIT
    EMBAR_LAB_AGAIN=1 exec "$lab_file" "${lab_arguments[@]}"
}
