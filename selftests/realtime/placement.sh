#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 240
#
# placement.sh - who has a reservation and no CPUs gets some from spared; who has a list of his own keeps it.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"

work=$(mktemp -d)
conf=$work/spared.toml
cleanup() {
	echo 1 2>/dev/null >/sys/devices/system/cpu/cpu1/online || true
	cgroup_remove "$CG"/vm/{manual,one,two,large,late,rt} || true
	rm -rf "$work"
}
ktap_cleanup cleanup

cpus() { cat "$CG/vm/$1/spare.cpus"; }
said() { grep -qF -- "$1" "$SPARED_LOG"; }

# unplaced NAME Q P: a cgroup with a reservation and no CPUs
unplaced() {
	mkdir "$CG/vm/$1"
	echo "$2 $3" >"$CG/vm/$1/spare.reservation"
}

# a process with two threads named as QEMU names those of vCPUs
two_vcpus() {
	sparectl run "/vm/$1" -- python3 -c '
import threading, time
def vcpu(n):
    open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").write(f"CPU {n}/KVM")
    while True:
        time.sleep(0.02)
for n in range(2):
    threading.Thread(target=vcpu, args=(n,)).start()' &
	disown
}

restart() {
	kill -KILL "$SPARED_PID"
	wait "$SPARED_PID" 2>/dev/null || true
	spare_up -c "$conf"
}

test_place() {
	tree_dir vm
	vm_cgroup manual 30000 100000 1 >/dev/null
	unplaced one 20000 100000
	is 'CBS-6: an unplaced cgroup goes where most room is left' 0 "$(until_is 10 0 cpus one)"
	ktap_check 'CBS-6: the choice is explained' eval "sparectl show /vm/one | grep -E '^placement +by spared: 1 of 1 servers; most room left \\(CPU 0: 90 %' >/dev/null"
	unplaced two 10000 100000
	is 'CBS-6: the next too' 0 "$(until_is 10 0 cpus two)"
	two_vcpus two
	is 'CBS-6: one server for each vCPU, once they are there' 0-1 "$(until_is 20 0-1 cpus two)"
	echo 1 >$CG/vm/one/spare.cpus
	sparectl reload
	is "CBS-6: an operator's list wins" 1 "$(cpus one)"
	ktap_check 'CBS-6: and is not explained as ours' eval "! sparectl show /vm/one | grep ^placement >/dev/null"
	echo >$CG/vm/one/spare.cpus
	is 'CBS-6: an empty list is for spared again' 0 "$(until_is 10 0 cpus one)"
}

strays() { (($(key vm/two/spare.events stray) > stray)); }

# (That a move is done within a second: deterministic/stray.sh.)
test_threads() {
	local pid stray rt
	pid=$(head -n 1 "$CG/vm/two/cgroup.procs")
	taskset -acp 1 "$pid" >/dev/null
	is 'CBS-11: both vCPUs go to CPU 1, and so does the server' 1 "$(until_is 3 1 cpus two)"
	ktap_check 'CBS-11: that is said' said '/vm/two is moved from CPUs 0-1 to CPUs 1: 1 of 1 servers'
	taskset -acp 0 "$pid" >/dev/null
	is 'CBS-11: they go to CPU 0' 0 "$(until_is 3 0 cpus two)"
	taskset -acp 0-1 "$pid" >/dev/null
	is 'CBS-11: they may run everywhere: one server for each again' 0-1 "$(until_is 10 0-1 cpus two)"
	echo 0 >$CG/vm/two/spare.cpus
	stray=$(key vm/two/spare.events stray)
	taskset -acp 1 "$pid" >/dev/null
	ktap_check "CBS-11: beside an operator's list that is a matter for him" wait_for 10 said '/vm/two: no server where these threads may run: '
	is "CBS-11: it stays" 0 "$(cpus two)"
	ktap_check 'CBS-11: sparectl show says so too' eval "sparectl show /vm/two | grep '^threads .*CPU 1/KVM.*spare.cpus was not written by spared' >/dev/null"
	ktap_check 'CBS-11: and the events' wait_for 5 strays
	rt=$(key vm/two/spare.stat rt_ns)
	chrt -f -ap 1 "$pid"
	ktap_check 'CBS-11: real-time threads are named' wait_for 10 said '/vm/two: real-time: '
	ktap_check 'CBS-11: and what they use is counted' at_least $((rt + 1)) "$(key vm/two/spare.stat rt_ns)"
	chrt -o -ap 0 "$pid"
	taskset -acp 0-1 "$pid" >/dev/null
	echo >$CG/vm/two/spare.cpus
	is 'CBS-11: an empty list is for spared again' 0-1 "$(until_is 10 0-1 cpus two)"
	ktap_check 'CBS-11: and nothing is wrong with the threads' wait_for 10 eval '! sparectl show /vm/two | grep "^threads" >/dev/null'
}

