#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
#
# lifecycle.sh - VMs, threads and reservations come, go and move while packets come and budgets end (LIFE-4, CBS-6, CBS-10): the
# class is never ejected, nothing stalls, and a VM's use stays within its cap.
# shellcheck disable=SC2016 # what bash -c gets expands there
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/load.inc.sh"

SCX=/sys/kernel/sched_ext
vm=$CGROUP/vm/life
pool=$CGROUP/pool/p0
host=$CGROUP/life-host

borrows() {
	local before
	before=$(stat_of "$vm" granted)
	sleep 0.1
	(($(stat_of "$vm" granted) > before))
}

provider_free() { (($(stat_of "$pool" cpu1.claimed) == 0)); }

# The stand-in lives outside; VMs come and go around it.
enter() { echo "${STANDIN[life]}" >"$1/cgroup.procs"; }

vm_up() {
	vm_cgroup life 10000 100000 "${1:-1}" >/dev/null
	echo lc0 >"$vm/spare.netdev"
	echo /pool/p0 >"$vm/spare.use" 2>/dev/null || [[ ${1:-1} == 0 ]]
	enter "$vm"
}

still_enabled() { is "LIFE-4: $1: the class was not ejected" "enabled $seq" "$(class_state) $(<$SCX/enable_seq)"; }

# While it borrows, its thread goes to the host and the cgroup goes with the claim.
remove_boosted() {
	local i
	for i in {1..8}; do
		vm_up
		wait_for 10 borrows || { echo "round $i: it does not borrow"; return 1; }
		! rmdir "$vm" 2>/dev/null || { echo "round $i: it goes with threads in it"; return 1; }
		enter "$host"
		rmdir "$vm" || return
		wait_for 3 provider_free || { echo "round $i: the provider stays claimed"; return 1; }
	done
}

# While it borrows, everything in it is killed and the cgroup removed.
kill_boosted() {
	local i
	for i in {1..3}; do
		# The tap of the one before goes with its last file, a moment after it was killed.
		wait_for 10 bash -c '! [[ -e /sys/class/net/lc1 ]]' || return
		vm_cgroup life 10000 100000 1 >/dev/null
		standin dying --cgroup "$vm" --tap lc1
		wait_for 20 tap_is_up lc1
		echo lc1 >"$vm/spare.netdev"
		echo /pool/p0 >"$vm/spare.use"
		packets lc1 /dev/shm/dying
		wait_for 10 borrows || { echo "round $i: it does not borrow"; return 1; }
		echo 1 >"$vm/cgroup.kill"
		wait_for 10 rmdir "$vm" || return
		STANDIN[dying]=
		background_stop
		rm -f /dev/shm/dying
	done
}

test_removal() {
	packets lc0 /dev/shm/life
	ktap_check 'LIFE-4: 8 cgroups are removed while they borrow' remove_boosted
	background_stop
	ktap_check 'LIFE-4: 3 VMs are killed while they borrow' kill_boosted
	is 'SPARE-1: the provider is free afterwards' 0 "$(until_is 5 0 key pool/p0/spare.stat cpu1.claimed)"
	still_enabled 'removal'
}

frozen() { grep -qx 'frozen 1' "$vm/cgroup.events"; }
none_runs() {
	local tids
	mapfile -t tids <"$vm/cgroup.threads"
	! grep -qs '^State:.R' "${tids[@]/%//status}"
}

# Frozen at a random phase it uses nothing; thawed it is served.
freeze_and_thaw() {
	local status=0
	freeze_cycles || status=$?
	echo 0 >"$vm/cgroup.freeze"
	return "$status"
}

freeze_cycles() {
	local i before
	for i in {1..10}; do
		sleep "0.0$((RANDOM % 9 + 1))"
		echo 1 >"$vm/cgroup.freeze"
		wait_for 10 frozen || { echo "round $i: it does not freeze"; return 1; }
		# (The last of them is on its way out when the kernel says so.)
		(cd /proc && wait_for 10 none_runs) || { echo "round $i: somebody runs"; return 1; }
		sleep 0.05
		before=$(stat_of "$vm" used_ns)
		sleep 0.2
		equal "$before" "$(stat_of "$vm" used_ns)" || return
		echo 0 >"$vm/cgroup.freeze"
		wait_for 10 runs_on "$vm" 1 || { echo "round $i: it does not run again"; return 1; }
	done
}

