#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: own
# cpus: 2
# cmdline: nohz_full=1
# LIFE-5: a host with a CPU that runs without a tick (nohz_full=): a reservation there is as exact as elsewhere, beside nobody and beside a host task.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

a=$CGROUP/vm/a

# whole SECONDS: the VM's mean use per period of 100 ms is its 20 ms, to 1 %, and that were as many periods, by the class's account
whole() {
	local p0 u0 p1 u1
	read -r p0 u0 _ < <(account_of "$a" 1)
	sleep "$1"
	read -r p1 u1 _ < <(account_of "$a" 1)
	near $((10 * $1)) 1 $((p1 - p0)) && near 20000000 200000 $(((u1 - u0) / (p1 - p0)))
}

ktap_plan 6
ktap_note "nohz_full: $(cat /sys/devices/system/cpu/nohz_full), $(</proc/cmdline)"
ktap_check "HOST: CPU 1 runs without a tick" grep -qx 1 /sys/devices/system/cpu/nohz_full
ktap_check "LIFE-5: the class comes up" spare_up -v
vm_cgroup a 20000 100000 1 >/dev/null
ktap_cleanup "cgroup_remove $a"
standin a --cgroup "$a"
sleep 1
ktap_check "CBS-4: 20 ms of each 100 ms there, to 1 %" whole 5
taskset -c 1 "$TOOLS/spare-burn" &
hog=$!
ktap_cleanup "kill -KILL $hog"
sleep 1
ktap_check "CBS-4: beside a host task, too" whole 5
ktap_check "LIFE-2: the class runs on" class_is enabled
kill -KILL "$hog"
wait "$hog" 2>/dev/null || true
standin_stop a
cgroup_remove "$a"
kill -TERM "$SPARED_PID"
wait "$SPARED_PID" || true
spared --stop || true
gone() { [[ $(cat /sys/module/sched_spare/refcnt) == 0 ]] && rmmod sched_spare; }
before=$SECONDS
ktap_check "LIFE-3: the class ends, and the module goes" wait_for 100 gone
ktap_note "after $((SECONDS - before)) s; uses left: $(cat /sys/module/sched_spare/refcnt 2>/dev/null || echo gone)"
ktap_done