test_nothing_fits() {
	unplaced large 80000 100000
	ktap_check 'CBS-6: nothing fits: the fullest CPU, and what would fit' wait_for 10 grep -Eq \
		'/vm/large is not placed: CPU 1 is full: 80ms/100ms asked, at most 50ms/100ms fits beside .*/vm/manual 30 %.*no CPU has room' "$SPARED_LOG"
	is 'CBS-6: it stays unplaced' '' "$(cpus large)"
	ktap_check 'CBS-6: sparectl show says why' eval "sparectl show /vm/large | grep '^placement .*not placed: CPU 1 is full' >/dev/null"
	cgroup_remove $CG/vm/manual
	is 'CBS-6: too little room is no room' '' "$(cpus large)"
	cgroup_remove $CG/vm/two
	is 'CBS-6: once there is room it is placed' 1 "$(until_is 20 1 cpus large)"
}

test_restart_and_hotplug() {
	cgroup_remove $CG/vm/large
	cgroup_remove $CG/vm/one
	vm_cgroup manual 10000 100000 1 >/dev/null
	unplaced late 20000 100000
	is 'CBS-6: placed' 0 "$(until_is 10 0 cpus late)"
	vm_cgroup one 50000 100000 0 >/dev/null
	echo >$CG/vm/late/spare.cpus
	is 'CBS-6: and placed elsewhere' 1 "$(until_is 10 1 cpus late)"
	restart
	ktap_check 'LIFE-1: after kill -9 a list is still known as ours' eval "sparectl show /vm/late | grep '^placement' >/dev/null"
	if [[ ! -w /sys/devices/system/cpu/cpu1/online ]]; then
		ktap_skip 'LIFE-4: a CPU goes: what was placed there moves' 'this machine has no CPU hotplug'
		ktap_skip "LIFE-4: an operator's list does not" 'this machine has no CPU hotplug'
		return
	fi
	echo 0 >/sys/devices/system/cpu/cpu1/online
	is 'LIFE-4: a CPU goes: what was placed there moves' 0 "$(until_is 20 0 cpus late)"
	is "LIFE-4: an operator's list does not" 1 "$(cpus manual)"
	echo 1 >/sys/devices/system/cpu/cpu1/online
}

# What the module counts on a CPU for SCHED_DEADLINE threads, in ppm.
deadline_ppm() { key spare.host "cpu$1.deadline_ppm"; }
hold_deadline() { (($(deadline_ppm 0) > 390000 && $(deadline_ppm 1) > 390000)); }
full_lines() { dmesg | grep -c "/vm/$1: CPU . is full" || true; }

# Two SCHED_DEADLINE threads of 40 %, one on each CPU: 60 % do not fit on CPUs that the files show as empty.
test_deadline() {
	local i burners=()
	cgroup_remove "$CG"/vm/{late,one,manual}
	is 'CBS-6: no deadline thread, nothing held' '0 0' "$(deadline_ppm 0) $(deadline_ppm 1)"
	for i in 0 1; do
		chrt -d -T 40000000 -P 100000000 0 "${BURNER[@]}" &
		burners[i]=$!
		ktap_cleanup "kill -KILL ${burners[i]} 2>/dev/null"
	done
	ktap_check 'CBS-6: deadline threads show in spare.host' wait_for 10 hold_deadline
	unplaced rt 60000 100000
	ktap_check 'CBS-6: who finds no place beside them is told so' wait_for 10 grep -q \
		'/vm/rt is not placed: .* 60ms/100ms asked, at most 50.*ms/100ms fits beside SCHED_DEADLINE threads .*no CPU has room' "$SPARED_LOG"
	ktap_check 'CBS-6: by sparectl show too' eval "sparectl show /vm/rt | grep '^placement .*beside SCHED_DEADLINE threads' >/dev/null"
	is 'CBS-6: the module was not asked in vain' 0 "$(full_lines rt)"
	kill -KILL "${burners[@]}"
	wait "${burners[@]}" 2>/dev/null || true
	is 'CBS-6: they end, and there is room' 0 "$(until_is 20 0 cpus rt)"
}

ktap_plan 35
: >"$conf"
spare_up -c "$conf"
test_place
test_threads
test_nothing_fits
test_restart_and_hotplug
test_deadline
ktap_done
