#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# cpus: 2
# CBS-11: a VM of 20/100 ms on CPU 1 whose threads may run on CPU 0 alone, or partly: together they get their reservation and not more,
# beside burning host tasks and on an idle CPU. By the threads' own schedstat, over 200 periods. (Under -icount two CPUs take turns on one clock,
# so an end of budget may be seen some ms late; it is carried.)
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

q=20000 p=100000 seconds=${SPARE_SECONDS:-20}
vm=$CGROUP/vm/stray

# of all its threads, ns
used() { cat "/proc/${STANDIN[stray]}"/task/*/schedstat | awk '{ sum += $1 } END { printf "%d", sum }'; }

# got WHAT LOW_PPM: the VM's CPU in parts per million of its reservation: at most 1000 above, at most LOW_PPM below
got() {
	local before start ppm
	sleep 2
	before=$(used) start=$(date +%s%N)
	sleep "$seconds"
	ppm=$((($(used) - before) * 1000000 / (($(date +%s%N) - start) * q / p) - 1000000))
	ktap_note "$1: $ppm ppm from the reservation"
	ktap_check "CBS-11: $1: at most the reservation" at_most_over 1000 "$ppm"
	ktap_check "CBS-11: $1: at least 1 - $2 ppm of it" at_least $((-$2)) "$ppm"
}
at_most_over() { (($2 <= $1)) || { echo "$2 ppm is more than $1"; return 1; }; }

# begin THREADS
begin() {
	standin stray --cgroup "$vm" --vcpus "$1"
	sleep 0.5
	taskset -acp 0 "${STANDIN[stray]}" >/dev/null
}

burner() {
	taskset -c 0 bash -c 'while :; do :; done' &
	BURNERS+=($!)
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

ktap_plan 12
ktap_check 'HOST: two CPUs' equal 2 "$(nproc)"
spare_up -v
host_quiet || ktap_note 'the host is still busy'
vm_cgroup stray $q $p 1 >/dev/null
ktap_cleanup "cgroup_remove $vm"
begin 1
got 'one stray on an idle CPU' 10000
burner
got 'one stray beside a host burner' 10000
burners_stop
standin_stop stray
begin 3
got 'three strays on an idle CPU' 10000
burner
burner
got 'three strays beside two host burners' 10000
burners_stop
# One of them may run on the VM's own CPU.
threads=("/proc/${STANDIN[stray]}/task"/*)
taskset -cp 1 "${threads[-1]##*/}" >/dev/null
got 'two strays and a thread at home' 10000
standin_stop stray
ktap_check 'CBS-11: the class still runs' class_is enabled
ktap_done
