#!/usr/bin/env bash
# The same over IPv6.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

grep -q '^0*1 ' /proc/net/if_inet6 2>/dev/null || skip "this machine has no ::1"
random_file "$work/sent" 30000001
start sub "$sub" --listen '[::1]:0' "${small[@]}" --once -o "$work/got" --report "$work/sub.json"
listening sub
[[ $address == '[::1]:'* ]] || fail "the address is printed as $address"
expect_pub pub 0 -i "$work/sent"
expect_end sub 0
same_bytes "$work/sent" "$work/got"
