#!/bin/sh
# Runs in a guest as `lab-ctl ACTIONS`: asks the lab outside to do ACTIONS (see `lab --help`),
# waits until they are done, and exits 0, or 1 with the lab's sentence. So a test's own script can
# cut the cable at exactly the point where it wants it cut.

[ $# -eq 1 ] || { echo "usage: lab-ctl ACTIONS" >&2; exit 2; }
reply=/run/lab/reply/$$
mkfifo "$reply" && exec 3<>"$reply" && echo "$$ $1" >/run/lab/request || exit 1
read -r status text <&3
rm -f "$reply"
[ -z "$text" ] || echo "lab-ctl: $text" >&2
exit "$status"