test_freeze() {
	vm_up
	packets lc0 /dev/shm/life
	ktap_check 'LIFE-4: frozen and thawed 10 times, throttled, boosted or running' freeze_and_thaw
	ktap_check 'CBS-4: then it stays within its cap' share_within 3 20 "$vm" 4
	still_enabled 'freezer'
}

# For half a second nobody has it.
provider_stays_free() {
	local i
	wait_for 3 provider_free || { echo "it stays claimed"; return 1; }
	for i in {1..10}; do
		sleep 0.05
		provider_free || { echo "claimed again"; return 1; }
	done
}

# All of it stops while it borrows.
stop_and_go() {
	local i
	for i in {1..5}; do
		wait_for 10 borrows || { echo "round $i: it does not borrow"; return 1; }
		kill -STOP "${STANDIN[life]}"
		provider_stays_free || { echo "round $i"; kill -CONT "${STANDIN[life]}"; return 1; }
		kill -CONT "${STANDIN[life]}"
	done
	wait_for 10 borrows
}

# Its network thread stands still, its vCPU burns on.
net_stops() {
	local net before
	net=$(grep -l '^vhost-' "/proc/${STANDIN[life]}"/task/*/comm | sed 's,.*/task/\([0-9]*\)/.*,\1,')
	mkdir "$vm/net"
	echo threaded >"$vm/net/cgroup.type"
	echo "$net" >"$vm/net/cgroup.threads"
	echo 1 >"$vm/net/cgroup.freeze"
	before=$(stat_of "$vm" expired)
	ktap_check 'SPARE-4: the network thread is frozen: marks expire' wait_for 10 eval "(( \$(stat_of $vm expired) > $before + 3 ))"
	before=$(stat_of "$vm" boost_ns)
	sleep 1
	# (What was lent before it stood still may be used up.)
	ktap_check 'SPARE-4: and the vCPU borrows nothing' at_most 0 $(($(stat_of "$vm" boost_ns) - before))
	echo 0 >"$vm/net/cgroup.freeze"
	ktap_check 'SPARE-4: thawed it is served' wait_for 10 borrows
	echo "$net" >"$vm/cgroup.threads"
	rmdir "$vm/net"
}

test_stops() {
	ktap_check 'SPARE-4: stopped (SIGSTOP) 5 times while it borrows: the provider comes free' stop_and_go
	net_stops
	still_enabled 'stops'
}

# The time of day jumps; what is ours goes by the monotonic clock.
jump() { python3 -c 'import sys, time; time.clock_settime(time.CLOCK_REALTIME, time.time() + float(sys.argv[1]))' "$1"; }

test_clock() {
	jump 86400
	sleep 1
	jump -86400
	jump -86400
	sleep 1
	jump 86400
	ktap_check 'LIFE-4: the time of day jumps by a day: it is served' wait_for 10 borrows
	ktap_check 'CBS-4: within its cap' share_within 3 20 "$vm" 4
	still_enabled 'settimeofday'
}

timer_storm='
import os, signal, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 1e-5, 1e-5)
while True: pass
'

# Who sleeps before each tick, who has a timer every 10 us, and a neighbour on the same CPU.
test_dodgers() {
	local dodger=$CGROUP/vm/dodger storm=$CGROUP/vm/storm near=$CGROUP/vm/near
	vm_cgroup dodger 10000 100000 1 >/dev/null
	vm_cgroup storm 10000 100000 1 >/dev/null
	vm_cgroup near 30000 100000 1 >/dev/null
	standin dodger --cgroup "$dodger" --idle --wakers 1 --wake-run-us 3600 --wake-sleep-us 400
	standin near --cgroup "$near"
	background python3 -c "$timer_storm" "$storm"
	begun "$dodger:1" "$storm:1" "$near:1"
	ktap_check 'CBS-4: 3.6 ms and a sleep of 0.4, timers of 10 us: no more than the reservation, and a neighbour has his' \
		shares_within 6 "5 11 $dodger 1" "5 11 $storm 1" "22 33 $near 1"
	background_stop
	standin_stop dodger
	standin_stop near
	cgroup_remove "$dodger" "$storm" "$near"
}

