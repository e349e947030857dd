#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
# CBS-6, CBS-9: threads of higher classes go before every reservation. What SCHED_DEADLINE threads hold of a CPU is not admitted
# again; what SCHED_FIFO takes from a VM that is ready shows in stolen_ns, and in the deadlines missed.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

a=$CGROUP/vm/a b=$CGROUP/vm/b

# chrt needs a command; this one burns until it is killed.
burn="exec $TOOLS/spare-burn"

# takes MS COMMAND: a SCHED_DEADLINE thread of so many ms in 100 runs it, as $deadline; fails when the kernel has no more for it.
takes() {
	chrt -d -T "${1}000000" -P 100000000 0 bash -c "$2" 2>/dev/null &
	deadline=$!
	sleep 0.3
	kill -0 "$deadline" 2>/dev/null && return
	wait "$deadline" || return
}
ends() {
	kill -KILL "$1"
	wait "$1" 2>/dev/null || true
}

ask() { echo "$1 100000" >"$a/spare.reservation"; }
# The kernel gives back the bandwidth of a deadline thread that ended at the end of its period.
again() { wait_for 3 ask "$1"; }

# fifo SECONDS: a SCHED_FIFO thread burns that long; what ends it must go before it
fifo() { chrt -f 60 timeout "$1" chrt -f 50 bash -c "$burn" || true; }

still_up() { sleep "$1"; class_is enabled; }

ktap_plan 16
spare_up -v
host_quiet || ktap_note "the host is still busy"
vm_cgroup a 20000 100000 0 >/dev/null
ktap_cleanup "cgroup_remove $a $b"
ktap_check 'CBS-6: with no deadline thread 80 % fit' ask 80000
ask 20000
takes 30 "$burn"
ktap_cleanup "kill -KILL $deadline 2>/dev/null"
sleep 1
ktap_refused 'CBS-6: beside a deadline thread of 30 % 80 % do not fit' 'Device or resource busy' ask 80000
ktap_note "$(dmesg | grep 'is full' | tail -n 1)"
ktap_refused 'CBS-6: nor 61 %' 'Device or resource busy' ask 61000
ktap_check 'CBS-6: 59 % fit' ask 59000
ends "$deadline"
ktap_check 'CBS-6: it ends, and 80 % fit again' again 80000

# All that the kernel gives such threads: of each 100 ms as many as it admits.
fill() {
	for ((full = 95; full > 50; full--)); do
		! takes "$full" "$burn" || return 0
	done
	return 1
}
ask 1000
ktap_check 'CBS-6: deadline threads take all that the kernel gives them' fill
ktap_cleanup "kill -KILL $deadline 2>/dev/null"
ktap_note "that is $full %"
sleep 3
ktap_refused 'CBS-6: beside them 20 % do not fit' 'Device or resource busy' ask 20000
ktap_check 'CBS-7: nor is the class ejected in 35 s' still_up 35

# Module, daemon and class anew. While a class begins the kernel wants 5 % more than before and after: where deadline threads hold all it
# refuses, and spared names them. Most of what they hold is of a thread that waits until the class is there: in a twentieth of a CPU that
# would take minutes.
go=$(mktemp -u)
mkfifo "$go"
ktap_cleanup "rm -f '$go'"
refused_by_name() {
	ends "$deadline"
	spare_down && wait_for 3 takes $((full - 30)) "read -r _ <'$go'; $burn" || return
	sleeper=$deadline
	ktap_cleanup "kill -KILL $sleeper 2>/dev/null"
	takes 30 "$burn" || return
	if spare_up; then
		ktap_note "this kernel does not refuse it"
	else
		grep 'SCHED_DEADLINE threads leave no bandwidth' "$SPARED_LOG"
	fi
}
begins_beside() {
	ends "$deadline"
	spare_down && wait_for 3 takes 24 "$burn" || return
	ktap_cleanup "kill -KILL $deadline 2>/dev/null"
	spare_up || return
	echo 0 >"$a/spare.cpus"
	ask 1000
	kill -0 "$sleeper" && echo >"$go"
}
ktap_check 'LIFE-5: where they hold all, a class is refused by their name' refused_by_name
ktap_check 'LIFE-4: a class begins beside them where there is room' begins_beside
ktap_refused 'CBS-6: to it, too, 20 % are too much' 'Device or resource busy' ask 20000
ktap_check 'CBS-7: nor is that one ejected in 35 s' still_up 35
ends "$deadline"
ends "$sleeper"

# The soft lockup watchdog has the stopper thread, which is of the highest class, run for some us every 4 s.
echo 0 >/proc/sys/kernel/soft_watchdog
again 50000
standin a --cgroup "$a"
sleep 1
before=$(stat_of "$a" stolen_ns) misses=$(stat_of "$a" misses)
sleep 1
ktap_check 'CBS-9: nobody steals: stolen_ns stays' equal "$before" "$(stat_of "$a" stolen_ns)"
fifo 0.9
stolen=$(($(stat_of "$a" stolen_ns) - before))
ktap_note "stolen_ns $stolen by a SCHED_FIFO thread that burnt for 0.9 s, misses $(($(stat_of "$a" misses) - misses))"
# All of it, but for the rest of the period in which the VM had used its budget before, 50 ms at most.
ktap_check 'CBS-9: a SCHED_FIFO hog of 0.9 s shows in stolen_ns' at_least 840000000 $stolen
ktap_check 'CBS-9: not more than it ran' at_least 0 $((950000000 - stolen))
ktap_check 'CBS-9: and in the deadlines missed' at_least 7 $(($(stat_of "$a" misses) - misses))
ktap_done
