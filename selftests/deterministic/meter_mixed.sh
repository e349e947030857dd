#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 1200
# by name: a part of the experiment E6
# cpu: -erms,-fsrm
# ACC-2, ACC-4: batches of a softirq that are several VMs' and the host's, by the lists of GRO, and with RPS on the receiving NIC: who pays what, against each flow
# alone at the same times, and beside it the count of packets (Gupta et al. 2006). A: small packets to VM m, B: large ones to VM n, H: small ones to the
# host. Alone each pays for the softirq itself, together they share it, by packets: so what a flow should be billed is what it takes alone, less a softirq for each
# of its bursts, and its part of theirs. What a softirq itself takes is what they save by being together.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/meter.inc.sh"

m=$CGROUP/vm/m n=$CGROUP/vm/n mac_m=02:00:00:00:00:77 mac_n=02:00:00:00:00:78 host=198.18.80.3
bursts=200
declare -A packets bill alone

# send NAME PATTERN OPTION...: bursts of it. packets, bill: of A, B and H; all, went: packets and bursts that were sent.
send() {
	local name=$1 pattern=$2 from flow
	shift 2
	looks
	from=$((LOOKS + 1))
	measure "$name" spare-mix --device out0 --netns out --nic out1 --listen "$host" --bursts "$bursts" --pattern "$pattern" "$@" \
		--flow "A=$mac_m,2,64" --flow "B=$mac_n,4,1472" --flow "H=$mac_host,3,64" || exit 1
	settle
	for flow in A B H; do packets[$flow]=$(result "$MEASURES/$name" "sent.$flow" || echo 0); done
	all=$(result "$MEASURES/$name" packets) went=$(result "$MEASURES/$name" bursts)
	bill=([A]=$(billed "$from" softirq_rx /vm/m) [B]=$(billed "$from" softirq_rx /vm/n) [H]=$(($(billed "$from" network) - went * per_burst - all * per_packet)))
	came="$(billed "$from" rx_packets /vm/m) $(billed "$from" rx_packets /vm/n)"
}

# What the sending device takes of a burst and of a packet, which is the host network's, too.
learn_sending() {
	per_burst=0 per_packet=0
	send "$1.8" A
	local eight=${bill[H]} n=$all
	send "$1.4" A --burst 4
	per_packet=$(((eight - bill[H]) / (n - all)))
	per_burst=$(((bill[H] - all * per_packet) / went))
	ktap_note "$1: the sending device takes $per_burst ns of a burst and $per_packet ns of a packet"
}

# mix WAY NAME PATTERN FLOWS OPTION...: 1 check for each flow, and 1
mix() {
	local way=$1 name=$2 pattern=$3 flows=$4 flow total=0 n=0 alone_all=0 alone_went=0 each wanted
	local -A went_of
	shift 4
	for flow in $flows; do
		send "$way.$name.$flow" "$pattern" --only "$flow" "$@"
		alone[$flow]=${bill[$flow]} went_of[$flow]=$went
		alone_all=$((alone_all + bill[$flow])) alone_went=$((alone_went + went))
	done
	send "$way.$name" "$pattern" "$@"
	for flow in $flows; do total=$((total + bill[$flow])) n=$((n + packets[$flow])); done
	each=$(((alone_all - total) / (alone_went - went)))
	ktap_note "$way $name: together they take $total ns, alone $alone_all ns: a softirq $each ns"
	for flow in $flows; do
		wanted=$((alone[$flow] - went_of[$flow] * each + went * each * packets[$flow] / n))
		ktap_note "mix $way $name $flow packets ${packets[$flow]} billed ${bill[$flow]} alone $wanted count $((total * packets[$flow] / n))"
		ktap_check "ACC-2: $way: $name: $flow is billed what it takes alone, within 10 %" at_most 100 $(((bill[$flow] - wanted) * 1000 / wanted))
	done
	ktap_check "ACC-2: $way: $name: as many packets are billed as came" equal "${packets[A]} ${packets[B]}" "$came"
}

vm() {
	"$TOOLS/spare-vhost" --tap "$2" --cgroup "$CGROUP/vm/$1" --offloads --seconds 100000 >"$MEASURES/$1.out" 2>&1 &
	ktap_cleanup "kill $! 2>/dev/null || true"
}
has_taps() { tail -n 1 "$MEASURES/bill" | grep '"spare0"' | grep -q '"spare1"'; }

ktap_plan 25
meter_net_up spare0 spare1
ip addr add "$host/24" dev meterbr
mac_host=$(cat /sys/class/net/meterbr/address)
bridge fdb replace "$mac_m" dev spare0 master static
bridge fdb replace "$mac_n" dev spare1 master static
modprobe sch_plug
mkdir -p "$m" "$n"
ktap_cleanup "cgroup_remove $m $n"
ktap_check "ACC-1: the meter runs, without module and class" meter_up /vm/m /vm/n
vm m spare0
vm n spare1
wait_for 20 has_taps || ktap_note "the meter has not seen the taps: $(cat "$MEASURES"/[mn].out)"
sleep 5

per_burst=0 per_packet=0
send warm AB
for way in lists rps; do
	[[ $way == lists ]] || echo 1 >/sys/class/net/out1/queues/rx-0/rps_cpus
	learn_sending "$way"
	mix "$way" 3A:1B AAAB "A B" --random
	mix "$way" 2A:1B:1H AABH "A B H" --random
	mix "$way" 7A:1B AAAAAAAB "A B"
done
echo 0 >/sys/class/net/out1/queues/rx-0/rps_cpus

# GRO puts together what the sender's device has cut.
gro_of() {
	local from
	ip -n out link set out0 gso_max_segs 1
	ip netns exec out tc qdisc del dev out0 root
	looks
	from=$((LOOKS + 1))
	measure gro spare-nic --tap spare2 --cgroup "$m" --netns out --wire out0 --mac 02:00:00:00:00:79 --packets 100 rx:11584:1:1000:tso || return
	settle
	came=$(billed "$from" rx_packets /vm/m)
	gro_ns=$(billed "$from" softirq_rx /vm/m) whole=$(cat /sys/class/net/spare2/statistics/tx_packets)
}
ip tuntap add dev spare2 mode tap vnet_hdr
ktap_cleanup "ip link del spare2"
echo 1 >/proc/sys/net/ipv6/conf/spare2/disable_ipv6
ip link set spare2 master meterbr up
bridge fdb replace 02:00:00:00:00:79 dev spare2 master static
gro_of || ktap_note "$(cat "$MEASURES/gro.err")"
ktap_note "GRO: of 101 TCP packets, 100 of them 8 segments each on the wire, the tap took $whole, m was billed $came, $gro_ns ns"
ktap_check "ACC-2: GRO: segments are put together" at_most 201 "$whole"
ktap_check "ACC-2: GRO: what it puts together and the tap takes whole is one packet" equal "$whole" "$came"
ktap_check "ACC-2: GRO: with all that its segments took" at_least $((100 * 8 * 1000)) "$gro_ns"
ktap_check "ACC-1: every nanosecond of every look is billed once" exact
ktap_done
