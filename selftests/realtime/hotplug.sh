#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 400
#
# hotplug.sh - CPU 1 goes and comes in a loop under load: VMs with servers on 0, on 1 and on
# both, a provider on 1, packets, and somebody who rewrites spare.* and removes cgroups meanwhile (LIFE-4). The class is not
# ejected, reservations hold afterwards, use resumes on the CPU that came back, nothing leaks.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/load.inc.sh"

cycles=${SPARE_CYCLES:-20}
CPU1=/sys/devices/system/cpu/cpu1/online
SCX=/sys/kernel/sched_ext
[[ -w $CPU1 ]] || ktap_skip_all 'this machine has no CPU hotplug'

both_online() { echo 1 >"$CPU1"; }

# What an operator may do meanwhile; most of it is refused while the CPU is away.
rewrite() {
	local dir=$CGROUP/vm/churn i
	for ((i = 0; ; i++)); do
		mkdir "$dir"
		echo "5000 $((50000 + i % 5 * 10000))" >"$dir/spare.reservation"
		echo "$((i % 2))" >"$dir/spare.cpus"
		echo /pool/p0 >"$dir/spare.use"
		echo 0-1 >"$dir/spare.cpus"
		echo "$BASHPID" >"$dir/cgroup.procs"
		echo 1 >"$dir/spare.cpus"
		echo none >"$dir/spare.use"
		echo "$BASHPID" >"$CGROUP/cgroup.procs"
		rmdir "$dir"
	done
}
export -f rewrite
export CGROUP

# A server is withdrawn on CPU 1, and the CPU goes while it still is to be reaped: whoever would has to wait for slow writers. So the class
# lets go of it, and finds it again when the CPU goes.
withdraw_and_go() {
	local status=0
	vm_cgroup twice 5000 100000 1 >/dev/null
	wait_for 5 class_counts 6 || status=1
	slow_writers "$CGROUP/vm/c/spare.cpus" 0-1 || { echo "no write waits"; status=1; }
	echo max >"$CGROUP/vm/twice/spare.reservation"
	echo 0 >"$CPU1"
	echo 1 >"$CPU1"
	slow_writers_stop
	rmdir "$CGROUP/vm/twice"
	wait_for 5 class_counts 5 || { class_counts 5; status=1; }
	return "$status"
}

reservations_hold() {
	shares_within 3 "20 45 $CGROUP/vm/a" "10 35 $CGROUP/vm/b" "25 60 $CGROUP/vm/c"
}

# 200 ms to 600 ms off, as long on.
cycle() {
	local i
	for ((i = 0; i < cycles; i++)); do
		echo 0 >"$CPU1" || return
		sleep "0.$((2 + i % 5))"
		if ((i % 4 == 0)); then
			# While it is away, the others are served and the VM of both CPUs keeps to one reservation.
			shares_within 2 "20 45 $CGROUP/vm/a" "8 35 $CGROUP/vm/c" || return
		fi
		echo 1 >"$CPU1" || return
		sleep "0.$((2 + (i + 2) % 5))"
		class_is enabled || return
	done
}

test_cycles() {
	local seq granted
	ktap_check 'LIFE-4: before: reservations hold' reservations_hold
	seq=$(<$SCX/enable_seq)
	background bash -c rewrite
	packets hp0 /dev/shm/b
	ktap_check "LIFE-4: a CPU goes and comes $cycles times under load; meanwhile the others are served" cycle
	both_online
	is 'LIFE-4: the class was not ejected' "enabled $seq" "$(class_state) $(<$SCX/enable_seq)"
	ktap_check 'LIFE-4: use resumes on the CPU that came back' wait_for 10 runs_on "$CGROUP/vm/b" 1
	ktap_check 'LIFE-4: a VM on both CPUs uses both again' eval 'wait_for 10 runs_on $CGROUP/vm/c 1 && wait_for 10 runs_on $CGROUP/vm/c 0'
	granted=$(stat_of "$CGROUP/vm/b" granted)
	sleep 2
	ktap_check 'LIFE-4: its VM borrows for packets again' at_least $((granted + 1)) "$(stat_of "$CGROUP/vm/b" granted)"
	background_stop
	cgroup_remove "$CGROUP/vm/churn"
	ktap_check 'LIFE-4: afterwards reservations hold' reservations_hold
	measure after spare-pktgen --tap hp0 --shm /dev/shm/b --random 50 --min-us 15000 --max-us 40000 --settle-ms 2000 || true
	is 'SPARE-8: afterwards no packet is lost' '50 0' "$(result "$MEASURES/after" sent) $(result "$MEASURES/after" lost)"
}

