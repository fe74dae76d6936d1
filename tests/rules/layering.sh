#!/usr/bin/env bash
# Who may include and name what, by DESIGN's layers: common <- core/transport <- {rdma, tcp, shm} and
# core/stream <- tools. Prints each breach as FILE:LINE and exits 1, or exits 0.
#
#   layering.sh TREE           checks a source tree
#   layering.sh --prove TREE   plants one breach of every kind in a copy of the tree and requires that
#                              each is found, so that the check itself cannot rot
set -euo pipefail

breaches=0

breach() # FILE:LINE WHY
{
    printf '%s: %s\n' "$1" "$2"
    breaches=$((breaches + 1))
}

sources() # FOLDER...: the C files below, those that exist
{
    find "$@" -name '*.[ch]' 2>/dev/null | sort
}

# Every include of a folder that is neither a system header nor allowed.
# ALLOWED is a regular expression over what stands between the quotes or brackets.
check_includes() # FOLDER ALLOWED
{
    local folder=$1 allowed=$2 file line header
    while IFS=: read -r file line header; do
        if [[ $header == *..* ]]; then
            breach "$file:$line" "includes $header: no way around the layers"
        elif [[ $header == '<'* && $header != '<embar/'* ]]; then
            continue
        elif [[ $header != *'/'* && -e ${file%/*}/${header//\"/} ]]; then
            continue # its neighbour in the same folder
        elif ! [[ ${header//[\"<>]/} =~ ^($allowed)$ ]]; then
            breach "$file:$line" "$folder may not include $header"
        fi
    done < <(sources "$folder" | xargs -r grep -HnoP '^\s*#\s*include\s*\K["<][^">]+[">]')
}

# Copies the C files below the named folders to FOLDER without their comments, line by line as they were.
strip_comments() # FOLDER SOURCE_FOLDER...
{
    local stripped=$1
    shift
    sources "$@" | STRIPPED=$stripped perl -MFile::Path=make_path -MFile::Basename -ne '
        chomp;
        my ($from, $to) = ($_, "$ENV{STRIPPED}/$_");
        open(my $in, "<", $from) or die "$from: $!";
        my $text = do { local $/; <$in> } // "";
        $text =~ s{("(?:\\.|[^"\\])*"|\x27(?:\\.|[^\x27\\\n])*\x27)|/\*.*?\*/|//[^\n]*}
                  {defined $1 ? $1 : (my $c = $&) =~ tr/\n//cdr}gesx;
        make_path(dirname($to));
        open(my $out, ">", $to) or die "$to: $!";
        print $out $text;'
}

# Code (comments do not count) that matches PATTERN outside of the files that own it.
check_only_in() # OWNERS PATTERN WHY FOLDER...
{
    local owners=$1 pattern=$2 why=$3 file line text
    shift 3
    while IFS=: read -r file line text; do
        [[ $file =~ ^($owners) ]] || breach "$file:$line" "$why: $text"
    done < <(cd "$stripped" && { grep -rnP -- "$pattern" "$@" || true; } | sort -t: -k1,1 -k2,2n)
}

check_tree()
{
    local public='embar/[a-z_]+\.h'
    local library='common core tcp rdma shm'
    stripped=$(mktemp -d)
    # shellcheck disable=SC2086 # the folders are several words
    {
        strip_comments "$stripped" $library tools tests
        (cd "$stripped" && mkdir -p $library tools tests)
    }

    check_includes common "$public|common/.*"
    check_includes core/include "$public"
    check_includes core/transport "$public|common/.*|transport/.*"
    check_includes core/stream "$public|common/.*|stream/.*|transport/registry\.h"
    local backend
    for backend in tcp rdma shm; do
        check_includes $backend "$public|common/.*|transport/backend\.h|$backend/.*"
    done
    check_includes tools "$public|common/.*|tools/.*"

    # shellcheck disable=SC2086 # the folders are several words
    {
        check_only_in 'core/stream/config_yaml\.c' '<yaml\.h>' \
            'libyaml belongs to core/stream/config_yaml.c' $library tools
        check_only_in 'rdma/' '<(infiniband|rdma)/|\b(ibv|rdma)_\w+\s*\(' \
            'verbs belong to rdma/' $library tools
        check_only_in 'tcp/' '\b(MSG|SO)_ZEROCOPY\b|\bSO_EE_\w+|<linux/errqueue\.h>|\bMSG_ERRQUEUE\b' \
            'the error queue of zero-copy sends belongs to tcp/' $library tools
        check_only_in 'common/' '<(isa-l(/.*)?|crc|numa|numaif)\.h>' \
            'ISA-L and libnuma belong to common/' $library tools
        check_only_in 'core/transport/registry\.c' \
            '\b(tcp|rdma|shm)_\w+|\bbackend_(tcp|rdma|shm)\b|\bEMBAR_HAVE_' 'only registry.c names backends' core
        check_only_in 'core/transport/registry\.c' \
            '^(?!.*default_value = ).*"(tcp|rdma|shm)["._]' \
            'only registry.c names backends (and the default of transport: one)' core
        check_only_in 'common/clock\.c' \
            '(?<![\w>.])(clock_gettime|gettimeofday|time|getrandom|getentropy|s?rand(om)?|rand_r)\s*\(' \
            'time and randomness come from the env' $library
        check_only_in 'none' '^\s*#\s*include\s*["<].*\.c[">]' 'a source is never included' \
            $library tools tests
    }
    rm -rf "$stripped"
}

plant() # FOLDER TEXT: in the copy, one breach in a file of its own
{
    local file=$1/planted_$((++planted)).h
    mkdir -p "$1"
    printf '%s\n' "$2" >"$file"
}

prove() # TREE
{
    local planted=0 missed=0 found file
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -r "$1"/{common,core,tcp,rdma,shm,tools} "$copy"
    cd "$copy"
    plant common '#include "transport/backend.h"'
    plant common '#include "../core/transport/backend.h"'
    plant core/include/embar '#include "common/diag.h"'
    plant core/transport '#include "stream/config.h"'
    plant core/transport '#include "tcp/tcp.h"'
    plant core/stream '#include "transport/backend.h"'
    plant tcp '#include "transport/registry.h"'
    plant tcp '#include "rdma/rdma.h"'
    plant rdma '#include "stream/config.h"'
    plant shm '#include "tcp/tcp.h"'
    plant tools '#include "transport/backend.h"'
    plant tools '#include "stream/config.h"'
    plant core/stream '#include <yaml.h>'
    plant tcp '#include <infiniband/verbs.h>'
    plant core/transport 'int planted(void) { return ibv_fork_init(); }'
    plant core/transport 'int planted = MSG_ZEROCOPY;'
    plant shm '#include <linux/errqueue.h>'
    plant tcp '#include <numa.h>'
    plant core/stream 'extern const struct backend backend_tcp;'
    plant core/transport 'const char *planted = "rdma";'
    plant core/transport 'void planted(void) { clock_gettime(0, 0); }'
    plant tcp 'void planted(void) { getrandom(0, 0, 0); }'
    plant tests '#include "planted.c"'

    found=$(check_tree)
    while read -r file; do
        if ! grep -qF "$file:1: " <<<"$found"; then
            echo "not found: '$(cat "$file")' in $file"
            missed=$((missed + 1))
        fi
    done < <(find . -name 'planted_*' -printf '%P\n')
    echo "$planted breaches planted, $missed of them not found"
    ((missed == 0))
}

case ${1:-} in
--prove)
    prove "$2"
    ;;
*)
    cd "${1:?usage: layering.sh [--prove] TREE}"
    check_tree
    ((breaches == 0))
    ;;
esac
