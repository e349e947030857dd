#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 900
# GUARD-1, GUARD-2: what network work for a VM may use of CPU is limited, grain milliseconds: 5 % as 250 us of 5 ms, of a VM 40/100 ms behind the real vhost-net.
#
# From the VM: its NIC sends more than that. The vhost worker has the limit and no more in any window of 100 ms, by sched_switch; it goes on in each two
# periods; all that the queue has taken arrives, and nothing is dropped. To the VM: more comes than that; what is too much is dropped at its tap, softirqs and
# vhost together have the limit, and ARP passes. Without a limit the same loads take more.
set -euo pipefail
. "$(dirname "$0")/debt.inc.sh"

vm=$CGROUP/vm/vm peer=$CGROUP/vm/peer mac=02:00:00:00:00:77 sink=02:00:00:00:00:99 q=250 p=5000
network=(--tap spare0 --cgroup "$vm" --peer-cgroup "$peer" --wire out0 --nic out1 --mac "$mac" --wire-mac "$sink")

# nic NAME LOAD: the VM's NIC, and that load. NAME.runs has what the worker ran, a line for each run without the softirqs on top of it: begin and end, in us; SOFTIRQS
# what the network's softirqs took, NET what was charged, both in ns
nic() {
	local pid before c0 n0 c1 n1
	read -r c0 n0 _ < <(softirqs)
	before=$(stat_of "$vm" net_ns || echo 0)
	"$TOOLS/spare-nic" "${network[@]}" --packets 6000 --pause-ms 300 "$2" >"$MEASURES/$1" 2>&1 &
	pid=$!
	debt_tap
	bridge fdb replace "$mac" dev spare0 master static
	echo spare0 >"$vm/spare.netdev"
	wait_for 10 guard_is_there || ktap_note "no program is at its tap: $(<"$SPARED_LOG")"
	traced 1
	wait "$pid" || ktap_note "$1: $(<"$MEASURES/$1")"
	traced 0
	NET=$(($(stat_of "$vm" net_ns || echo 0) - before))
	read -r c1 n1 _ < <(softirqs)
	runs "$1"
	SOFTIRQS=$(<"$MEASURES/$1.softirqs")
	ktap_note "$1: $(grep '^load' "$MEASURES/$1"); by trace: worker $(cpu "$1") ns, softirqs $SOFTIRQS; by the meter its softirqs $((c1 - c0)), the host's network $((n1 - n0)); charged $NET, held $(stat_of "$vm" net_held), dropped $(stat_of "$vm" net_rx_dropped) and $(stat_of "$vm" net_tx_dropped)"
}

# (The kernel's schedstat of a worker is another: it misses what was run since the last tick, sched_spare/DESIGN.md, "The rq clock".)
traced() {
	[[ $1 == 0 ]] || echo >trace
	echo "$1" | tee events/irq/softirq_{entry,exit}/enable >events/sched/sched_switch/enable
}
runs() {
	awk -v out="$MEASURES/$1.runs" '
		/^#/ { next }
		{ for (i = 3; $i !~ /^[0-9.]+:$/; i++); t = $i * 1000000; what = $(i + 1) }
		what == "sched_switch:" { if (runs && t > from) printf "%d %d\n", from, t >out; runs = /next_comm=vhost-/; from = t }
		what == "softirq_entry:" { if (runs && t > from) printf "%d %d\n", from, t >out; began = t }
		what == "softirq_exit:" { if (began) sum += t - began; began = 0; from = t }
		END { printf "%d\n", sum * 1000 }' trace >"$MEASURES/$1.softirqs"
}
into() { echo "$2" >"$1"; }
guards_gone() { ! compgen -G "$pins/guard/*" >/dev/null; }
guard_is_there() { [[ $(<"$vm/spare.net.max") == max || -e $pins/guard/$(</sys/class/net/spare0/ifindex)_tx ]]; }

# field NAME FIELD: of a load's line
field() { sed -n "s/^load.* $2 \([0-9]*\).*/\1/p" "$MEASURES/$1"; }
# Of a series of runs: per mille of the worst window of 100 ms; all of it, in ns
worst() { awk '{ s[NR] = $1; e[NR] = $2; c[NR] = c[NR - 1] + $2 - $1; from = $2 - 100000; for (j = j ? j : 1; e[j] <= from; j++); u = c[NR] - c[j] + e[j] - (s[j] > from ? s[j] : from); if (u > most) most = u } END { printf "%d", most / 100 }' "$MEASURES/$1.runs"; }
cpu() { awk '{ sum += $2 - $1 } END { printf "%d", sum * 1000 }' "$MEASURES/$1.runs"; }
# Of the load, the longest stretch of runs with less than 100 ms between two: how long it lasted, and the longest time between two, in us
stretch() {
	awk '$1 - e > 100000 { from = $1; gap = 0 } e > from && $1 - e > gap { gap = $1 - e } { e = $2; n = e - from } n > most { most = n; longest = gap } END { print most, longest }' "$MEASURES/$1.runs"
}
permille() { awk -v ns="$2" '{ printf "%d", ns / $1 }' <<<"$(stretch "$1")"; }
longest() { awk '{ print $2 }' <<<"$(stretch "$1")"; }

