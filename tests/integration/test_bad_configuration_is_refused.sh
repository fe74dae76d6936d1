#!/usr/bin/env bash
# What is wrong with a configuration or a command line is said in one sentence, with exit status 2, by
# both tools and before anything is opened.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

config() { # LINES: writes $work/c.yaml
    printf '%s\n' "$@" >"$work/c.yaml"
}

for tool in "$pub" "$sub"; do
    refused() { # REGEX OPTION...
        local regex=$1
        shift
        expect_refusal refused 2 "$regex" "$tool" "$@"
        [[ -s $work/refused.out ]] && fail "something was printed on standard output"
    }
    config 'stream: a' 'batch:' '  sice: 2MiB'
    refused 'c\.yaml:3:[0-9]+: unknown key .batch\.sice.; did you mean .batch\.size.' -c "$work/c.yaml"
    config 'connect_timeout: tomorrow'
    refused 'c\.yaml:1:18: connect_timeout: .tomorrow. ' -c "$work/c.yaml"
    config 'batch:' '  size: [1, 2]'
    refused 'c\.yaml:2:9: .*batch\.size' -c "$work/c.yaml"
    config 'stream: a' 'checksum: none' 'stream: b'
    refused 'c\.yaml:3:1: .*stream' -c "$work/c.yaml"
    config 'batch:' '  size: 3 parsecs'
    refused "c\\.yaml:2:9: batch\\.size: '3 parsecs' is not a size" -c "$work/c.yaml"
    config 'batch:' '  size: 64MiB' 'buffer:' '  size: 32MiB'
    refused 'batch\.size.*buffer\.size|buffer\.size.*batch\.size' -c "$work/c.yaml"
    config 'stream: [unclosed'
    refused 'c\.yaml:[0-9]+:[0-9]+: ' -c "$work/c.yaml"
    refused 'nowhere\.yaml.*No such file' -c "$work/nowhere.yaml"
    refused 'batch\.sice' --set batch.sice=1
    refused "batch\\.size: 'x' is not a size" --set batch.size=x
    refused 'KEY=VALUE|=' --set batch.size
    refused '(publisher|subscriber)\.(connect|listen) and .*(connect|listen)' --listen 127.0.0.1:0 --connect 127.0.0.1:1
    refused '--nonsense is no option; see embar-(pub|sub) --help' --nonsense
    refused '-Z is no option' -Z
    refused '--report needs a value' --report
    refused "'stray' is no option" stray
    refused "'xml' is not a format; write raw, lines or records" -f xml
    refused "--stats: " --stats -3
    refused "--report .*nowhere/r.json: cannot write into .*nowhere" --report "$work/nowhere/r.json"
    EMBAR_BATCH_SIZE=x refused 'EMBAR_BATCH_SIZE' -q
done

tool=$pub
refused 'cannot read .*/nothing: No such file' -i "$work/nothing"
refused 'is a directory; name files, or .tar c' -i "$work"
refused '--size, .* need --generate' --size 1
refused '--generate needs --size' --generate --count 1
refused '--generate needs an end' --generate --size 1
refused 'leave out -i and -f' --generate --size 1 --count 1 -i x
refused "--rate 0 would never" --generate --size 1 --count 1 --rate 0
refused "--size 0 has no bytes" --generate --size 0 --total 1
refused "--flush-level: 'gone' is not a level; write sent, placed or consumed" --flush-level gone
refused "--count: '-1' " --generate --size 1 --count -1

tool=$sub
refused 'cannot both go to standard output' -o - --report -
expect_refusal refused 2 'cannot write .*/nowhere/out: No such file' \
    "$sub" -q --listen 127.0.0.1:0 "${small[@]}" -o "$work/nowhere/out"

# The report is written all the same, and says what was wrong.
"$pub" --report "$work/r.json" --set batch.size=1 2>"$work/refused.log" && fail "a bad size was taken"
expect_report r '.exit_status == 2' '.error | contains("batch.size")' '.messages == 0'
