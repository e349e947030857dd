#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
# CBS-9: two pinned kernel threads that never sleep (pktgen's, one of each of two network namespaces) beside a VM 20/50 that burns, and host tasks that
# burn, at a cpu.max and without: the VM misses nothing, kernel threads and host tasks get on, the timer does not interrupt them for nothing.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

seconds=8
limited=$CGROUP/limited

# pktgen NETNS NUMBER: its thread of CPU 0 sends to a device that drops everything, without an end
pktgen() {
	ip netns add "$1"
	ktap_cleanup "ip netns delete $1"
	ip -n "$1" link add "spdum$2" type dummy
	ip -n "$1" link set "spdum$2" up
	# shellcheck disable=SC2016 # expands inside
	ip netns exec "$1" bash -c 'cd /proc/net/pktgen
		echo "add_device $0" >kpktgend_0
		for what in "count 0" "delay 0" "pkt_size 60"; do echo "$what" >"$0"; done
		echo start >pgctrl' "spdum$2" &
	ktap_cleanup "pktgen_stop $1 $!"
}
pktgen_stop() {
	ip netns exec "$1" bash -c 'echo stop >/proc/net/pktgen/pgctrl'
	wait "$2" || true
}

# Without a process of its own, and files at once (read_stat() says why): what the VM, the two threads and the host tasks ran, and CPU 0's timer interrupts
look() {
	local pid line lines
	RAN=()
	for pid in "${VCPU}" "${THREADS[@]}"; do
		read -r line _ <"/proc/$pid/schedstat"
		RAN+=("$line")
	done
	mapfile -t lines </proc/interrupts
	for line in "${lines[@]}"; do [[ $line != *LOC:* ]] || read -r _ TICKS _ <<<"$line"; done
	NOW=${EPOCHREALTIME/./}
}

# judge WHAT: $seconds of it. PPM: what each of the threads had
judge() {
	local ran ticks misses now i
	sleep 0.5
	look
	ran=("${RAN[@]}") ticks=$TICKS now=$NOW
	sleep 0.2	# what the look itself has made late is counted when the budget ends
	read_stat "$near" misses
	misses=$STAT
	sleep "$seconds"
	read_stat "$near" misses
	look
	for i in "${!ran[@]}"; do PPM[i]=$(((RAN[i] - ran[i]) * 1000 / (NOW - now))); done
	ticks=$(((TICKS - ticks) * 1000000 / (NOW - now)))
	ktap_note "$1: the VM ${PPM[0]} ppm, kernel threads ${PPM[*]:1:2}, host tasks ${PPM[*]:3}, timer interrupts $ticks a second"
	ktap_check "CBS-5: $1: the VM missed nothing" equal "$misses" "$STAT"
	ktap_check "CBS-4: $1: the VM has its reservation, one period's in $seconds s at most off" near 400000 $((20000 / seconds)) "${PPM[0]}"
	ktap_check "CBS-9: $1: each kernel thread runs" at_least 100000 $((PPM[1] < PPM[2] ? PPM[1] : PPM[2]))
	ktap_check "CBS-9: $1: they do not interrupt each other for nothing" at_most 2000 "$ticks"
}
PPM=()

ktap_plan 18
host_quiet || ktap_note "the host is still busy"
spare_up -v
near=$(vm_cgroup near 20000 50000 0)
ktap_cleanup "cgroup_remove $near"
standin near --cgroup "$near"
mkdir "$limited"
ktap_cleanup "cgroup_remove $limited"
echo '1000 10000' >"$limited/cpu.max"
modprobe -a pktgen dummy
ktap_cleanup 'modprobe -r pktgen'
pktgen one 1
pktgen two 2
sleep 1
chrt -f -p 60 $$	# for looks in one go
mapfile -t THREADS < <(pgrep -x kpktgend_0 | tail -n 2)	# (the first network namespace's sleeps)
VCPU=$(grep -l 'CPU 0/KVM' "/proc/${STANDIN[near]}/task"/*/comm)
VCPU=${VCPU%/comm} VCPU=${VCPU##*/}
judge "kernel threads that never sleep"

chrt -o 0 bash -c 'echo 0 >"$0/cgroup.procs"; exec "$1"' "$limited" "$TOOLS/spare-burn" &
THREADS+=($!)
judge "and a task at its cpu.max, 0.1"
# (It may have 1 ms at once, again after 10; until its turn a slice of each of theirs, which end at a tick, 8 ms, and between them the VM's 20: 46 ms at most.)
ktap_check "CBS-9: it has its turns" at_least $((1000000 / 46)) "${PPM[3]}"
cgroup_remove "$limited"

unset 'THREADS[2]'
chrt -o 0 "$TOOLS/spare-burn" &
THREADS+=($!)
ktap_cleanup "kill $!"
judge "and a host task that burns"
ktap_check "CBS-9: it has a quarter of what the VM leaves" at_least 150000 "${PPM[3]}"

standin_stop near
echo max >"$near/spare.reservation"
burner=/proc/${THREADS[-1]}/schedstat
for delay in 0 2000000; do
	ip netns exec two bash -c 'echo "delay $0" >/proc/net/pktgen/spdum2' "$delay"
	sleep 0.5
	read -r ran _ <"$burner"
	sleep 4
	read -r now _ <"$burner"
	ktap_note "no server on the CPU, the second kernel thread rests for $delay ns: the host task ran $((now - ran)) ns of 4 s"
	ktap_check "CBS-9: no server on the CPU, the second kernel thread rests for $delay ns: the host task has a quarter" at_least 1000000000 $((now - ran))
done

# Who preempts a kernel thread must not count as progress of the host.
ip netns exec two bash -c 'echo "delay 0" >/proc/net/pktgen/spdum2'
taskset -c 0 chrt -f 50 bash -c 'exec {never}<> <(:); while :; do read -rt 0.001 -u "$never" || true; done' &
ktap_cleanup "kill $!"
sleep 0.5
read -r ran _ <"$burner"
read -r _ _ wakes <"/proc/$!/schedstat"
sleep 4
read -r now _ <"$burner"
read -r _ _ woken <"/proc/$!/schedstat"
ktap_note "beside a real-time thread that wakes $(((woken - wakes) / 4)) times a second: the host task ran $((now - ran)) ns of 4 s"
ktap_check "CBS-9: no server on the CPU, and a real-time thread that wakes all the time: the host task has a fifth" at_least 800000000 $((now - ran))
ktap_check "CBS-9: the class is not ejected" class_is enabled
chrt -o -p 0 $$
ktap_done
