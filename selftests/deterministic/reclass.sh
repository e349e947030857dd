#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
# cpus: 2
# CBS-11: a thread of a VM whose class is changed while it runs, from the other CPU or by itself, is not switched. What it runs as a real-time thread is
# counted all the same, and the VM pays.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

a=$CGROUP/vm/a times=20

ktap_plan 8
spare_up -v
host_quiet || ktap_note "the host is still busy"
vm_cgroup a 80000 100000 1 >/dev/null
ktap_cleanup "cgroup_remove $a"
# It starts with a reservation that lets it start quickly.
# shellcheck disable=SC2016 # expands inside
taskset -c 1 bash -c 'echo $$ >"$1/cgroup.procs"; exec "$2"' burner "$a" "$TOOLS/spare-burn" &
burner=$!
ktap_cleanup "kill -KILL $burner 2>/dev/null; wait $burner 2>/dev/null"
sleep 1
echo 40000 100000 >"$a/spare.reservation"
ktap_check 'CBS-11: no real-time thread, nothing counted' equal 0 "$(stat_of "$a" rt_ns)"
used=$(stat_of "$a" used_ns) begin=${EPOCHREALTIME/./}
# For 20 ms of every 200; all of it while it runs, or waits for its budget.
# shellcheck disable=SC2016 # expands inside
changed=$(chrt -f 60 taskset -c 0 bash -c '
	exec {nothing}<> <(:)
	us=0
	for ((i = 0; i < $2; i++)); do
		read -rt 0.18 -u "$nothing" || :
		at=${EPOCHREALTIME/./}
		chrt -f -p 10 "$1"
		read -rt 0.02 -u "$nothing" || :
		chrt -o -p 0 "$1"
		((us += ${EPOCHREALTIME/./} - at))
	done
	echo "$us"' changer "$burner" "$times")
us=$((${EPOCHREALTIME/./} - begin))
counted=$(stat_of "$a" rt_ns) used=$(($(stat_of "$a" used_ns) - used))
ktap_note "for $changed of $us us it was a real-time thread, counted $counted ns; beside that it ran $used ns"
# The ends of these times are those of processes that start and end, some milliseconds each.
ktap_check 'CBS-11: changed to real time while it ran: counted' at_least $((times * 20000 * 1000 * 9 / 10)) "$counted"
ktap_check 'CBS-11: and no more than that' at_least "$counted" $((changed * 1000))
# 40 of 100 ms, half a period more or less at the ends
ktap_check 'CBS-11: all in all it had the reservation' at_most 50000000 $((counted + used - us * 400))

# By itself, for a tenth of its time: billed once, so it has the reservation and no less. (At the window's ends one budget more or less, 4 000 ppm of 10 s.)
kill -KILL "$burner"
wait "$burner" 2>/dev/null || true
counted=$(stat_of "$a" rt_ns)
# The CPUs take turns on one clock: what spared does on the other one, 9 ms each second, passes for the burner too.
kill -STOP "$SPARED_PID"
taskset -c 1 "$TOOLS/spare-burn" --seconds 10 --warm 0.5 --real-time 100,1000 "a=$a,1" >"$MEASURES/self"
kill -CONT "$SPARED_PID"
report "$MEASURES/self" a
counted=$(($(stat_of "$a" rt_ns) - counted))
ktap_check 'CBS-11: changed by itself: counted' at_least $((10500 * 1000 * 38)) "$counted"
ktap_check 'CBS-11: it has no less than the reservation' at_least 395000 "$(result "$MEASURES/self" a.share_ppm)"
ktap_check 'CBS-11: and no more' at_most 405000 "$(result "$MEASURES/self" a.share_ppm)"
ktap_check 'CBS-11: the class still runs' class_is enabled
ktap_done
