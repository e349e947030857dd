#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 360
#
# eject.sh - reservations are mirrored into cpu.max: when the kernel ejects the class, the caps hold until it is back.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/module.inc.sh"

BURN=$CG/vm/burn
cleanup() { cgroup_remove "$CG"/vm/{burn,short,wide,last} || true; }
ktap_cleanup cleanup

said() { grep -qF -- "$1" "$SPARED_LOG"; }
times_said() { grep -cF -- "$1" "$SPARED_LOG" || true; }
cpu_max() { cat "$CG/vm/$1/cpu.max"; }
usage_us() { key vm/burn/cpu.stat usage_usec; }

# share SECONDS: percent of one CPU that the burner uses meanwhile
share() {
	local before start
	before=$(usage_us) start=$(date +%s%N)
	sleep "$1"
	echo $((100000 * ($(usage_us) - before) / ($(date +%s%N) - start)))
}

# Another spared adopts the class; how long it waits after an ejection begins anew.
spared_anew() {
	kill -KILL "$SPARED_PID"
	wait "$SPARED_PID" 2>/dev/null || true
	spare_up
}

test_mirror() {
	vm_cgroup burn 40000 100000 1 >/dev/null
	is 'LIFE-2: a reservation is mirrored into cpu.max' '40000 100000' "$(until_is 10 '40000 100000' cpu_max burn)"
	vm_cgroup wide 4000 10000 0-1 >/dev/null
	is 'LIFE-2: of all servers together' '8000 10000' "$(until_is 10 '8000 10000' cpu_max wide)"
	tree_dir vm/wide
	vm_cgroup wide/inner 10000 100000 0 >/dev/null
	is 'LIFE-2: with what a cgroup below has' '9000 10000' "$(until_is 10 '9000 10000' cpu_max wide)"
	cgroup_remove $CG/vm/wide/inner
	is 'LIFE-2: while it has it' '8000 10000' "$(until_is 10 '8000 10000' cpu_max wide)"
	mkdir $CG/vm/short
	echo '70000 100000' >$CG/vm/short/cpu.max
	echo '50 100' >$CG/vm/short/spare.reservation
	echo 0 >$CG/vm/short/spare.cpus
	ktap_check "LIFE-2: the operator's value that is written over is said" wait_for 10 said '/vm/short: cpu.max was 70000 100000; it is '
	is "LIFE-2: a short period in the kernel's terms" '1000 2000' "$(until_is 10 '1000 2000' cpu_max short)"
	echo '100 200' >$CG/vm/short/spare.reservation
	sparectl reload
	is 'LIFE-2: a change is followed' '1000 2000' "$(cpu_max short)"
	spared_anew
	echo max >$CG/vm/short/spare.reservation
	is "LIFE-2: the operator's value comes back, after kill -9 too" '70000 100000' "$(until_is 10 '70000 100000' cpu_max short)"
	echo '50 100' >$CG/vm/short/spare.reservation
	wait_for 10 grep -qx '1000 2000' $CG/vm/short/cpu.max
	echo '30000 100000' >$CG/vm/short/cpu.max
	is "LIFE-2: the operator's hand meanwhile is seen" '1000 2000' "$(until_is 10 '1000 2000' cpu_max short)"
	echo max >$CG/vm/short/spare.reservation
	is 'LIFE-2: and remembered' '30000 100000' "$(until_is 10 '30000 100000' cpu_max short)"
	cgroup_remove $CG/vm/short $CG/vm/wide
}

# eject: the kernel takes the class away; spared has said so
eject() {
	local before
	before=$(times_said 'ejected the class')
	echo S >/proc/sysrq-trigger
	wait_for 10 eval "(( \$(times_said 'ejected the class') > $before ))"
}

# A SCHED_FIFO thread keeps CPU 1 from the class until the kernel's watchdog ejects it, an error, of which sched_ext makes a dump.
test_dump() {
	local server=/sys/kernel/debug/sched/ext_server/cpu1/runtime rt=/proc/sys/kernel/sched_rt_runtime_us hog before
	before=$(<$rt)
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
	ktap_cleanup "echo $before >$rt"
	echo -1 >$rt
	if [[ -e $server ]]; then
		ktap_cleanup "echo $(<$server) >$server"
		echo 0 >$server
	fi
	taskset 2 chrt -f 50 "${BURNER[@]}" &
	hog=$!
	ktap_check 'LIFE-2: a thread that waits for 30 s: ejected, and spared says which' wait_for 60 said 'ejected the class: runnable task stall'
	ktap_check "LIFE-2: and leaves the kernel's dump in the log" wait_for 5 grep -q 'dump: CPU 1 *: nr_run=' "$SPARED_LOG"
	ktap_check "CBS-12: and the class's own account of that CPU and its servers" eval \
		'grep -q "dump: .*sched_spare: servers [1-9]" "$SPARED_LOG" && grep -q "dump: .*slot [0-9]* of cgroup" "$SPARED_LOG"'
	kill -KILL $hog
	wait $hog 2>/dev/null || true
	echo "$before" >$rt
	wait_for 60 class_is enabled
}