test_away() {
	local d=$CGROUP/vm/d
	echo 0 >"$CPU1"
	mkdir "$d"
	want 'LIFE-4: a CPU that is away cannot be had' ERANGE vm/d/spare.cpus 1
	want 'LIFE-4: a reservation there can change meanwhile' OK vm/b/spare.reservation '10000 100000'
	cgroup_remove "$CGROUP/pool/p0"
	is 'LIFE-4: a provider is removed while its CPU is away' 1 "$(until_is 10 1 key vm/b/spare.events provider_lost)"
	want 'LIFE-4: a VM moves away' OK vm/b/spare.cpus 0
	rmdir "$d"
	echo 1 >"$CPU1"
	want 'LIFE-4: a VM comes back with its CPU' OK vm/b/spare.cpus 1
	ktap_check 'LIFE-4: and is served there' wait_for 10 runs_on "$CGROUP/vm/b" 1
	# a on 0, b on 1, c on both
	ktap_check 'LIFE-4: the class has forgotten those that went while their CPU was away' wait_for 5 class_counts 4
}

# Threads that their affinity binds to CPU 1 wait for budget when the CPU goes: all of them run elsewhere. Without cpuset, which takes a cgroup's
# threads away from such a CPU before the class has to; and anew each time, as what widens their masks when the CPU goes is for good.
test_bound() {
	local d=$CGROUP/bound dir seq
	controllers
	# (A real host's own cpuset stays.)
	if [[ ${SPARE_HOST-} == realtime ]]; then
		for dir in "$CGROUP"/{vm,pool,}; do [[ ! -d $dir ]] || echo -cpuset >"$dir/cgroup.subtree_control"; done
	fi
	mkdir "$d"
	ktap_cleanup "cgroup_remove $d"
	echo '20000 200000' >"$d/spare.reservation"
	echo 1 >"$d/spare.cpus"
	seq=$(<$SCX/enable_seq)
	ktap_check 'LIFE-4: a CPU goes 6 times while threads that are bound to it wait for budget: it goes, and they run' go_while_throttled "$d"
	is 'LIFE-4: and the class was not ejected' "enabled $seq" "$(class_state) $(<$SCX/enable_seq)"
	both_online
	cgroup_remove "$d"
}

# ran_since FILE: each thread of it has run for two ticks since (utime, stime)
ran_since() {
	local pid was
	while read -r pid was; do (($(ticks "$pid") >= was + 2)) || return 1; done <"$1"
}
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

go_while_throttled() {
	local d=$1 i pid
	for i in {1..6}; do
		# shellcheck disable=SC2016 # expands inside
		for _ in {1..4}; do background taskset -c 1 "${ENTER[@]}" "$d" "${BURNER[@]}"; done
		wait_for 5 eval "((\$(grep -c . $d/cgroup.procs) == 4))" || { echo "round $i: they do not begin"; return 1; }
		sleep 0.5
		wait_for 5 grep -q '^cpu1.state throttled' "$d/spare.stat" || { echo "round $i: they do not exhaust it"; return 1; }
		timeout 15 bash -c "echo 0 >$CPU1" || { echo "round $i: the CPU does not go"; return 1; }
		for pid in $(<"$d/cgroup.procs"); do echo "$pid $(ticks "$pid")"; done >"$MEASURES/ticks"
		wait_for 10 ran_since "$MEASURES/ticks" || { echo "round $i: not all of them run"; return 1; }
		echo 1 >"$CPU1"
		background_stop
	done
}

test_twice() {
	ktap_check 'LIFE-4: the class counts its servers' wait_for 5 class_counts 5
	ktap_check 'LIFE-4: and once each one that goes, though it may be dropped twice' withdraw_and_go
}

ktap_plan 24
ktap_cleanup both_online
spare_up
test_bound
three_vms hp0
test_twice
test_cycles
test_away
for name in a b c; do
	standin_stop $name
	cgroup_remove "$CGROUP/vm/$name"
done
ktap_check 'LIFE-4: the class counts no server any more' wait_for 5 class_counts 0
ktap_check 'LIFE-4: no slot was lost on CPU 0' slots_free 0
ktap_check 'LIFE-4: no slot was lost on CPU 1' slots_free 1
ktap_check 'LIFE-3: the class stops and the module unloads' spare_down
is 'LIFE-4: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
