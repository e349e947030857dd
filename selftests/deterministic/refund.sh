#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# ACC-2: softirqs on top of a VM's threads are not in its budget. Packets to a device that holds each back for a moment come out of a softirq on top of
# whatever runs then; a VM that burns all the time has its budget to 0.05 % without that time, by a trace and by the class's account.
# ACC-1: the two agree, so what is no softirq's, the host's or idle was charged to a server, once. (But for some 30 ns of each softirq, which two probes see
# one after the other.)
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

reservations=("40000 100000" "4000 10000")
# (Not 4000, of which each period has as many: one that is at a switch would be at every switch, and what the two probes differ by there, 1.5 us, is 600 ppm of 4 ms.)
seconds=5 rate=${SPARE_RATE:-3917}

cleanup() { ip link del out0 2>/dev/null || true; }

ktap_plan $((6 * ${#reservations[@]}))
spare_up -v
ktap_cleanup cleanup
ip link add out0 type veth peer name out1
for dev in out0 out1; do
	echo 1 >"/proc/sys/net/ipv6/conf/$dev/disable_ipv6"
	ip link set "$dev" up
done
tc qdisc replace dev out0 root netem delay 300us
host_quiet || ktap_note "the host is still busy"

for qp in "${reservations[@]}"; do
	read -r q p <<<"$qp"
	name="$((q / 1000))/$((p / 1000)) ms"
	dir=$(vm_cgroup vm "$q" "$p" 0)
	ktap_cleanup "cgroup_remove $dir"
	standin burn --cgroup "$dir"
	wait_for 10 grep -q . "$dir/cgroup.procs"
	sleep 1
	measure refund spare-trace --server "vm=$dir,$q,$p" --seconds "$seconds" --wait 2 --fifo 99 --buffer-mib 128 --stat &
	recorder=$!
	sleep 1
	"$TOOLS/spare-pktgen" --tap out0 --shm /dev/shm/burn --rate "$rate" --seconds $((seconds + 2)) >"$MEASURES/rate" 2>&1 ||
		{ ktap_note "$(<"$MEASURES/rate")"; exit 1; }
	wait "$recorder" || { ktap_note "$(<"$MEASURES/refund.err")"; exit 1; }
	r=$MEASURES/refund
	ktap_note "server vm $q $p"
	report "$r" .
	ktap_note "$(sed 's/^/inject./' "$MEASURES/rate")"
	mean=$(result "$r" vm.mean_ns) by_class=$(result "$r" vm.class.mean_ns)
	ktap_check "ACC-2: $name: nothing was left out of the record, and at least 99 % of the packets came about" \
		at_least 990 $(($(result "$MEASURES/rate" rate.permille) - 1000 * $(result "$r" lost)))
	ktap_check "ACC-2: $name: softirqs ran on top of the VM for at least 2 % of its use" at_least 20000 "$(result "$r" vm.softirq_ppm)"
	ktap_check "ACC-2: $name: mean use per period, without them, within 500 ppm of Q by the trace" at_most 500 "$(result "$r" vm.mean_err_ppm)"
	ktap_check "ACC-2: $name: mean use per period by the class's account within 500 ppm of Q" at_most 500 "$(result "$r" vm.class.mean_err_ppm)"
	ktap_check "ACC-1: $name: trace and account agree within 300 ppm" at_most 300 $(((mean - by_class) * 1000 / q))
	ktap_check "CBS-5: $name: no deadline missed" equal 0 "$(($(result "$r" vm.missed) + $(result "$r" vm.class.misses)))"
	standin_stop burn
	cgroup_remove "$dir"
done
ktap_done
