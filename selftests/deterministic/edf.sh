#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# E2, EDF: three servers of different periods fill admission to its limit (0.90) while a task of the host burns as well.
# No deadline is missed; |mean - Q| <= 0.1 % of Q for each.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

servers=("a 4000 10000" "b 20000 100000" "c 15000 50000")
seconds=20

ktap_plan $((6 * ${#servers[@]} + 1))
spare_up -v
host_quiet || ktap_note "the host is still busy"

trace=()
for s in "${servers[@]}"; do
	read -r name q p <<<"$s"
	dir=$(vm_cgroup "$name" "$q" "$p" 0)
	ktap_cleanup "cgroup_remove $dir"
	standin "$name" --cgroup "$dir"
	wait_for 10 grep -q . "$dir/cgroup.procs"
	trace+=(--server "$name=$dir,$q,$p")
done
standin host --gap-us 1000
sleep 2

measure edf spare-trace "${trace[@]}" --seconds "$seconds" --stat || exit 1
r=$MEASURES/edf
for s in "${servers[@]}"; do ktap_note "server $s 1000"; done
report "$r" .
for s in "${servers[@]}"; do
	read -r name q p <<<"$s"
	title="$((q / 1000))/$((p / 1000)) ms of three"
	ktap_check "CBS-5: $title: no deadline missed by sched_switch" equal 0 "$(result "$r" "$name.missed")"
	ktap_check "CBS-5: $title: no deadline missed by the class's account" equal 0 "$(result "$r" "$name.class.misses")"
	ktap_check "CBS-4: $title: mean use per period by sched_switch within 1000 ppm of Q" at_most 1000 "$(result "$r" "$name.mean_err_ppm")"
	ktap_check "CBS-4: $title: mean use per period by the class's account within 1000 ppm of Q" at_most 1000 "$(result "$r" "$name.class.mean_err_ppm")"
	ktap_check "CBS-4: $title: overrun at most 100 us by the class's account" at_most 0 "$(result "$r" "$name.class.overruns")"
	ktap_check "CBS-4: $title: overrun at most 100 us by sched_switch" at_most 100000 "$(result "$r" "$name.overrun_max_ns")"
done
standin_stop host
ktap_note "host task: $(grep ^loops "$MEASURES/standin.host"), longest gaps: $(grep ^gap.lt "$MEASURES/standin.host" | tail -n 1)"
ktap_check "CBS-9: the host's burning task ran beside them" at_least 1000 "$(result "$MEASURES/standin.host" loops)"
ktap_done
