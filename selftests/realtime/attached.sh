#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# attached.sh - the module while the class runs: it cannot be unloaded, and servers come, change and go under load.
# shellcheck disable=SC2086 # cgroups and devices are named without blanks
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/module.inc.sh"

a=st/a p0=st/pool/p0

cleanup() {
	stop_burning
	tree_remove st
}
burners=()

stop_burning() {
	# A bare wait would wait for spared.
	((${#burners[@]})) || return 0
	kill "${burners[@]}" 2>/dev/null || true
	wait "${burners[@]}" 2>/dev/null || true
	burners=()
}
ktap_cleanup cleanup

# burn CGROUP: compute in it until the test ends
burn() {
	"${ENTER[@]}" "$CG/$1" "${BURNER[@]}" &
	burners+=($!)
}

set_vm() {
	write $1/spare.cpus '\n'
	write $1/spare.reservation "$2"
	write $1/spare.cpus $3
}

used_grows() {
	local before
	before=$(key $a/spare.stat used_ns)
	sleep 0.5
	(($(key $a/spare.stat used_ns) > before))
}

test_unload() {
	is 'LIFE-3: spare.stat says that the class runs' 1 "$(key $a/spare.stat class)"
	is 'LIFE-3: rmmod is refused' 'in use' "$(rmmod sched_spare 2>&1 | grep -o 'in use' || true)"
	is 'LIFE-3: the module is still there' yes "$([[ -d /sys/module/sched_spare ]] && echo yes || echo no)"
}

test_churn() {
	local i
	burn $a
	burn $a
	is 'LIFE-4: a VM is placed under running threads' OK "$(set_vm $a '20000 100000' 1 && echo "$GOT")"
	ktap_check 'CBS-3: threads that ran before are charged' wait_for 10 used_grows
	for i in {1..30}; do
		case $((i % 6)) in
		0) set_vm $a '20000 100000' 1 ;;
		1) write $a/spare.reservation '1000 10000' ;;
		2) write $a/spare.cpus 0-1 ;;
		3) write $a/spare.cpus 0 ;;
		4) write $a/spare.reservation max ;;
		5) write $a/spare.reservation '50000 1000000' ;;
		esac
	done
	set_vm $a '20000 100000' 1
	ktap_check 'LIFE-4: 30 changes of reservation and CPUs later it is served' wait_for 10 used_grows
	for i in {1..20}; do
		mkdir -p $CG/$p0
		set_vm $p0 '4000 10000' 1
		write $p0/spare.provide 1
		write $a/spare.use /$p0
		rmdir $CG/$p0
	done
	is 'LIFE-4: 20 providers removed while used' 20 "$(until_is 5 20 key $a/spare.events provider_lost)"
	is 'LIFE-4: the class runs on' enabled "$(class_state)"
}

# What the class has not given back would keep its slot: 192 slots, 180 smallest reservations.
test_no_leak() {
	local i
	stop_burning
	set_vm $a max 1
	sleep 1
	mkdir $CG/st/n{1..180}
	for i in {1..180}; do
		set_vm st/n$i '500 100000' 1
	done
	is 'LIFE-4: no slot was lost' 180 "$(cat $CG/st/n*/spare.stat | grep -cx 'placed 1')"
	rmdir $CG/st/n{1..180}
	is 'LIFE-4: the class runs on' enabled "$(class_state)"
}

# It goes while one of its files is open.
test_open_file() {
	module_up
	tree_dir st
	mkdir $CG/$a
	exec 9<$CG/$a/spare.stat
	head -c 10 <&9 >/dev/null
	is 'LIFE-3: an open file does not hold the module' OK "$(errno_of "$(rmmod sched_spare 2>&1)")"
	is 'LIFE-3: and has nothing behind it any more' ENODEV "$(errno_of "$(cat <&9 2>&1)")"
	exec 9<&-
	tree_remove st
}

module_up
ktap_plan 14
tree_dir st
tree_dir st/pool
mkdir -p $CG/$a
# shellcheck disable=SC2119 # no options for spared
spare_up
test_unload
test_churn
test_no_leak
cleanup
ktap_check 'LIFE-3: the class stops and the module unloads' spare_down
test_open_file
is 'files: the kernel log has no complaint' '' "$(bad_log)"
ktap_done
