#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
# CBS-9: two pinned kernel threads that never sleep (pktgen's, one of each of two network namespaces) beside a VM 20/50 that burns and a host task
# that burns at its cpu.max: the VM misses nothing, the kernel threads get on, neither they nor the timer interrupt each other for nothing.
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

# Without a process of its own (the shell goes before everybody then): what the two threads ran, and CPU 0's timer interrupts
look() {
	local pid key value
	RAN=()
	for pid in "${THREADS[@]}"; do
		read -r value _ <"/proc/$pid/schedstat"
		RAN+=("$value")
	done
	read -r VRAN _ <"$VCPU/schedstat"
	while read -r key value _; do [[ $key != LOC: ]] || TICKS=$value; done </proc/interrupts
	while read -r key value; do
		case $key in
		misses) MISSES=$value ;;
		used_ns) USED=$value ;;
		esac
	done <"$near/spare.stat"
	NOW=${EPOCHREALTIME/./}
}

# judge WHAT: $seconds of it
judge() {
	sleep 0.5	# what the shell ran before is not the next period's
	local vran ran ticks misses used now least i
	look
	ran=("${RAN[@]}") ticks=$TICKS misses=$MISSES used=$USED now=$NOW vran=$VRAN
	sleep "$seconds"
	look
	for i in 0 1; do ran[i]=$(((RAN[i] - ran[i]) * 1000 / (NOW - now))); done
	least=$((ran[0] < ran[1] ? ran[0] : ran[1]))
	ticks=$(((TICKS - ticks) * 1000000 / (NOW - now)))
	used=$(((USED - used) * 1000 / (NOW - now)))
	ktap_note "$1: kernel threads ${ran[*]} ppm, the VM $used ppm, $(((VRAN - vran) * 1000 / (NOW - now))) by schedstat, timer interrupts $ticks a second"
	ktap_check "CBS-5: $1: the VM missed nothing" equal "$misses" "$MISSES"
	ktap_check "CBS-4: $1: the VM got its reservation, one period's in $seconds s at most off" near 400000 $((20000 / seconds)) "$used"
	ktap_check "CBS-9: $1: each kernel thread runs" at_least 100000 "$least"
	ktap_check "CBS-9: $1: they do not interrupt each other for nothing" at_most 2000 "$ticks"
}
near() { (($3 >= $1 - $2 && $3 <= $1 + $2)) || { echo "$3 is not $1 +- $2"; return 1; }; }

ktap_plan 9
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
chrt -f -p 60 $$
pktgen one 1
pktgen two 2
sleep 1
mapfile -t THREADS < <(pgrep -x kpktgend_0 | tail -n 2)	# (the first network namespace's sleeps)
VCPU=$(grep -l 'CPU 0/KVM' "/proc/${STANDIN[near]}/task"/*/comm)
VCPU=${VCPU%/comm}
judge "two pinned kernel threads that never sleep"
chrt -o 0 bash -c 'echo 0 >"$0/cgroup.procs"; while :; do :; done' "$limited" &
judge "two that never sleep, and a task at its cpu.max"
ktap_check "CBS-9: the class is not ejected" class_is enabled
chrt -o -p 0 $$
ktap_done
