#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# beside
#
# Rounds of starting and stopping nested guests while the class runs and the host is busy. A known report
# (sched-ext/scx issue 3687) has another sched_ext class hanging a 7.1 host when a guest boots.
#
# Rounds alternate: one vCPU with spare bandwidth, and two vCPUs on CPUs 0-1, both until they answer pings while they burn;
# a guest that is reset again and again while it boots, then stands still as for a migration, in a host whose memory is used up; and one that is
# killed with SIGKILL in the middle of its boot. The host load is hackbench and a fork loop on both CPUs.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"

rounds=${SPARE_ROUNDS:-4}
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
qmp() { "$here/../lib/qmp.py" "/tmp/$tap.qmp" ask "$@"; }

guest_says() { grep -qs "$1" "/tmp/$tap.serial"; }
guest_up() { guest_says guest_burn: || ! kill -0 "$qemu" 2>/dev/null; }
answers() { ping -n -q -c 5 -i 0.2 -W 5 198.18.72.2; }

# A burst of resets while it boots.
resets() {
	wait_for 20 test -S "/tmp/$tap.qmp" || return
	for _ in {1..8}; do
		sleep 0.7
		qmp system_reset >/dev/null || return
	done
	: >"/tmp/$tap.serial"
}

# What a host does to a guest that it sends away, here to nobody: its memory while it runs on, then the rest while it stands still.
migrates() {
	qmp migrate "uri=exec:cat >/dev/null" >/dev/null || return
	wait_for 60 eval 'qmp query-migrate | grep -q "\"completed\""' || { qmp query-migrate; return 1; }
	answers && { echo "it stands still, and answers"; return 1; }
	qmp cont >/dev/null && answers
}

# All memory that is left but 48 MB, for so many seconds: the kernel has to look for more.
use_memory() {
	python3 - "$1" <<-'END'
		import re, sys, time
		left = int(re.search(r"MemAvailable: +(\d+)", open("/proc/meminfo").read())[1]) - 48 * 1024
		held = bytearray(b"x") * (left * 1024)
		time.sleep(float(sys.argv[1]))
	END
}
answers_in_need() {
	local user
	use_memory 6 &
	user=$!
	sleep 2
	answers || return
	wait "$user" || { echo "the memory could not be taken"; return 1; }
}

boot_and_ping() { # CGROUP_DIR [CHECK...]: each of them once the guest is up
	local dir=$1 check
	shift
	wait_for 120 guest_up || true
	if ! guest_says guest_burn:; then
		cat "/tmp/$tap.serial" "/tmp/$tap.qemu"
		grep -v lat_us "$dir/spare.stat"
		echo "the guest did not come up"
		return 1
	fi
	answers || { echo "the guest does not answer"; return 1; }
	for check; do
		"$check" || { echo "not: $check"; return 1; }
	done
	end_guest TERM || { echo "QEMU did not end on SIGTERM"; return 1; }
}

# Whether the host is reachable at all: a child must start, run and end in time.
host_lives() { timeout 10 /bin/true; }

round() { # NUMBER
	local dir status=0
	rm -f "/tmp/$tap.serial"
	"$here/../guest/run.sh" --tap "$tap" --net 72 --tap-only
	case $(($1 % 4)) in
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
	3)
		dir=$(vm_cgroup g 80000 100000 1)
		echo /pool/gp >"$dir/spare.use"
		echo "$tap" >"$dir/spare.netdev"
		start_guest "$dir" -- -qmp "unix:/tmp/$tap.qmp,server=on,wait=off" -action reboot=reset
		resets || { echo "it cannot be reset"; status=1; }
		boot_and_ping "$dir" migrates answers_in_need || status=1
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
	local i started seq refills kind=("killed while it boots, two vCPUs" "one vCPU with spare bandwidth" "two vCPUs on two CPUs"
		"reset while it boots, stands still for a migration, little memory")
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
		ktap_check "LIFE-4: round $i of $rounds, ${kind[i % 4]}: starts and stops under load" round "$i"
		ktap_note "round $i took $((SECONDS - started)) s"
	done
	end_load
	ktap_check "CBS-7: the class was never ejected" never_ejected "$seq"
	ktap_check "CBS-4: no thread got the kernel's default slice" no_default_slices "$refills"
}

main
ktap_done