# Between two VMs on different CPUs and the host, every 5 ms.
bounce() {
	local i to
	for ((i = 0; i < 100; i++)); do
		for to in "$vm" "$CGROUP/vm/other" "$host"; do
			enter "$to" || return
			sleep 0.005
		done
	done
}

# Two threads of one VM below cgroups of their own, as libvirt has them, change places (CBS-10).
swap_threads() {
	local i tids t at=(x y)
	mkdir -p "$vm/x" "$vm/y"
	echo threaded >"$vm/x/cgroup.type"
	echo threaded >"$vm/y/cgroup.type"
	enter "$vm"
	mapfile -t tids <"$vm/cgroup.threads"
	for ((i = 0; i < 100; i++)); do
		for t in "${!tids[@]}"; do echo "${tids[t]}" >"$vm/${at[(i + t) % 2]}/cgroup.threads" || return; done
		sleep 0.01
	done
	wait_for 10 runs_on "$vm" 1
}

test_migration() {
	vm_cgroup other 10000 100000 0 >/dev/null
	ktap_check 'LIFE-4: a VM moves between two reservations and the host 300 times under load' bounce
	enter "$vm"
	ktap_check 'LIFE-4: it is served where it is' wait_for 10 runs_on "$vm" 1
	ktap_check 'CBS-4: and stays within its cap' share_within 3 20 "$vm" 4
	enter "$host"
	sleep 0.5
	is 'CBS-3: what it left uses nothing' 0 "$(share "$CGROUP/vm/other" 1)"
	ktap_check 'CBS-10: threads change places below the VM 100 times' swap_threads
	ktap_check 'CBS-10: the reservation of the VM holds for both places' share_within 3 20 "$vm" 4
	enter "$host"
	cgroup_remove "$vm/x" "$vm/y" "$CGROUP/vm/other"
	still_enabled 'migration'
}

# Affinity that excludes the reservation's CPU: it runs as the host's, paid from the VM's budget.
test_affinity() {
	local pid=${STANDIN[life]} stray
	enter "$vm"
	stray=$(stat_of "$vm" stray_ns)
	taskset -acp 0 "$pid" >/dev/null
	sleep 2
	ktap_check 'CBS-3: taskset away from its server: it runs, and is counted' at_least $((stray + 1000000)) "$(stat_of "$vm" stray_ns)"
	taskset -acp 0-1 "$pid" >/dev/null
	ktap_check 'LIFE-4: taskset back: its server serves' wait_for 30 runs_on "$vm" 1
	background bash -c 'while :; do taskset -acp $((RANDOM % 2)) $0; taskset -acp 0-1 $0; sleep 0.0$((RANDOM % 3)); done' "$pid"
	sleep 5
	background_stop
	taskset -acp 0-1 "$pid" >/dev/null
	packets lc0 /dev/shm/life
	stray=$(stat_of "$vm" stray_ns)
	echo 0 >"$vm/cpuset.cpus"
	sleep 2
	ktap_check 'CBS-3: cpuset.cpus without its CPU: it runs, and is counted' at_least $((stray + 1000000)) "$(stat_of "$vm" stray_ns)"
	for _ in {1..30}; do
		echo 1 >"$vm/cpuset.cpus"
		sleep 0.03
		echo 0 >"$vm/cpuset.cpus"
		sleep 0.03
	done
	echo 0-1 >"$vm/cpuset.cpus"
	ktap_check 'LIFE-4: cpuset.cpus back: its server serves' wait_for 30 runs_on "$vm" 1
	ktap_check 'CBS-4: and it stays within its cap' share_within 2 20 "$vm" 4
	still_enabled 'affinity'
}

