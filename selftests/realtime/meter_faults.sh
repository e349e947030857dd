#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
#
# meter_faults.sh - what may happen to the meter: steps of the clock, VMs that come and go by the hundred, taps that are renamed and moved, a table that is
# full, a kernel without one of the points where it looks. The bill of who stays is right, and all adds up.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/meter.inc.sh"

b=$CGROUP/vm/b
cleanup() {
	cgroup_remove "$b"
	find "$CGROUP/vm/crowd" -depth -type d -exec rmdir {} + 2>/dev/null || true
	ip netns del elsewhere 2>/dev/null || true
}
ktap_cleanup cleanup

ticks() { awk '{ print $14 + $15 }' "/proc/$SPARED_PID/stat"; }
known() { bpftool -j map dump pinned "$PINS/map_processes" | python3 -c 'import json, sys; print(len(json.load(sys.stdin)))'; }
few_known() { (($(known) <= 2)); }
newest() { of "$1" 'max(v["id"] for v in bill["vms"])'; }
sees_kvm() { bpftool prog list | grep -q ' name meter_guest_ent'; }
crowd() { timeout 25 python3 "$here/vm_crowd.py" "$@" >"$MEASURES/crowd" 2>&1 || true; }

# Processes that there are not, as many as there may be.
fill_processes() {
	local i hex
	for ((i = 0; i < 4096; i++)); do
		printf -v hex '%02x %02x 60 00' $((i & 255)) $((i >> 8))
		echo "map update pinned $PINS/map_processes key hex $hex value hex 00 00 00 00"
	done >"$MEASURES/batch"
	bpftool batch file "$MEASURES/batch" >"$MEASURES/batch.out" 2>&1 || true
	(($(known) >= 4090))
}

# A kernel that has no function of this name, as far as its type information says.
without_function() {
	local name=$1
	shift
	python3 -c 'import sys
data, name = open("/sys/kernel/btf/vmlinux", "rb").read(), sys.argv[1].encode()
assert b"\0" + name + b"\0" in data
open(sys.argv[2], "wb").write(data.replace(b"\0" + name + b"\0", b"\0x" + name[1:] + b"\0"))' "$name" "$MEASURES/btf"
	unshare -m sh -c "mount --bind $MEASURES/btf /sys/kernel/btf/vmlinux && exec \"\$@\"" - "$@"
}

[[ -d /sys/module/sched_spare ]] && ktap_skip_all "the module is loaded already"
insmod "$SPARE_LIB/sched_spare.ko"
ktap_plan 19
meter_config true
meter_spared
vm_cgroup b 40000 100000 1 >/dev/null
standin b --rest --cgroup "$b" --tap spare0
ktap_check "ACC-4: a VM that stays" wait_for 20 has_vm /vm/b

now=$(date +%s)
total stepped
date -s "@$((now + 86400))" >/dev/null
sleep 2
total later
date -s "@$((now + 3))" >/dev/null
ktap_check "ACC-1: a day's step of the clock is none of the meter's time" at_most 20000000000 $(($(of later elapsed) - $(of stepped elapsed)))
ktap_check "ACC-1: and all adds up" exact later

ktap_check "ACC-4: its tap is known" wait_for 10 grep -q '"name":"spare0"' "$TABLE"
ip link set spare0 down
ip link set spare0 name spare1
ktap_check "ACC-4: renamed, it is the VM's still" wait_for 10 grep -q '"name":"spare1"' "$TABLE"
ip netns add elsewhere
here_netns=$(grep -o '"netns":[0-9]*' "$TABLE")
ip link set spare1 netns elsewhere
ktap_check "ACC-4: and in another namespace" wait_for 10 eval 'grep -q "\"name\":\"spare1\"" "$TABLE" && ! grep -qF "$here_netns" "$TABLE"'

if [[ -c /dev/kvm ]] || modprobe kvm_amd 2>/dev/null || modprobe kvm_intel 2>/dev/null; then
	mkdir -p "$CGROUP/vm/crowd"
	wait_for 30 sees_kvm || true
	total quiet
	use=$(used "$b") spent=$(ticks) from=$(newest quiet) took=$SECONDS
	crowd 5 100
	took=$((SECONDS - took)) spent=$(($(ticks) - spent)) use=$(($(used "$b") - use))
	total crowd_ended
	had=$(($(of crowd_ended "ns(vm('/vm/b'))") - $(of quiet "ns(vm('/vm/b'))")))
	ktap_note "$(cat "$MEASURES/crowd"); spared took $spent ticks of $took s for it; b had $had ns by the meter, $use by its server; $(($(newest crowd_ended) - from)) were found"
	ktap_check "LIFE-4: VMs come and go, up to a hundred times a second" grep -q ' VMs in ' "$MEASURES/crowd"
	ktap_check "LIFE-4: all adds up" exact crowd_ended
	ktap_check "LIFE-4: who stays is billed what he had" near "$use" $((use / 20 + 40000000)) "$had"
	ktap_check "LIFE-4: spared works for it less than half of the time" at_most $(((took + 1) * 50)) "$spent"
	ktap_check "LIFE-4: they were found" at_least 20 $(($(newest crowd_ended) - from))
	ktap_check "LIFE-4: and forgotten" wait_for 20 few_known
	ktap_check "LIFE-4: what they had is in the row of those that are gone" wait_for 20 eval 'total gone && at_least 1000000 "$(of gone "bill[\"gone_ns\"]")"'

	ktap_check "LIFE-5: a table of processes that is full" fill_processes
	crowd 2 5 5 # (so long that each is there still when it is looked at)
	ktap_check "LIFE-5: is said" wait_for 10 said 'the meter can know no more processes of VMs'
	total full
	ktap_check "LIFE-5: and the rest adds up" exact full
	meter_killed
	meter_spared || true
	ktap_check "LIFE-5: the next spared finds it filled with nobody's, and empties it" wait_for 10 few_known
else
	for what in "come and go" "adds up" "who stays" "work" "found" "forgotten" "gone" "full" "said" "rest" "emptied"; do ktap_skip "LIFE-4: many VMs: $what" "no KVM"; done
fi

without_function arp_rcv spared --meter --json --count 2 >"$MEASURES/without" 2>"$MEASURES/without.err" || true
ktap_check "LIFE-5: a kernel without a function where it looks: what is not in the bill is said" grep -q "not in the bill: the host's own ARP packets.*function arp_rcv: this kernel has none" "$MEASURES/without.err"
ktap_check "LIFE-5: and the rest is there" eval 'grep -q "\"missing\":\[{\"point\":\"function arp_rcv\"" "$MEASURES/without" && ! grep -o "\"error_ns\":[-0-9]*,\"steady\":true" "$MEASURES/without" | grep -v ":0,"'
standin_stop b
ktap_done
