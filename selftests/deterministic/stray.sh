#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# cpus: 3
# CBS-11: a VM whose threads may run on CPU 0 alone, or partly, although its servers are elsewhere: together they get its reservation
# and not more, beside burning host tasks and on an idle CPU. By the threads' own schedstat, between two instants at which the budget is
# spent: then what they have used since is that of whole periods. (Under -icount the CPUs take turns on one clock: what happens while it
# is another's turn is seen when that ends, in the worst case 5 ms late; it is carried. A thread at home, after which its CPU goes idle, counts by
# the class's account: DESIGN, "The rq clock".)
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

q=20000 p=100000 seconds=${SPARE_SECONDS:-10} rest=0.03
vm=$CGROUP/vm/stray
HOME=

# Sets USED, ns of all its threads. HOME: its thread that has a server.
look() {
	local task ns
	read_stat "$vm" used_ns
	USED=$STAT
	for task in "/proc/${STANDIN[stray]}/task"/*; do
		[[ $task != "$HOME" ]] || continue
		read -r ns _ <"$task/schedstat"
		((USED += ns)) || true
	done
}

# Sets USED, and AT, us, once none of them has run for $rest s.
at_rest() {
	local last=-1
	while sleep $rest; look; ((USED != last)); do last=$USED; done
	AT=${EPOCHREALTIME/./}
}

# Until there is a budget again.
period_begins() {
	local used
	at_rest
	used=$USED
	while ((USED == used)); do sleep 0.002; look; done
}

# got WHAT SERVERS [LATE_US]: in $seconds the VM gets what SERVERS of its servers have, to 0.1 %; the last end of budget is seen LATE_US late
got() {
	local used at ppm periods
	sleep 1
	at_rest
	used=$USED at=$AT
	sleep "$seconds"
	at_rest
	periods=$(((AT - at + p / 2) / p))
	ppm=$(((USED - used) * 1000 / (q * periods * $2) - 1000000))
	ktap_note "$1: in $periods periods $ppm ppm from the reservation"
	ktap_check "CBS-11: $1: the reservation to 1000 ppm" at_most $((1000 + ${3-0} * 1000000 / (q * periods))) "$ppm"
}

# begin THREADS: all of them on CPU 0
begin() {
	standin stray --cgroup "$vm" --vcpus "$1"
	sleep 0.5
	taskset -acp 0 "${STANDIN[stray]}" >/dev/null
}

burners() {
	local i
	for ((i = 0; i < $1; i++)); do
		taskset -c 0 "$TOOLS/spare-burn" &
		BURNERS+=($!)
	done
}
BURNERS=()
burners_stop() {
	local pid
	for pid in "${BURNERS[@]-}"; do
		[[ -z $pid ]] || { kill -KILL "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
	done
	BURNERS=()
}
ktap_cleanup burners_stop

ktap_plan 14
ktap_check 'HOST: three CPUs' equal 3 "$(nproc)"
spare_up -v
host_quiet || ktap_note 'the host is still busy'
vm_cgroup stray $q $p 1 >/dev/null
ktap_cleanup "cgroup_remove $vm"
begin 1
got 'one stray on an idle CPU' 1
burners 1
got 'one stray beside a host burner' 1
burners_stop
standin_stop stray
begin 3
got 'three strays on an idle CPU' 1
burners 2
got 'three strays beside two host burners' 1
burners_stop
# One of them may run on the VM's own CPU.
threads=("/proc/${STANDIN[stray]}/task"/*)
HOME=${threads[-1]}
taskset -cp 1 "${HOME##*/}" >/dev/null
# What is seen late at the ends weighs less in a longer time.
seconds=$((2 * seconds)) got 'two strays and a thread at home' 1 5000
taskset -cp 0 "${HOME##*/}" >/dev/null
HOME=
# The other's periods begin 30 ms after its own, when that budget is spent.
period_begins
sleep 0.028
echo 1-2 >"$vm/spare.cpus"
rest=0.012 got 'three strays of a VM with two servers' 2
# With no server left the mirror in cpu.max holds, which spared wrote.
echo 1 >"$vm/spare.cpus"
wait_for 10 grep -q '^20000 100000$' "$vm/cpu.max"
echo 0 >/sys/devices/system/cpu/cpu1/online
got "a VM whose only CPU is offline" 1 5000
echo 1 >/sys/devices/system/cpu/cpu1/online
standin_stop stray

# Servers that spared has placed follow the threads within a second: those of strays, and one that no thread can use any more.
free=$CGROUP/vm/free
cpus_are() { [[ $(<"$free/spare.cpus") == "$1" ]]; }
# follows NAME CPUS [BY]: BY CPUS sets where they may run
follows() {
	local from=${EPOCHREALTIME/./}
	"${3-affinity}" "$2"
	wait_for 20 cpus_are "$2" || true
	ktap_check "CBS-11: $1: the servers are on CPUs $2 in less than a second" at_most 1000000 $((${EPOCHREALTIME/./} - from))
}
affinity() { taskset -acp "$1" "${STANDIN[free]}" >/dev/null; }
cpuset() { echo "$1" >"$free/cpuset.cpus"; }
mkdir "$free"
ktap_cleanup "cgroup_remove $free"
echo 20000 100000 >"$free/spare.reservation"
standin free --cgroup "$free" --vcpus 2
wait_for 20 cpus_are 0,2
follows 'both vCPUs may run on a third CPU alone' 1
follows 'they may run on another one, too' 1-2
follows 'and on that one alone' 2
affinity 0-2
follows 'the cpuset of the VM is a third CPU alone' 1 cpuset
follows 'and then the other two' 0,2 cpuset
ktap_check 'CBS-11: the class still runs' class_is enabled
ktap_done
