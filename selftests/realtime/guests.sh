#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# beside
#
# Rounds of starting and stopping nested guests while the class runs and the host is busy. A known report
# (sched-ext/scx issue 3687) has another sched_ext class hanging a 7.1 host when a guest boots.
#
# Rounds alternate: one vCPU with spare bandwidth, and two vCPUs on CPUs 0-1, both until they answer pings while they burn;
# and a guest that is killed with SIGKILL in the middle of its boot. The host load is hackbench and a fork loop on both CPUs.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"

rounds=${SPARE_ROUNDS:-3}
tap=spare_gr
load_pids=()
qemu=

[[ -c /dev/kvm ]] || ktap_skip_all "no /dev/kvm"
command -v qemu-system-x86_64 >/dev/null || ktap_skip_all "no qemu-system-x86_64"

host_load() {
	# A group per load, so that it can be ended with its children.
	setsid bash -c 'while :; do hackbench -g 1 -f 2 -l 50 >/dev/null 2>&1; sleep 0.3; done' &
	load_pids+=($!)
	setsid bash -c 'while :; do /bin/true; sleep 0.01; done' &
	load_pids+=($!)
}

end_load() {
	local pid
	for pid in "${load_pids[@]}"; do
		kill -KILL -- "-$pid" 2>/dev/null || true
	done
	load_pids=()
}

end_guest() {
	if [[ -n $qemu ]]; then
		kill "-${1:-TERM}" "$qemu" 2>/dev/null || true
		wait_for 20 bash -c "! kill -0 $qemu" || { kill -KILL "$qemu" 2>/dev/null || true; return 1; }
		wait "$qemu" 2>/dev/null || true
		qemu=
	fi
}

drop_guest() {
	end_guest KILL || true
	ip link del "$tap" 2>/dev/null || true
	cgroup_remove "$CGROUP/vm/g"
}

start_guest() { # CGROUP_DIR ARG...
	local dir=$1
	shift
	"$here/../guest/run.sh" --rest --tap "$tap" --net 72 --cgroup "$dir" "$@" </dev/null >"/tmp/$tap.qemu" 2>&1 &
	qemu=$!
}

guest_says() { grep -qs "$1" "/tmp/$tap.serial"; }
guest_up() { guest_says guest_burn: || ! kill -0 "$qemu" 2>/dev/null; }
answers() { ping -n -q -c 5 -i 0.2 -W 5 198.18.72.2; }

boot_and_ping() { # CGROUP_DIR
	wait_for 120 guest_up || true
	if ! guest_says guest_burn:; then
		cat "/tmp/$tap.serial" "/tmp/$tap.qemu"
		grep -v lat_us "$1/spare.stat"
		echo "the guest did not come up"
		return 1
	fi
	answers || { echo "the guest does not answer"; return 1; }
	end_guest TERM || { echo "QEMU did not end on SIGTERM"; return 1; }
}

# Whether the host is reachable at all: a child must start, run and end in time.
host_lives() { timeout 10 /bin/true; }

round() { # NUMBER
	local dir status=0
	rm -f "/tmp/$tap.serial"
	"$here/../guest/run.sh" --tap "$tap" --net 72 --tap-only
	case $(($1 % 3)) in
	1)
		dir=$(vm_cgroup g 80000 100000 1)
		echo /pool/gp >"$dir/spare.use"
		echo "$tap" >"$dir/spare.netdev"
		start_guest "$dir"
		boot_and_ping "$dir" || status=1
		;;
	2)
		dir=$(vm_cgroup g 80000 100000 0-1)
		echo "$tap" >"$dir/spare.netdev"
		start_guest "$dir" --vcpus 2
		boot_and_ping "$dir" || status=1
		;;
	0)
		dir=$(vm_cgroup g 20000 50000 0-1)
		echo "$tap" >"$dir/spare.netdev"
		start_guest "$dir" --vcpus 2
		wait_for 20 bash -c "(( \$(ls /proc/$qemu/task | wc -l) >= 4 ))" || status=1 # vCPU threads are there
		sleep "1.$1"
		end_guest KILL || { echo "QEMU did not end on SIGKILL"; status=1; }
		;;
	esac
	drop_guest || { echo "the VM's cgroup does not go"; status=1; }
	host_lives || { echo "the host does not run a program in 10 s"; status=1; }
	class_is enabled || { echo "the class is $(class_state)"; status=1; }
	return "$status"
}

event() { awk -v key="$1" '$1 == key { print $2 }' /sys/kernel/sched_ext/root/events; }

never_ejected() {
	echo "state $(class_state), enabled for the ${1}th time at the start, now $(</sys/kernel/sched_ext/enable_seq)"
	[[ $(</sys/kernel/sched_ext/enable_seq) == "$1" ]] || sed 's/^/spared: /' "$SPARED_LOG"
	class_is enabled && [[ $(</sys/kernel/sched_ext/enable_seq) == "$1" ]]
}

no_default_slices() {
	echo "SCX_EV_REFILL_SLICE_DFL $(event SCX_EV_REFILL_SLICE_DFL), at the start $1"
	[[ $(event SCX_EV_REFILL_SLICE_DFL) == "$1" ]]
}

main() {
	local i started seq refills kind=("killed while it boots, two vCPUs" "one vCPU with spare bandwidth" "two vCPUs on two CPUs")
	ktap_plan $((rounds + 2))
	ktap_cleanup drop_guest
	ktap_cleanup end_load
	ktap_cleanup cgroup_remove "$CGROUP/pool/gp"
	modprobe -a kvm_amd tun vhost_net 2>/dev/null || modprobe -a kvm_intel tun vhost_net
	spare_up
	provider gp 1000 10000 1 >/dev/null
	seq=$(</sys/kernel/sched_ext/enable_seq)
	refills=$(event SCX_EV_REFILL_SLICE_DFL)
	host_load
	for ((i = 1; i <= rounds; i++)); do
		started=$SECONDS
		ktap_check "LIFE-4: round $i of $rounds, ${kind[i % 3]}: starts and stops under load" round "$i"
		ktap_note "round $i took $((SECONDS - started)) s"
	done
	end_load
	ktap_check "CBS-7: the class was never ejected" never_ejected "$seq"
	ktap_check "CBS-4: no thread got the kernel's default slice" no_default_slices "$refills"
}

main
ktap_done