# ask DIR FIFO: waits for the start, then asks for 20 % of CPU 0
ask() { read -r _ <"$2" || true; echo 20000 100000 >"$1/spare.reservation"; }
export -f ask

# Eight at once want 20 % each of the 90 that there are: four get them, whoever is first.
admission_race() {
	local round i got pids gate=$MEASURES/gate
	for round in {1..10}; do
		rm -f "$gate" && mkfifo "$gate"
		pids=()
		for i in {1..8}; do
			bash -c 'ask "$@"' _ "$CGROUP/adm/$i" "$gate" 2>/dev/null &
			pids+=($!)
		done
		sleep 0.3
		: >"$gate"	# all readers see the end of the file
		for i in "${pids[@]}"; do wait "$i" || true; done
		got=$(grep -lx '20000 100000' "$CGROUP"/adm/*/spare.reservation | wc -l)
		((got == 4)) || { echo "round $round: $got of 8 were admitted"; return 1; }
		# One goes; what it held is there again at once.
		i=$(grep -lx '20000 100000' "$CGROUP"/adm/*/spare.reservation | head -n 1)
		rmdir "${i%/*}"
		i=${i%/*}
		echo 20000 100000 >"$CGROUP/adm/$(grep -lx max "$CGROUP"/adm/*/spare.reservation | head -n 1 | sed 's,.*/adm/\([0-9]*\)/.*,\1,')/spare.reservation" ||
			{ echo "round $round: what a removed cgroup held is not free"; return 1; }
		mkdir "$i"
		echo 0 >"$i/spare.cpus"
		for i in {1..8}; do echo max >"$CGROUP/adm/$i/spare.reservation"; done
	done
}

test_admission() {
	local i
	cgroup_remove "$vm" "$pool"
	mkdir "$CGROUP/adm"
	controllers "$CGROUP/adm"
	for i in {1..8}; do
		mkdir "$CGROUP/adm/$i"
		echo 0 >"$CGROUP/adm/$i/spare.cpus"
	done
	ktap_check 'CBS-6: eight concurrent writers, room for four: never more, never fewer; undone by rmdir' admission_race
	find "$CGROUP/adm" -depth -type d -exec rmdir {} +
}

# Processes and threads that live for milliseconds.
fork_storm() {
	echo "$BASHPID" >"$0/cgroup.procs"
	while :; do
		for _ in {1..20}; do /bin/true & done
		wait
	done
}
thread_storm='
import os, sys, threading
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
def work(): sum(range(2000))
while True:
    ts = [threading.Thread(target=work) for _ in range(30)]
    for t in ts: t.start()
    for t in ts: t.join()
'

test_storm() {
	vm_cgroup life 20000 100000 0-1 >/dev/null
	export -f fork_storm
	background bash -c fork_storm "$vm"
	background python3 -c "$thread_storm" "$vm"
	ktap_check 'LIFE-4: processes and threads that live for milliseconds: served' wait_for 20 runs_on "$vm" 1
	sleep 5
	ktap_check 'CBS-4: and within their cap' share_within 10 55 "$vm" 5
	echo 1 >"$vm/cgroup.kill"
	ktap_check 'LIFE-4: killed in the middle, the cgroup goes' wait_for 20 rmdir "$vm"
	background_stop
	still_enabled 'storm'
}

ktap_plan 37
spare_up
seq=$(<$SCX/enable_seq)
mkdir "$host"
ktap_cleanup "cgroup_remove $vm/x $vm/y $vm $CGROUP/vm/other $pool $host"
provider p0 4000 10000 1 >/dev/null
standin life --tap lc0
wait_for 20 tap_is_up lc0
test_removal
test_freeze
test_stops
test_clock
test_migration
test_affinity
enter "$host"
background_stop
test_admission
test_storm
test_dodgers
standin_stop life
cgroup_remove "$host"
ktap_check 'LIFE-4: no slot was lost' slots_free 1
ktap_check 'LIFE-3: the class stops and the module unloads' spare_down
is 'LIFE-4: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
