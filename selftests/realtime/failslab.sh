#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
#
# failslab.sh - each allocation of the module's, one by one, is refused (CBS-12): the call fails and has changed nothing, or goes well without
# it. And what comes and goes a thousand times leaves no memory behind (kmemleak). On a debug kernel alone.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/module.inc.sh"

FAULTS=/sys/kernel/debug/failslab
LEAKS=/sys/kernel/debug/kmemleak
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
if [[ ! -e /proc/self/fail-nth || ! -d $FAULTS || ! -e $LEAKS ]]; then
	[[ $KTAP_SLOW ]] || ktap_skip_all "no failslab and kmemleak in this kernel (--kernel debug has them)"
	ktap_plan 1
	ktap_fail "HOST: the debug kernel has failslab and kmemleak"
	ktap_done
fi

loads=${SPARE_LOADS:-1000} cgroups=${SPARE_CGROUPS:-10000}
fail_nth=$here/../lib/fail_nth.py
vm=$CG/vm/fail

# (By default only allocations that may not sleep are refused, and each is logged with its stack.)
refuse() {
	echo N >"$FAULTS/ignore-gfp-wait"
	echo 0 >"$FAULTS/verbose"
}

# within require|reject FUNCTION: what that function of the kernel's asks for, alone, or but for that, is refused
within() {
	local range
	range=$(sort /proc/kallsyms | awk -v f="$2" 'begin { print begin, $1; begin = "" } $3 == f { begin = $1 }')
	[[ $range == *' '* ]] || { echo "# there is no $2"; return 1; }
	echo "0x${range% *}" >"$FAULTS/$1-start"
	echo "0x${range#* }" >"$FAULTS/$1-end"
}

# Anywhere.
anywhere() {
	echo 0 | tee "$FAULTS"/reject-{start,end} "$FAULTS/require-start" >/dev/null
	echo 0xffffffffffffffff >"$FAULTS/require-end"
}

# each NAME COMMAND...
each() {
	local name=$1 out
	shift
	if out=$(python3 "$fail_nth" "$@" 2>&1); then
		ktap_note "$name: $out"
		ktap_ok "CBS-12: $name: whatever memory is refused, it fails and changes nothing, or it is done"
	else
		ktap_fail "CBS-12: $name: whatever memory is refused, it fails and changes nothing, or it is done" "$out"
	fi
}

test_files() {
	each 'mkdir' mkdir "$vm"
	mkdir "$vm"
	provider p0 4000 10000 1 >/dev/null
	ip tuntap add fail0 mode tap
	each 'spare.reservation' write "$vm/spare.reservation" '10000 100000' max
	each 'spare.cpus' write "$vm/spare.cpus" 0 $'\n'
	echo '10000 100000' >"$vm/spare.reservation"
	each 'spare.cpus of a reservation' write "$vm/spare.cpus" 0-1 $'\n'
	echo 0-1 >"$vm/spare.cpus"
	each 'another reservation' write "$vm/spare.reservation" '20000 100000' '10000 100000'
	each 'spare.provide' write "$vm/spare.provide" 1 0
	each 'spare.use' write "$vm/spare.use" /pool/p0 none
	each 'spare.netdev' write "$vm/spare.netdev" fail0 none
	each 'spare.policy' write "$vm/spare.policy" grant_us=3000 grant_us=2000
	echo /pool/p0 >"$vm/spare.use"
	echo fail0 >"$vm/spare.netdev"
	for file in "$vm"/spare.*; do [[ ! -r $file ]] || each "${file##*/} is read" read "$file"; done
	ktap_check 'CBS-12: and the log says what ran out' eval 'dmesg | grep "/vm/fail/spare.cpus: no memory for servers" >/dev/null'
	ip link del fail0
	cgroup_remove "$vm" "$CG/pool/p0"
}

# leaks PATTERN COMMAND...: what kmemleak finds after it, of ours by that (the frames of a module that has gone have no names)
leaks() {
	local pattern=$1 found
	shift
	echo clear >"$LEAKS"
	"$@" || return
	sleep 6	# younger objects do not count
	{ echo scan && echo scan; } >"$LEAKS" || { echo "kmemleak has switched itself off"; return 1; }
	found=$(grep -A 20 -m 3 -E "$pattern" "$LEAKS" || true)
	echo "$found"
	[[ -z $found ]]
}

load_rounds() {
	local i
	for ((i = 0; i < loads; i++)); do insmod "$KO" && rmmod sched_spare || return; done
}

cgroup_rounds() {
	local i
	for ((i = 0; i < cgroups; i++)); do
		mkdir "$vm" && echo '10000 100000' >"$vm/spare.reservation" && echo $((i % 2)) >"$vm/spare.cpus" && rmdir "$vm" || return
	done
}

ktap_plan 22
refuse
# By the module's own beginning. (Where files cannot be added, the kernel warns. The module then refuses to load.)
within require do_one_initcall
within reject cgroup_add_cftypes
each 'insmod' insmod "$KO"
anywhere
module_up
tree_dir vm
tree_dir pool
test_files
ktap_check "LIFE-3: $cgroups cgroups with a reservation come and go, and leave no memory behind" leaks '\[sched_spare\]' cgroup_rounds
rmmod sched_spare
ktap_check "LIFE-3: the module comes and goes $loads times, and leaves no memory behind" leaks 'comm "(insmod|rmmod)"' load_rounds
is 'LIFE-8: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
