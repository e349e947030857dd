#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# cpus: 2,threads=2
# config: CONFIG_SCHED_CORE
# Core scheduling: VMs that may not share a core take turns on it by deadline, each has its reservation, and not more (CBS-4, CBS-5). What is promised
# beyond the core's time is missed, and the host keeps its floor (CBS-9).
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/../lib/host.inc.sh"

SECONDS_BURN=10
share() { result "$MEASURES/$1" "$2.share_ppm"; }

# vms Q CPUS Q CPUS: of a and of b
vms() {
	vm_cgroup a "$1" 100000 "$2" >/dev/null
	vm_cgroup b "$3" 100000 "$4" >/dev/null
}
vms_remove() { cgroup_remove "$CGROUP/vm/a" "$CGROUP/vm/b"; }

# burn_apart REPORT [THREADS]: vm/a, with so many, and vm/b with a cookie each, and the host with a thread for each CPU. USED[REPORT.VM]: of a CPU in the
# whole time, by the class's account
declare -A USED=()
burn_apart() {
	local from vm
	from=$(now_ns)
	burn "$1" --cookie a --cookie b "a=$CGROUP/vm/a,${2:-1}" "b=$CGROUP/vm/b,1" "host=$HOST/flat,2"
	for vm in a b; do USED[$1.$vm]=$(($(stat_of "$CGROUP/vm/$vm" used_ns) / (($(now_ns) - from) / 1000000))); done
	report "$MEASURES/$1" share_ppm gap_max_ns
	ktap_note "$1: by the class's account ${USED[$1.a]} and ${USED[$1.b]} ppm"
}
misses() { echo $(($(stat_of "$CGROUP/vm/a" misses) + $(stat_of "$CGROUP/vm/b" misses))); }

declare -A vm_ppm=([a]=400000 [b]=500000)
ktap_plan 19
ktap_check 'HOST: two CPUs are siblings' equal 0-1 "$(</sys/devices/system/cpu/cpu0/topology/thread_siblings_list)"
spare_up -v
host_tree
ktap_cleanup host_tree_remove
ktap_cleanup vms_remove
host_quiet || ktap_note "the host is still busy"

# (Under -icount the CPUs take turns on one clock: what both do at once each does at half its speed, and what an idle one does the other pays.)
vms 40000 0 40000 1
burn_apart fit
for vm in a b; do
	ktap_check "CBS-4: one on each sibling: $vm has its reservation" near 400000 4000 "${USED[fit.$vm]}"
	ktap_check "CBS-4: one on each sibling: and does the work of that" near 400000 4000 "$(share fit $vm)"
done
ktap_check 'CBS-5: no deadline is missed' equal 0 "$(misses)"
ktap_check 'CBS-9: the host has the rest of both CPUs' near 200000 8000 "$(share fit host)"
vms_remove

# The near deadline comes while the other one runs, and a thread of the host waits in the kernel's own queue.
vm_cgroup a 40000 100000 0 >/dev/null
vm_cgroup b 10000 20000 1 >/dev/null
burn_apart near
for vm in a b; do
	ktap_check "CBS-5: a near and a far deadline: $vm has its reservation" near $((vm_ppm[$vm])) 8000 "${USED[near.$vm]}"
done
ktap_check 'CBS-5: a near and a far deadline: none is missed' equal 0 "$(misses)"
vms_remove

vms 80000 0 80000 1
burn_apart over
a=$(share over a) b=$(share over b)
ktap_check 'HOST: they never run together' at_most 1000000 $((a + b))
ktap_check 'CBS-5: promised more than the core has, both have about half' at_least 400000 $((a < b ? a : b))
ktap_check 'CBS-5: and that is missed' at_least 1 "$(misses)"
ktap_check 'CBS-9: the host has its floor' at_least 30000 "$(share over host)"
ktap_check 'CBS-9: for which it waits for 5 s at most' at_most 5000000000 "$(result "$MEASURES/over" host.gap_max_ns)"
vms_remove

# While one of its threads runs the kernel lets another fill the sibling.
vms 20000 0-1 30000 1
burn_apart filled 2
ktap_check 'CBS-4: on both siblings: it has its reservation' near 400000 4000 "${USED[filled.a]}"
ktap_check 'CBS-4: on both siblings: so has the other' near 300000 4000 "${USED[filled.b]}"
vms_remove

ktap_check 'CBS-12: the class runs' class_is enabled
ktap_check 'LIFE-3: the class stops and the module unloads' spare_down
ktap_done
