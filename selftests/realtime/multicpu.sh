#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# multicpu.sh - a VM with a server on each of two CPUs: none idles while its sibling is throttled (CBS-8). By the class's own
# account; bounds are coarse, this is real time. deterministic/multicpu.sh is the exact version.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/load.inc.sh"

vm=$CGROUP/vm/multi

# threads N: N threads burn; both servers are used by half at least, and neither beyond its reservation.
threads() {
	standin multi --rest --cgroup "$vm" --vcpus "$1"
	sleep 1
	ktap_check "CBS-8: $1 burning, 40/100 ms on each of two CPUs: each server is used" shares_within 4 "25 52 $vm 0" "25 52 $vm 1"
	ktap_note "$1 burning: $(stat_of "$vm" migrated) threads have moved"
	standin_stop multi
}

ktap_plan 3
spare_up
vm_cgroup multi 40000 100000 0-1 >/dev/null
ktap_cleanup "cgroup_remove $vm"
for n in 1 2 5; do threads $n; done
ktap_done
