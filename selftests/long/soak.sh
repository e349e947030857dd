#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 5400
#
# soak.sh - three VMs, a provider and packets for an hour ($SPARE_SOAK_S), beside cgroups that come and go, VMs that move and are frozen, and
# every stressor of stress-ng's scheduler class in turn (real-time and deadline ones among them): the class is not ejected, reservations hold
# in the end, no slot, queue or memory is lost.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/../realtime/module.inc.sh"
. "$here/../realtime/load.inc.sh"

seconds=${SPARE_SOAK_S:-3600}
SCX=/sys/kernel/sched_ext
command -v stress-ng >/dev/null || ktap_skip_all "no stress-ng"

# Configuration that changes all the time; what does not fit is refused.
churn() {
	local dir=$CGROUP/vm/churn i
	for ((i = 0; ; i++)); do
		mkdir "$dir"
		echo "5000 $((50000 + i % 5 * 10000))" >"$dir/spare.reservation"
		echo "$((i % 2))" >"$dir/spare.cpus"
		echo /pool/p0 >"$dir/spare.use"
		echo "$BASHPID" >"$dir/cgroup.procs"
		sleep "0.0$((RANDOM % 9 + 1))"
		echo "$BASHPID" >"$CGROUP/cgroup.procs"
		rmdir "$dir"
		((i % 10)) || { echo 1 >"$CGROUP/vm/c/cgroup.freeze"; sleep 0.1; echo 0 >"$CGROUP/vm/c/cgroup.freeze"; }
		((i % 25)) || { echo $((i % 2)) >"$CGROUP/vm/c/spare.cpus"; sleep 0.2; echo 0-1 >"$CGROUP/vm/c/spare.cpus"; }
	done
}
export -f churn
export CGROUP

reservations_hold() {
	shares_within 5 "20 45 $CGROUP/vm/a" "10 35 $CGROUP/vm/b" "25 60 $CGROUP/vm/c"
}
slab_kb() { awk '$1 == "SUnreclaim:" { print $2 }' /proc/meminfo; }

# For so long, each stressor 5 s; those that one cannot start are passed over.
stress() {
	local end=$((SECONDS + seconds)) stressors name
	mapfile -t stressors < <(stress-ng --class scheduler? 2>&1 | tr ' ' '\n' | grep -x '[a-z][a-z-]*' | grep -vx 'class\|scheduler\|stressors\|exec\|fork\|vfork')
	((${#stressors[@]} >= 10)) || { echo "stress-ng knows ${#stressors[@]} stressors"; return 1; }
	ktap_note "${#stressors[@]} stressors: ${stressors[*]}"
	while ((SECONDS < end)); do
		for name in "${stressors[@]}"; do
			((SECONDS < end)) || break
			timeout -k 5 60 stress-ng --quiet "--$name" 2 --timeout 5 >/dev/null 2>&1 || true
			class_is enabled || { echo "the class was ejected beside $name"; return 1; }
		done
	done
}

ktap_plan 9
spare_up
three_vms soak0
ktap_check 'CBS-4: reservations hold' reservations_hold
seq=$(<$SCX/enable_seq) slab=$(slab_kb) misses=$(stat_of "$CGROUP/vm/a" misses)
background bash -c churn
packets soak0 /dev/shm/b
ktap_check "LIFE-2: beside every scheduler stressor for $seconds s the class runs" stress
is 'LIFE-2: the class was not ejected' "enabled $seq" "$(class_state) $(<$SCX/enable_seq)"
background_stop
echo 0 >"$CGROUP/vm/c/cgroup.freeze"
echo 0-1 >"$CGROUP/vm/c/spare.cpus"
cgroup_remove "$CGROUP/vm/churn"
ktap_note "unreclaimable slab: $slab kB before, $(slab_kb) kB now; VM a missed $(($(stat_of "$CGROUP/vm/a" misses) - misses)) deadlines (to real-time stressors)"
ktap_note "$(grep -E '^(granted|denied|expired|unasked|blocked|rx_packets) ' "$CGROUP/vm/b/spare.stat" | xargs)"
ktap_check 'CBS-4: afterwards reservations hold' reservations_hold
for name in a b c; do
	standin_stop $name
	cgroup_remove "$CGROUP/vm/$name"
done
cgroup_remove "$CGROUP/pool/p0"
ktap_check 'LIFE-4: the class counts no server any more' wait_for 5 class_counts 0
ktap_check 'LIFE-4: no slot was lost on CPU 0' slots_free 0
ktap_check 'LIFE-4: no slot was lost on CPU 1' slots_free 1
ktap_check 'LIFE-3: the class stops and the module unloads' spare_down
is 'LIFE-8: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
