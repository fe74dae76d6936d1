#!/usr/bin/env bash
# A lane whose path is slow takes less than the others, and does not hold them up, however they send.
# shellcheck source=tests/integration/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh" || exit 1
# shellcheck source=tests/integration/lanes.sh
. "$(dirname "${BASH_SOURCE[0]}")/lanes.sh" || exit 1

for mode in copy splice; do
    expect_a_slow_lane_to_take_less $mode
done
