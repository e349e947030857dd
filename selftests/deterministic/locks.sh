#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
# CBS-4: what a VM's end of budget costs the host when the VM's thread is in the kernel then, with a lock that the host wants, beside what cpu.max costs
# it without the class, in one boot.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

ktap_plan 6
controllers
shared=$(mktemp -d)
ktap_cleanup "rm -rf $shared"
modprobe dummy numdummies=0
ip link add spdum0 type dummy
ktap_cleanup "ip link delete spdum0"

# waits NAME CGROUP
waits() {
	measure "$1.dir" spare-contend --cgroup "$2" --dir "$shared" --seconds 10
	measure "$1.rtnl" spare-contend --cgroup "$2" --device spdum0 --seconds 10
	ktap_note "$1: a directory's lock: $(tr '\n' ' ' <"$MEASURES/$1.dir")"
	ktap_note "$1: RTNL: $(tr '\n' ' ' <"$MEASURES/$1.rtnl")"
}

spare_up -v
host_quiet || ktap_note "the host is still busy"
vm=$(vm_cgroup a 20000 100000 0)
ktap_cleanup "cgroup_remove $vm"
waits ours "$vm"
spare_down
cgroup_remove "$vm"
mkdir "$vm"
echo '20000 100000' >"$vm/cpu.max"
waits eevdf "$vm"
for lock in dir rtnl; do
	ktap_check "CBS-4: $lock: the host waits at most twice as long as without the class (p99)" \
		at_most $((2 * $(result "$MEASURES/eevdf.$lock" wait_p99_ns))) "$(result "$MEASURES/ours.$lock" wait_p99_ns)"
	ktap_check "CBS-4: $lock: and at worst" \
		at_most $((2 * $(result "$MEASURES/eevdf.$lock" wait_max_ns))) "$(result "$MEASURES/ours.$lock" wait_max_ns)"
	# Who is put aside by the beginning of a period of the VM's waits for no lock; it is one of the host's turns at most.
	ktap_check "CBS-4: $lock: no more of them were put aside than periods began" at_most 101 "$(result "$MEASURES/ours.$lock" preempted)"
done
ktap_done
