#!/usr/bin/env bash
# Without an RDMA device: asked for rdma alone, a tool says in one sentence why not and how to get one;
# asked for rdma or tcp, it uses tcp, and both the log and the report say why.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

why='no RDMA device.*rxe-setup'
wanted=(--set transport=rdma)
if [[ -n $(ls /sys/class/infiniband 2>/dev/null) ]]; then # this host has one: ask for another
    why='rdma.devices'
    wanted+=(--set rdma.devices=nosuch)
fi
if "$sub" --print-config | grep '^rdma:' >/dev/null; then # all is read: no SIGPIPE
    expect_refusal sub 3 "$why" "$sub" -q "${wanted[@]}" --listen "$host:0"
    expect_refusal pub 3 "$why" "$pub" -q "${wanted[@]}" --connect "$host:1"
else # a build without the backend
    why='no rdma backend.*librdmacm-dev'
    expect_refusal sub 2 "$why" "$sub" -q --set transport=rdma --listen "$host:0"
fi

start_sub both "${wanted[@]}" --set transport=rdma,tcp --once --verify
expect_pub publisher 0 "${wanted[@]}" --set transport=rdma,tcp --generate --size 1000 --count 1000
expect_end both 0
for name in both publisher; do
    expect_report "$name" '.transport == "tcp"' ".transport_why | test(\"$why\")"
    logged "$name" "$why" || fail "the log of $name does not say why"
done
expect_report both '.verified.mismatches == 0'
