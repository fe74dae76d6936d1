#!/usr/bin/env bash
# A build without the RDMA libraries: the tools build, stream over tcp, and say how to get rdma.
# Usage: without_rdma.sh BUILD_FOLDER
set -euo pipefail

build=$1
source=${EMBAR_SOURCE:?the source tree}
cmake -S "$source" -B "$build" -G Ninja -DEMBAR_RDMA=OFF -DEMBAR_TESTS=OFF -DEMBAR_WERROR=ON >"$build.log" 2>&1 &&
    cmake --build "$build" >>"$build.log" 2>&1 || { tail -n 30 "$build.log"; exit 1; }
if ldd "$build/bin/embar-pub" | grep -E 'libibverbs|librdmacm'; then
    echo "FAILED: a tool of this build needs an RDMA library"
    exit 1
fi
"$build/bin/embar-sub" -c "$source/config/embar.yaml" --print-config >/dev/null || {
    echo "FAILED: the shipped configuration, which has rdma's keys, cannot be read by this build"
    exit 1
}
for test in rdma_absence_is_said nothing_is_a_stream_too generated_messages_verify_at_every_size; do
    EMBAR_BIN=$build/bin bash "$source/tests/integration/test_$test.sh" || exit 1
done