ktap_plan 27
modprobe vhost_net
cd /sys/kernel/tracing
debt_up
vm_cgroup vm 40000 100000 0 >/dev/null
mkdir "$peer"
ktap_cleanup "cgroup_remove $vm $peer"
echo 16384 >buffer_size_kb
echo 'prev_comm ~ "vhost-*" || next_comm ~ "vhost-*"' >events/sched/sched_switch/filter
for event in entry exit; do echo 'vec == 2 || vec == 3' >"events/irq/softirq_$event/filter"; done
ktap_check "GUARD-1: spare.net.max is max at first" equal max "$(<"$vm/spare.net.max")"
for text in 'x=Invalid' '500=Invalid' '500 200000=range' '40 10000=range'; do
	ktap_refused "GUARD-1: '${text%=*}' is refused" "${text#*=}" into "$vm/spare.net.max" "${text%=*}"
done
ktap_check "GUARD-1: and changes nothing" equal max "$(<"$vm/spare.net.max")"
ip link add sink0 type dummy
ktap_cleanup "ip link del sink0"
echo 1 >/proc/sys/net/ipv6/conf/sink0/disable_ipv6
ip link set sink0 master debtbr up
bridge fdb replace "$sink" dev sink0 master static sticky	# (whom the peer sends as, too)
ip link set out0 gso_max_segs 1
host_quiet || ktap_note "the host is still busy"

nic free-rx rx:64:4:5000:udp
nic free-tx tx:1400:8:20000:udp
ktap_check "without a limit its vhost takes twice of it at least" at_least 100 "$(worst free-tx)"
sparectl set /vm/vm --net-max 250us/5ms
ktap_check "GUARD-1: sparectl sets it" equal "$q $p" "$(<"$vm/spare.net.max")"
seen=$(</sys/class/net/sink0/statistics/tx_packets)
nic tx tx:1400:8:20000:udp
# 21 periods of 250 us, a turn of 125, and what the switches and a worker that leaves the kernel late take beside it.
ktap_check "GUARD-1: from the VM: the worst window of 100 ms, per mille" at_most 58 "$(worst tx)"
ktap_check "GUARD-1: and it has what it may have, in the mean" at_least 45 "$(permille tx "$(cpu tx)")"
ktap_check "GUARD-1: of which all is charged" near "$(cpu tx)" $(($(cpu tx) / 50)) "$NET"
ktap_check "GUARD-1: it goes on in any two periods" at_most $((2 * p)) "$(longest tx)"
ktap_check "GUARD-2: nothing that its queue has taken is lost" equal "$(field tx packets)" $(($(</sys/class/net/sink0/statistics/tx_packets) - seen))
ktap_check "GUARD-2: the worker waited for it" at_least 10 "$(stat_of "$vm" net_held)"
ktap_check "GUARD-2: nothing was dropped" equal "0 0" "$(stat_of "$vm" net_rx_dropped) $(stat_of "$vm" net_tx_dropped)"
ktap_check "GUARD-1: that it was limited is an event" at_least 1 "$(awk '$1 == "guarded" { print $2 }' "$vm/spare.events")"
strangers() { for ((i = 2; i < 40; i++)); do echo >"/dev/udp/198.18.90.$i/9" || true; sleep 0.3; done 2>/dev/null; }
ip addr add 198.18.90.1/24 dev out0
strangers &
nic rx rx:64:4:5000:udp
ktap_check "GUARD-1: to the VM: the worker and all softirqs, in the mean, per mille" near 50 4 "$(permille rx $(($(cpu rx) + SOFTIRQS)))"
ktap_check "GUARD-1: of which all is charged" near 50 3 "$(permille rx "$NET")"
ktap_check "GUARD-1: the worker in the worst window of 100 ms" at_most 58 "$(worst rx)"
dropped=$(stat_of "$vm" net_rx_dropped)
ktap_check "GUARD-2: what is too much is dropped at the tap" at_least 500 "$dropped"
ktap_note "rx: $(field rx lost) were lost, $dropped of them dropped at the tap, the others in its ring"
ktap_check "GUARD-2: and the rest arrives" at_least 1000 "$(field rx packets)"
ktap_check "GUARD-2: ARP passes while others are dropped" at_least 1 "$(stat_of "$vm" net_rx_passed)"

# An emulator without a vhost worker, whose tap is served in softirqs (IFF_NAPI): nobody can be held.
sleep 2
"$TOOLS/spare-vhost" --tap spare0 --cgroup "$vm" --napi --seconds 8 --frames 4000 --mac "$sink" >"$MEASURES/napi" 2>&1 &
pid=$!
debt_tap
echo spare0 >"$vm/spare.netdev"
ktap_check "LIFE-1: spared is killed: the programs are there" eval 'wait_for 10 guard_is_there && kill -9 $SPARED_PID && sleep 0.2 && guard_is_there'
spared -v -c "$conf" </dev/null >>"$SPARED_LOG" 2>&1 &
SPARED_PID=$!
wait "$pid" || ktap_note "napi: $(<"$MEASURES/napi")"
ktap_note "napi: of 4000 frames $(stat_of "$vm" net_tx_dropped) were dropped"
ktap_check "GUARD-2: from a VM without vhost what is too much is dropped at the tap" at_least 1000 "$(stat_of "$vm" net_tx_dropped)"
ktap_check "GUARD-2: and not all" at_most 3995 "$(stat_of "$vm" net_tx_dropped)"
ktap_check "class and module are well" class_is enabled
ktap_check "GUARD-1: no limit any more: the programs at its tap go" eval 'echo max >"$vm/spare.net.max"; wait_for 5 guards_gone'
ktap_done
