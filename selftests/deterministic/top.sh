#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 600
# What sparectl top costs, in instructions (2 ns each, so that CPU time counts them). The bounds are for a CPU that does 10^9 a second: 1 % of it for a
# look a second at 100 VMs, ten times that for 1000, and 0.3 s to the first screen with 100, twice that with 1000.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

made=0
# cgroups N: VMs with a reservation, as many as fit on a CPU
cgroups() {
	local i dirs=()
	for ((i = made; i < $1; i++)); do dirs[i]=$CGROUP/top/vm$i; done
	mkdir "${dirs[@]}"
	for ((; made < $1; made++)); do
		echo 500 100000 >"${dirs[made]}/spare.reservation"
		((made >= 150)) || echo 0 >"${dirs[made]}/spare.cpus"
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

# costs VMS LOOK FIRST: bounds in million instructions
costs() {
	local each first
	cgroups "$1"
	host_quiet || ktap_note "the host is still busy"
	each=$(look)
	first=$(($(instructions 1) - each))
	ktap_note "$1 VMs: a look $each thousand instructions, to the first screen $first thousand"
	ktap_check "top: a look at $1 VMs takes at most $2 million instructions" at_most "${2}000" "$each"
	ktap_check "top: the first screen at most $3 million" at_most "${3}000" "$first"
}

has_vms() { (($(wc -l <"$MEASURES/out") == $1)); }

ktap_plan 5
ktap_cleanup "find $CGROUP/top -depth -type d -exec rmdir {} + 2>/dev/null"
mkdir "$CGROUP/top"
spare_up
controllers "$CGROUP/top"
kill -STOP "$SPARED_PID"
ktap_cleanup "kill -CONT $SPARED_PID"
costs 100 10 300
costs 1000 100 600
ktap_check 'top: (all of them are in it)' has_vms 1001
ktap_done
