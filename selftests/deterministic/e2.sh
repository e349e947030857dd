#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# E2, one server: use per period against Q, by the class's own account and by the kernel's sched_switch events.
# A VM that burns all the time, for 20 s with each reservation; |mean - Q| <= 0.05 % of Q, never more than 100 µs over Q.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

reservations=("40000 100000" "4000 10000" "1000 10000")
seconds=20

ktap_plan $((6 * ${#reservations[@]}))
spare_up -v
host_quiet || ktap_note "the host is still busy"

for qp in "${reservations[@]}"; do
	read -r q p <<<"$qp"
	name="$((q / 1000))/$((p / 1000)) ms"
	dir=$(vm_cgroup e2 "$q" "$p" 0)
	ktap_cleanup "cgroup_remove $dir"
	standin burn --cgroup "$dir"
	wait_for 10 grep -q . "$dir/cgroup.procs"
	sleep 1
	# While a process starts, here the tool's, the kernel runs long stretches with preemption off (450 us seen): what they
	# overran is carried. So the class's overruns are counted between the tool's two readings, not around the tool.
	if measure e2 spare-trace --server "vm=$dir,$q,$p" --seconds "$seconds" --stat; then
		r=$MEASURES/e2
		ktap_note "server vm $q $p 500"
		report "$r" .
		ktap_check "CBS-4: $name: mean use per period by sched_switch within 500 ppm of Q" at_most 500 "$(result "$r" vm.mean_err_ppm)"
		ktap_check "CBS-4: $name: mean use per period by the class's account within 500 ppm of Q" at_most 500 "$(result "$r" vm.class.mean_err_ppm)"
		ktap_check "CBS-4: $name: overrun at most 100 us by sched_switch" at_most 100000 "$(result "$r" vm.overrun_max_ns)"
		ktap_check "CBS-4: $name: overrun at most 100 us by the class's account" at_most 0 "$(result "$r" vm.class.overruns)"
		ktap_check "CBS-4: $name: every period of ${seconds} s was seen" at_least $((seconds * 1000000 / p - 3)) "$(result "$r" vm.periods)"
		ktap_check "CBS-5: $name: no deadline missed" equal 0 "$(($(result "$r" vm.missed) + $(result "$r" vm.class.misses)))"
	else
		for _ in 1 2 3 4 5 6; do ktap_fail "CBS-4: $name: measured"; done
	fi
	standin_stop burn
	cgroup_remove "$dir"
done
ktap_done
