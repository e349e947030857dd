#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 900
# ACC-2, ACC-4: who pays for packets, by the way they take (sched_spare/DESIGN.md, "Who pays"): two VMs m and n with a tap each on a bridge, and somebody outside behind
# a veth. VMs are cgroups; their emulator is spare-vhost.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/meter.inc.sh"

m=$CGROUP/vm/m n=$CGROUP/vm/n mac_m=02:00:00:00:00:77 mac_n=02:00:00:00:00:78 mac_none=02:00:00:00:00:79
to_m=198.18.80.2 to_none=198.18.80.4
frames=200 deep=$m$(printf '/d%.0s' {1..40})

# In the bill's lines from $from on: of VM m or n a field, and what is the host network's.
of() { billed "$from" "$2" "/vm/$1"; }
network() { billed "$from" network; }

# datagrams ADDRESS N: from outside
datagrams() { ip netns exec out bash -c "for ((i = 0; i < $2; i++)); do echo >/dev/udp/$1/9; done"; }

# vm NAME TAP OPTION...: its emulator, in the background; the meter has seen its tap when this returns.
vm() {
	local cgroup=$1 tap=$2
	shift 2
	"$TOOLS/spare-vhost" --tap "$tap" --cgroup "$CGROUP/vm/$cgroup" "$@" >"$MEASURES/$cgroup.out" 2>&1 &
	vms[$cgroup]=$!
	wait_for 20 has_tap "$cgroup" "$tap" || ktap_note "the meter has not seen $tap: $(cat "$MEASURES/$cgroup.out")"
	# its carrier, and what the bridge does then
	sleep 2
}
has_tap() { tail -n 1 "$MEASURES/bill" | sed 's/{"name":/\n&/g' | grep "^{\"name\":\"/vm/$1\"" | grep -q "\"$2\""; }
end() { wait "${vms[$1]}" || ktap_note "$1: $(cat "$MEASURES/$1.out")"; }
end_vms() { for pid in "${vms[@]-}"; do [[ -z $pid ]] || kill "$pid" 2>/dev/null || true; done; }
declare -A vms
refuses_deep() { ! timeout 20 spared --meter --json --vm "${deep#"$CGROUP"}" >/dev/null 2>"$MEASURES/deep" && grep -q 'levels deep' "$MEASURES/deep"; }

# sends NAME TO OPTION...: m's emulator sends frames there; the bill of that is from $from on. Packets to m come first, so that its tap is known.
sends() {
	local name=$1 to=$2
	shift 2
	vm m spare0 --seconds 8 --frames "$frames" --mac "$to" "$@"
	${PREPARE-:}
	datagrams "$to_m" 5
	settle
	looks
	from=$((LOOKS + 1))
	end m
	settle
	ktap_note "$name: m sent $(of m tx_packets) in softirqs ($(of m softirq_tx) ns), emulator $(of m emulator) ns; n had $(of n rx_packets) ($(of n softirq_rx) ns); host network $(network) ns"
}

# Possible only while somebody holds it with IFF_NAPI.
threaded() { echo 1 >/sys/class/net/spare0/threaded; }

# The host's addresses on the bridge and in a VLAN on m's tap: it routes there.
upper_up() {
	modprobe 8021q
	ip addr add 198.18.80.3/24 dev meterbr
	ip addr add 198.18.82.1/24 dev meterbr
	ip link add link spare0 name meter5 type vlan id 5
	ip addr add 198.18.83.1/24 dev meter5
	echo 1 >/proc/sys/net/ipv6/conf/meter5/disable_ipv6
	ip link set meter5 up
	ip neigh replace 198.18.82.2 lladdr "$mac_m" dev meterbr nud permanent
	ip neigh replace 198.18.83.2 lladdr "$mac_m" dev meter5 nud permanent
	echo 1 >/proc/sys/net/ipv4/ip_forward
	echo 0 | tee /proc/sys/net/ipv4/conf/{all,meterbr}/send_redirects >/dev/null
	lives_at 198.18.80.3 "$(cat /sys/class/net/meterbr/address)"
	for net in 82 83; do ip -n out route add "198.18.$net.0/24" via 198.18.80.3; done
}

ktap_plan 23
meter_net_up spare0 spare1
lives_at "$to_m" "$mac_m" spare0
lives_at "$to_none" "$mac_none"
bridge fdb replace "$mac_n" dev spare1 master static
bridge fdb replace "$MAC_OUT" dev out1 master static
mkdir -p "$m" "$n"
ktap_cleanup "find $m $n -depth -type d -exec rmdir {} +"
ktap_cleanup end_vms
ktap_check "ACC-1: the meter runs, without module and class" meter_up /vm/m /vm/n
vm n spare1 --seconds 100000