# Somebody has emptied the stock of queues; the module says that there is one for each server.
test_impossible() {
	local stock n out
	stock=$(bpftool map show name queue_stock | sed -n 's/^\([0-9]*\): .*/\1/p')
	for n in {1..400}; do
		out=$(bpftool -j map pop id "$stock" 2>&1) || break
		[[ $out == *value* ]] || break
	done
	ktap_note "after $n times: $out"
	vm_cgroup last 1000 100000 0 >/dev/null
	ktap_check 'CBS-12: a state that cannot be ends the class, and spared says which' \
		wait_for 20 said 'no queue is left for a server'
	wait_for 60 class_is enabled
	sparectl run /vm/last -- "${BURNER[@]}" &
	disown
	ktap_check 'CBS-12: loaded again it serves that server' wait_for 20 eval "(( \$(stat_of $CG/vm/last used_ns) > 0 ))"
	cgroup_remove "$CG/vm/last"
}

# The class ends while no spared runs; its pins are left.
test_stale_pins() {
	kill -KILL "$SPARED_PID"
	wait "$SPARED_PID" 2>/dev/null || true
	echo S >/proc/sysrq-trigger
	wait_for 20 class_is disabled
	ktap_check 'LIFE-1: a class that has ended leaves its pins' test -e /sys/fs/bpf/sched_spare
	ktap_check 'LIFE-1: spared loads another one all the same' spare_up
}

test_eject() {
	local use state
	sparectl run /vm/burn -- "${BURNER[@]}" &
	disown
	wait_for 10 eval "(( \$(usage_us) > 500000 ))"
	use=$(stat_of "$BURN" used_ns)
	ktap_check 'LIFE-2: the class is ejected, and spared says why' eval "eject && said 'ejected the class: '"
	ktap_check 'LIFE-2: it is loaded again after 1 s' eval "said 'again in 1 s' && wait_for 60 class_is enabled"
	wait_for 60 said 'runs again'
	eject
	wait_for 60 class_is enabled
	wait_for 60 eval "(( \$(times_said 'runs again') == 2 ))"
	eject
	ktap_check 'LIFE-2: each time twice as long' said 'again in 4 s'
	ktap_refused 'LIFE-2: --stop is refused beside a spared that will load the class again' "pid $SPARED_PID, and may load it again" spared --stop
	use=$(share 3)
	state=$(class_state)
	# Not timing, but whether it is capped: an uncapped burner takes the whole CPU.
	ktap_note "share of one CPU without the class: $use %"
	is 'LIFE-2: the class was away meanwhile' disabled "$state"
	ktap_check 'LIFE-2: without the class the cap holds' eval "(( $use >= 20 && $use <= 60 ))"
	wait_for 60 class_is enabled
	ktap_check 'LIFE-2: the class is back' wait_for 60 eval "(( \$(times_said 'runs again') == 3 ))"
	is 'LIFE-2: the reservation is what it was' '40000 100000' "$(<"$BURN/spare.reservation")"
	use=$(stat_of "$BURN" used_ns)
	ktap_check 'LIFE-2: and governs again' wait_for 10 eval "(( \$(stat_of $BURN used_ns) > $use + 500000000 ))"
	use=$(share 3)
	ktap_note "share of one CPU by reservation: $use %"
	ktap_check 'LIFE-2: use is by reservation' eval "(( $use >= 20 && $use <= 60 ))"
	spared_anew
	test_dump
	spared_anew
	test_impossible
	test_stale_pins
	sparectl unload
	ktap_check 'LIFE-2: unloaded by an operator, spared ends' wait_for 20 eval "! kill -0 $SPARED_PID"
	is 'LIFE-2: and the cap stays' '40000 100000' "$(cpu_max burn)"
	ktap_check 'LIFE-3: spared --restore takes it away' spared --restore
	is "LIFE-3: what the operator had is back" 'max 100000' "$(cpu_max burn)"
}

ktap_plan 31
spare_up
test_mirror
test_eject
ktap_done
