# shellcheck shell=bash
# Actions: what can be done to a running pair (cut the cable, kill a guest, ...), asked for by --at,
# --when, `lab ctl` or lab-ctl in a guest. A list of actions is done in order; a duration in it puts
# the rest off. Runs on the host, in the lab's main loop.
# shellcheck disable=SC2034,SC2154

due_at=() due_actions=() due_reply=()
declare -A exec_reply=() exec_what=()
exec_count=0

next_action() { # splits the variable rest into action and rest
    case $rest in
    server=* | client=*) action=$rest rest='' ;; # a command may hold commas
    *,*) action=${rest%%,*} rest=${rest#*,} ;;
    *) action=$rest rest='' ;;
    esac
}

check_actions() { # ACTIONS: 0, or 1 with the variable problem set
    local rest=$1 action device
    problem='no action given'
    [[ -n $rest ]] || return 1
    while [[ -n $rest ]]; do
        next_action
        device=''
        case $action in
        cut=* | restore=* | drop=* | pass=*) device=${action#*=} action=${action%%=*} ;;
        esac
        case $action in
        cut | restore | drop | pass) ;;
        kill-server | kill-client | freeze-server | freeze-client | thaw-server | thaw-client) ;;
        term-server | term-client) ;;
        server=?* | client=?*) ;;
        *)
            problem="no such action: '$action'"
            parse_duration "$action" || return 1
            ;;
        esac
        problem="the pair has no device '$device'"
        [[ -z $device || ($device =~ ^[0-9]$ && $device -lt $devices) ]] || return 1
    done
}

later() { # MILLISECONDS ACTIONS REPLY
    read_clock
    due_at+=($((now + $1)))
    due_actions+=("$2")
    due_reply+=("$3")
}

perform_due() {
    local i actions reply
    for i in "${!due_at[@]}"; do
        if ((due_at[i] <= now)); then
            actions=${due_actions[i]} reply=${due_reply[i]}
            unset "due_at[i]" "due_actions[i]" "due_reply[i]"
            perform "$actions" "$reply"
        fi
    done
}

# REPLY says who waits for the end: '' nobody, 'ctl ID' a `lab ctl`, 'WHO ID' lab-ctl in a guest.
perform() { # ACTIONS REPLY
    local rest=$1 action
    while [[ -n $rest ]]; do
        next_action
        if parse_duration "$action"; then
            later "$duration" "$rest" "$2"
            return
        fi
        detail "action: $action"
        case $action in
        server=* | client=*)
            run_in_guest "$action" "$2"
            return
            ;;
        esac
        if ! perform_one "$action"; then
            answer "$2" 1 "the action $action failed"
            return
        fi
    done
    answer "$2" 0 ''
}

perform_one() { # ACTION
    local device=''
    [[ $1 != *=* ]] || device=${1#*=}
    case $1 in
    cut | cut=*) set_carrier off "$device" ;;
    restore | restore=*) set_carrier on "$device" ;;
    drop | drop=*) set_forwarding off "$device" ;;
    pass | pass=*) set_forwarding on "$device" ;;
    freeze-*) kill -STOP "${qemu_pid[${1#*-}]}" ;;
    thaw-*) kill -CONT "${qemu_pid[${1#*-}]}" ;;
    term-*) signal_command "${1#*-}" TERM ;;
    kill-*)
        kill_guest "${1#*-}"
        end_of "${1#*-}" 137
        ;;
    esac
}

signal_command() { # WHO NAME: to the command's process group
    [[ -n ${status[$1]:-} ]] || tell "$1" "signal $2"
}

run_in_guest() { # WHO=COMMAND REPLY
    local who=${1%%=*}
    if ! pid_alive "${qemu_pid[$who]}"; then
        answer "$2" 1 "the $who's guest is gone"
        return
    fi
    exec_count=$((exec_count + 1))
    exec_reply[$exec_count]=$2
    exec_what[$exec_count]=$1
    tell "$who" "exec $exec_count $(printf '%s' "${1#*=}" | base64 -w 0)"
}

command_done() { # ID STATUS
    if [[ $2 -eq 0 ]]; then
        answer "${exec_reply[$1]}" 0 ''
    else
        answer "${exec_reply[$1]}" "$2" "${exec_what[$1]} exited $2"
    fi
}

answer() { # REPLY STATUS SENTENCE
    case $1 in
    '')
        [[ -z $3 ]] || say "$3"
        [[ $2 -eq 0 ]] || failed_actions=$((failed_actions + 1))
        ;;
    ctl\ *) printf '%s %s\n' "$2" "$3" 1<>"$run/reply.${1#* }" ;; # <> never blocks
    *) tell "${1%% *}" "ack ${1#* } $2 $3" ;;
    esac
}