vm m spare0 --seconds 8
looks
from=$((LOOKS + 1))
datagrams "$to_none" 100
settle
ktap_note "flooded: m $(of m rx_packets) packets, $(of m softirq_rx) ns, n $(of n rx_packets), $(of n softirq_rx) ns"
ktap_check "ACC-4: a packet that a bridge floods is each tap's, once" equal "100 100" "$(of m rx_packets) $(of n rx_packets)"
ktap_check "ACC-4: and each pays for its copy" at_least 100000 "$(($(of m softirq_rx) < $(of n softirq_rx) ? $(of m softirq_rx) : $(of n softirq_rx)))"
end m

looks
from=$((LOOKS + 1))
measure gso spare-vhost --tap spare0 --cgroup "$m" --netns out --to "$to_m" --batch 8 --size 214 --rounds 100
settle
ktap_note "GSO: of 101 rounds of 8 datagrams, each one packet until a tap without offloads, m was billed $(of m rx_packets)"
ktap_check "ACC-2: one packet that is cut before the tap (GSO) is as many as reach it" near 808 2 "$(of m rx_packets)"

sends "to n" "$mac_n"
ktap_check "ACC-4: what m's emulator carries to n is in its own time" equal "0 0" "$(of m tx_packets) $(of n rx_packets)"
ktap_check "ACC-4: which is not nothing" at_least $((frames * 2000)) "$(of m emulator)"

sends "to the veth" "$MAC_OUT"
ktap_check "ACC-4: what m sends to a veth is no VM's in the softirq of its receiver" equal "0 0 0" "$(of m tx_packets) $(of m softirq_tx) $(of n rx_packets)"
ktap_check "ACC-4: it is the host network's" at_least $((frames * 500)) "$(network)"

echo 1 >/sys/class/net/spare0/queues/rx-0/rps_cpus
sends "RPS, to n" "$mac_n"
ktap_check "ACC-4: RPS: what m sends is m's, also where n has it" equal "$frames 0" "$(of m tx_packets) $(of n rx_packets)"
ktap_check "ACC-4: RPS: with its softirq" at_least $((frames * 1000)) "$(of m softirq_tx)"
sends "RPS, to the veth" "$MAC_OUT"
ktap_check "ACC-4: RPS: what m sends to a veth is m's up to there" equal "$frames 0" "$(of m tx_packets) $(of n rx_packets)"
ktap_check "ACC-4: RPS: and the host network's from there on" at_least $((frames * 500)) "$(network)"
echo 0 >/sys/class/net/spare0/queues/rx-0/rps_cpus

sends "IFF_NAPI, to n" "$mac_n" --napi
ktap_check "ACC-4: IFF_NAPI: what m sends is m's" equal "$frames 0" "$(of m tx_packets) $(of n rx_packets)"
ktap_check "ACC-4: IFF_NAPI: with its softirq" at_least $((frames * 1000)) "$(of m softirq_tx)"

PREPARE=threaded sends "threaded NAPI, to n" "$mac_n" --napi
ktap_check "ACC-4: threaded NAPI: what m sends is m's in a thread of the kernel, too" equal "$frames 0" "$(of m tx_packets) $(of n rx_packets)"
ktap_check "ACC-4: threaded NAPI: with what that thread takes for it" at_least $((frames * 1000)) "$(of m softirq_tx)"

vm m spare0 --seconds 16
upper_up
for way in "routed 82" "VLAN 83"; do
	read -r name net <<<"$way"
	datagrams "198.18.$net.2" 5
	settle
	looks
	from=$((LOOKS + 1))
	datagrams "198.18.$net.2" 100
	settle
	ktap_note "$name: m had $(of m rx_packets) packets, $(of m softirq_rx) ns; host network $(network) ns"
	ktap_check "ACC-4: $name: what a device above m's tap hands on is m's, once" equal 100 "$(of m rx_packets)"
	ktap_check "ACC-4: $name: nor does the host pay for it" at_most $(($(of m softirq_rx) / 4)) "$(network)"
done
end m

mkdir -p "$deep"
looks
from=$((LOOKS + 1))
(
	echo "$BASHPID" >"$deep/cgroup.procs"
	for ((i = 0; i < 100000; i++)); do :; done
)
settle
ktap_check "ACC-4: what runs 40 cgroups below a VM's is the VM's" at_least 100000000 "$(of m emulator)"

ktap_check "ACC-4: a VM whose cgroup is deeper than that is refused by name" refuses_deep
ktap_check "ACC-1: every nanosecond of every look is billed once" exact
ktap_done
