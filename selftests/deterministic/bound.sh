#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# cpus: 2
# CBS-9: a CPU that becomes idle looks for work in another one's queue. Where a crowd waits that is bound to that CPU it sees so soon: a VM's thread that
# sleeps, which pays for the switch, pays no more for strangers.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/../lib/host.inc.sh"

rounds=20

# sleeps NAME: the least that the VM pays for a shell that sleeps, of 50 times so many rounds, ns each. (The two CPUs take turns on one clock: what the other
# one does in the middle of a round is in it, several times what the round itself takes, or never, as the turns fall.)
sleeps() {
	local used least=0 n
	for ((n = 0; n < 50; n++)); do
		used=$(stat_of "$vm" used_ns)
		(
			echo "$BASHPID" >"$vm/cgroup.procs"
			for ((i = 0; i < rounds; i++)); do read -rt 0.002 -u 9 || true; done
		)
		used=$((($(stat_of "$vm" used_ns) - used) / rounds))
		((least && used >= least)) || least=$used
	done
	ktap_note "$1: it pays $least ns each time it sleeps"
	PAYS[$1]=$least
}

# beside THREADS, bound to CPU 0
beside() {
	taskset -c 0 "$TOOLS/spare-burn" --seconds 1000 "flat=$HOST/flat,$1" >/dev/null &
	burner=$!
	sleep 20
	sleeps "beside.$1"
	kill "$burner"
	wait "$burner" || true
	cgroup_remove "$HOST/flat"
	mkdir "$HOST/flat"
}

declare -A PAYS=()
mkfifo "$MEASURES/silence"
exec 9<>"$MEASURES/silence"
ktap_plan 3
host_tree
ktap_cleanup host_tree_remove
spare_up -v
host_quiet || ktap_note "the host is still busy"
vm=$(vm_cgroup sleeper 40000 100000 1)
ktap_cleanup "cgroup_remove $vm"
beside 1
beside 3000
one=${PAYS[beside.1]} crowd=${PAYS[beside.3000]}
ktap_check 'CBS-3: it pays for its sleeping' at_least 1000 "$one"
ktap_check 'CBS-9: beside 3000 bound threads no more than twice as much' at_most $((2 * one)) "$crowd"
ktap_check 'CBS-9: the class runs' class_is enabled
ktap_done
