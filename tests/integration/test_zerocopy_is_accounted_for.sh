#!/usr/bin/env bash
# Honesty about zero-copy: across loopback the kernel copies whatever is asked of it. Left to itself the
# publisher finds out, takes what moves more of splice and copy (on a busy host either may), and says so with
# both figures; forced to zero-copy it reports every send as the kernel reported it.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1

run() { # NAME OPTION...
    local name=$1
    shift
    start_sub "sub-$name" --once --verify
    expect_pub "$name" 0 --generate --size 1MiB --count 200 "$@"
    expect_end "sub-$name" 0
}
run auto --set tcp.send_mode=auto
expect_report auto '.send_mode == "splice" or .send_mode == "copy"' \
    '.send_mode_why | test("copied .*splice moved .* GB/s, copy ")' '.zerocopy_sends > 0' \
    '.zerocopy_copied == .zerocopy_sends' '.zerocopy_sends < 200'
run zerocopy --set tcp.send_mode=zerocopy
expect_report zerocopy '.send_mode == "zerocopy"' '.zerocopy_sends >= 200' \
    '.zerocopy_copied == .zerocopy_sends'
run copy --set tcp.send_mode=copy
expect_report copy '.send_mode == "copy"' '.zerocopy_sends == 0' '.zerocopy_copied == 0'
run splice --set tcp.send_mode=splice
expect_report splice '.send_mode == "splice"' '.zerocopy_sends == 0'
