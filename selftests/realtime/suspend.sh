#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# suspend.sh - the machine sleeps (S3) and wakes while VMs run (LIFE-4): the class stays, reservations hold, the clock source is what it
# was. Twice, because what the first time leaves behind would show in the second. It is Debian's kernel without CONFIG_PM_TEST_SUSPEND,
# so it really sleeps, and the real-time clock wakes it. Suspend to idle is not tried: nothing in the virtual host wakes from that.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/load.inc.sh"

SCX=/sys/kernel/sched_ext
[[ ${SPARE_HOST-} == realtime ]] || ktap_skip_all 'only the virtual host is put to sleep'
[[ -e /dev/rtc0 && $(</sys/power/state) == *mem* ]] || ktap_skip_all 'this machine cannot suspend to memory and wake by itself'

suspended() {
	local before
	before=$(</sys/power/suspend_stats/success)
	timeout 60 rtcwake -m mem -s 4
	(($(</sys/power/suspend_stats/success) == before + 1))
}

tsc_is_used() { equal tsc "$(</sys/devices/system/clocksource/clocksource0/current_clocksource)"; }

reservations_hold() { shares_within 3 "20 45 $CGROUP/vm/a" "25 60 $CGROUP/vm/c"; }

ktap_plan 8
spare_up
vm_cgroup a 30000 100000 1 >/dev/null
vm_cgroup c 20000 100000 0-1 >/dev/null
ktap_cleanup "cgroup_remove $CGROUP/vm/a $CGROUP/vm/c"
standin a --rest --cgroup "$CGROUP/vm/a"
standin c --rest --cgroup "$CGROUP/vm/c" --vcpus 3
seq=$(<$SCX/enable_seq)
ktap_check 'LIFE-4: before: reservations hold' reservations_hold
for time in first second; do
	ktap_check "LIFE-4: the machine sleeps and wakes, $time time" suspended
	ktap_check "LIFE-4: then reservations hold, $time time" reservations_hold
	ktap_check "SPEED: then the host's clock is the TSC, $time time" tsc_is_used
done
ktap_check 'LIFE-4: the class was not ejected' equal "enabled $seq" "$(class_state) $(<$SCX/enable_seq)"
ktap_done
