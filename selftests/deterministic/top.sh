#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: own
# limit: 600
# What sparectl top costs, in instructions (2 ns each, so that CPU time counts them). The bounds are for a CPU that does 10^9 a second: 1 % of it for a
# look a second at 100 VMs, ten times that for 1000, and 0.3 s to the first screen with 100, twice that with 1000.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

# cgroups N: VMs with a reservation, as many as fit on a CPU
cgroups() {
	local i dir
	for ((i = $(find "$CGROUP/top" -mindepth 1 -maxdepth 1 -type d | wc -l); i < $1; i++)); do
		dir=$CGROUP/top/vm$i
		mkdir "$dir"
		echo 500 100000 >"$dir/spare.reservation"
		((i >= 150)) || echo 0 >"$dir/spare.cpus"
	done
}

# instructions LOOKS: of the tool for so many and the one before, in thousands
instructions() {
	local TIMEFORMAT='%3U %3S' user system
	read -r user system < <({ time sparectl top -b --csv -n "$1" -d 0.1 >"$MEASURES/out"; } 2>&1)
	echo $(((10#${user/./} + 10#${system/./}) * 500))
}

# look: of one. (Now and then it looks for VMs that have come, which rests in proportion.)
look() {
	local few many
	few=$(instructions 1)
	many=$(instructions 21)
	echo $(((many - few) / 20))
}

has_vms() { (($(wc -l <"$MEASURES/out") == $1)); }

ktap_plan 5
ktap_cleanup "find $CGROUP/top -depth -type d -exec rmdir {} + 2>/dev/null"
mkdir "$CGROUP/top"
spare_up
controllers "$CGROUP/top"
kill -STOP "$SPARED_PID"
ktap_cleanup "kill -CONT $SPARED_PID"
cgroups 100
host_quiet || ktap_note "the host is still busy"
hundred=$(look)
ktap_note "a look at 100 VMs: $hundred thousand instructions"
ktap_check 'top: a look at 100 VMs takes at most 10 million instructions' at_most 10000 "$hundred"
first=$(($(instructions 1) - hundred))
ktap_note "to the first screen with 100 VMs: $first thousand instructions"
ktap_check 'top: the first screen with 100 VMs takes at most 300 million' at_most 300000 "$first"
cgroups 1000
host_quiet || ktap_note "the host is still busy"
thousand=$(look)
ktap_note "a look at 1000 VMs: $thousand thousand instructions"
ktap_check 'top: one at 1000 VMs ten times as much' at_most 100000 "$thousand"
first=$(($(instructions 1) - thousand))
ktap_note "to the first screen with 1000 VMs: $first thousand instructions"
ktap_check 'top: with 1000 VMs at most 600 million' at_most 600000 "$first"
ktap_check 'top: (all of them are in it)' has_vms 1001
ktap_done
