#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# cpus: 2
# A VM with a server of 40/100 ms on each of two CPUs: no server idles while its sibling is throttled (CBS-8), whatever the number
# of its threads. Under -icount the two CPUs take turns on one clock, so an end of budget may be seen as late as a turn lasts
# (some ms); it is carried, and the long run is exact.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

q=40000 p=100000 seconds=${SPARE_SECONDS:-10}
vm=$CGROUP/vm/multi

# used CPU: ns, by the class's account
used() { stat_of "$vm" "cpu$1.used_ns"; }

# threads N LOW_PPM: use per period of each server with N threads that burn; at most LOW_PPM of Q are missing
threads() {
	local n=$1 cpu before=() ppm migrated start ns
	standin multi --cgroup "$vm" --vcpus "$n"
	sleep 1
	migrated=$(stat_of "$vm" migrated) start=$(date +%s%N)
	for cpu in 0 1; do before+=("$(used $cpu)"); done
	sleep "$seconds"
	for cpu in 0 1; do
		ppm=$(used $cpu) ns=$(($(date +%s%N) - start))
		ppm=$(((ppm - before[cpu]) * 1000000 / (ns * q / p) - 1000000))
		ktap_note "$n burning: server on CPU $cpu: use per period $ppm ppm from Q"
		ktap_check "CBS-8: $n burning: server on CPU $cpu at least 1 - $2 ppm of Q" at_least $((-$2)) "$ppm"
		ktap_check "CBS-4: $n burning: server on CPU $cpu at most one period's worth over Q" at_most_one $((p / seconds)) "$ppm"
	done
	ktap_note "$n burning: $(($(stat_of "$vm" migrated) - migrated)) threads moved in $seconds s"
	standin_stop multi
}
at_most_one() { (($2 <= $1)) || { echo "$2 ppm is more than $1"; return "$KTAP_BOUND"; }; }

ktap_plan 13
ktap_check "HOST: two CPUs" equal 2 "$(nproc)"
spare_up -v
host_quiet || ktap_note "the host is still busy"
vm_cgroup multi $q $p 0-1 >/dev/null
ktap_cleanup "cgroup_remove $vm"
threads 1 20000
threads 2 20000
threads 5 20000
ktap_done
