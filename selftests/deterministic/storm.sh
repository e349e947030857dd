#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# CBS-9: 6000 threads of the host that burn beside a VM 90/100 that burns: none waits until the watchdog ends the class. Then they are killed in one go.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/../lib/host.inc.sh"

threads=6000

# Sets USED, NOW (us) and MISSES, of the VM: after a rest, so that what the shell has just done is counted before.
look() {
	sleep 0.3
	read_stat "$dir" used_ns
	USED=$STAT NOW=${EPOCHREALTIME/./}
	read_stat "$dir" misses
	MISSES=$STAT
}

ktap_plan 4
host_tree
ktap_cleanup host_tree_remove
spare_up -v
host_quiet || ktap_note "the host is still busy"
dir=$(vm_cgroup full 90000 100000 0)
ktap_cleanup "cgroup_remove $dir"
standin full --cgroup "$dir"
wait_for 20 grep -q . "$dir/cgroup.procs"
measure crowd spare-burn --warm 30 --seconds 60 "crowd=$HOST/flat,$threads" &
burn=$!
# (They are made and let go in 20 s, the latter by a SCHED_FIFO thread of the tool's. As the host's this shell would wait with them.)
chrt -f -p 60 $$
sleep 30
look
used=$USED misses=$MISSES from=$NOW
sleep 50
look
used=$((USED - used)) beside=$MISSES to=$NOW
stolen=$(stat_of "$dir" stolen_ns)
wait "$burn"
after=$(stat_of "$dir" misses)
report "$MEASURES/crowd" .
ktap_note "the VM used $used of $(((to - from) * 1000)) ns, missed $((beside - misses)) deadlines, and in their end $((after - beside)), lost $(($(stat_of "$dir" stolen_ns) - stolen)) ns"
ktap_check "CBS-9: $threads threads of the host beside 90/100: the class is not ejected" class_is enabled
ktap_check "CBS-9: $threads threads of the host: every one ran" at_least 1 "$(result "$MEASURES/crowd" crowd.least_ppm)"
ktap_check "CBS-5: beside them the VM has its reservation, but for a period's" at_least $(((to - from) * 900 - 90000000)) "$used"
sleep 35
ktap_check "CBS-9: nor is it ejected afterwards" class_is enabled
ktap_done
