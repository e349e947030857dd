#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: own
# limit: 900
# ACC-1, ACC-2: what the read-only meter costs, in instructions (2 ns each): per context switch, and per packet that goes from a softirq by a bridge
# and a tap through the real vhost-net; and what it bills for these packets. Nothing else of ours is loaded.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/meter.inc.sh"

vm=$CGROUP/vm/m guest=198.18.80.2 host=198.18.80.3 nobody=198.18.81.2 mac=02:00:00:00:00:77
rounds=500 batches=(1 8)
declare -A bound=([1]=725 [8]=325) permille=([1]=75 [8]=60)

net_up() {
	meter_net_up spare0
	modprobe dummy
	lives_at "$guest" "$mac" spare0
	ip addr add "$host/24" dev meterbr
	lives_at "$host" "$(cat /sys/class/net/meterbr/address)"
	ip netns exec out bash -c "
		ip link set out0 gso_max_segs 1
		ip link add none0 type dummy
		ip link set none0 gso_max_segs 1 up
		ip addr add 198.18.81.1/24 dev none0
		ip neigh replace $nobody lladdr $mac dev none0 nud permanent"
}

switches_so_far() { result /proc/stat ctxt; }

# rounds_of NAME: a round of each batch, and switches
rounds_of() {
	local batch before
	for batch in "${batches[@]}"; do
		before=$(switches_so_far)
		measure "$1.$batch" spare-vhost --tap spare0 --cgroup "$vm" --netns out --to "$guest" --fifo 50 --batch "$batch" --size 214 --rounds "$rounds"
		echo "switches $((($(switches_so_far) - before + rounds / 2) / rounds))" >>"$MEASURES/$1.$batch"
		measure "$1.alone.$batch" spare-vhost --unanswered --netns out --to "$nobody" --fifo 50 --batch "$batch" --size 214 --rounds 300
	done
	measure "$1.switch" spare-cost --rounds 1000 pipe yield
}

# of a round, or of its sending alone, in ns
round() { result "$MEASURES/$1.$2" "${3-round}.p50_ns"; }
# how much more of NAME than without the meter, in instructions
more() { echo $((($(round with "$1" "$2") - $(round without "$1" "$2")) / 2)); }
# The sender has a device of its own, which is no part of receiving.
sender() { more "alone.$1" send; }
# instructions of a switch
switch() { echo $(($(result "$MEASURES/$1.switch" yield.ns) / 2)); }

# thousand VMs, each with a tap, beside the one
crowd() {
	local i line
	for ((i = 1; i <= 1000; i++)); do
		printf -v line 'map update name taps key hex %02x %02x 01 00 99 00 00 f0 value hex %02x %02x 00 00' $((i & 255)) $((i >> 8)) $((i & 255)) $(((i >> 8) & 3))
		echo "$line"
	done >"$MEASURES/batch"
	bpftool batch file "$MEASURES/batch" >"$MEASURES/batch.out" 2>&1 || { tail -n 3 "$MEASURES/batch.out"; return 1; }
}

ktap_plan 16
net_up
mkdir -p "$vm"
ktap_cleanup "cgroup_remove $vm"
host_quiet || ktap_note "the host is still busy"
rounds_of warm
rounds_of without
ktap_check "ACC-1: the meter runs, without module and class" meter_up /vm/m
ktap_note "$(cat "$MEASURES/meter.err")"
host_quiet || ktap_note "the host is still busy"
rounds_of with
for batch in "${batches[@]}"; do
	settle
	looks
	from=$LOOKS
	measure "bill.$batch" spare-vhost --tap spare0 --cgroup "$vm" --netns out --to "$guest" --fifo 50 --batch "$batch" --size 214 --rounds "$rounds"
	settle
	n=$((batch * rounds)) rx=$(billed "$from" rx_packets /vm/m) softirq=$(billed "$from" softirq_rx /vm/m) vhost=$(billed "$from" vhost /vm/m)
	n_switches=$(result "$MEASURES/with.$batch" switches)
	switches=$((n_switches * ($(switch with) - $(switch without))))
	each=$((($(more "$batch" round) - switches - $(sender "$batch")) / batch)) whole=$(((softirq + vhost) / 2 / n))
	ktap_note "batch $batch: a round $(($(round without "$batch") / 2)) instructions without the meter, $(more "$batch" round) more with it: sending and softirq $(more "$batch" send), the sender $(sender "$batch") of it, $n_switches switches $switches, vhost the rest"
	ktap_note "batch $batch: billed per packet: softirq $((softirq / 2 / n)), vhost $((vhost / 2 / n)); of these the meter's $each, $(((each * 1000 + whole - each - 1) / (whole - each))) per mille of the others"
	ktap_check "ACC-2: batch $batch: no packet was lost" equal 0 "$(result "$MEASURES/bill.$batch" lost)"
	# (The bridge and the stack have some packets of their own.)
	ktap_check "ACC-2: batch $batch: as many packets are billed as came" near "$n" 8 "$rx"
	((permille[$batch] <= 60)) || ktap_note "wanted of the read-only meter: at most 60 per mille; what a softirq's two programs take, one packet pays: sched_spare/DESIGN.md"
	ktap_check "ACC-2: batch $batch: the meter costs at most ${bound[$batch]} instructions per packet" at_most "${bound[$batch]}" "$each"
	ktap_check "ACC-2: batch $batch: that is at most ${permille[$batch]} per mille of what softirq and vhost take" \
		at_most "${permille[$batch]}" $(((each * 1000 + whole - each - 1) / (whole - each)))
done
ktap_note "instructions of a switch (yield): $(switch without) without the meter, $(switch with) with it; of a way through a pipe: $(($(result "$MEASURES/without.switch" pipe.ns) / 2)), $(($(result "$MEASURES/with.switch" pipe.ns) / 2))"
ktap_check "ACC-1: the meter costs at most 330 instructions of a switch" at_most 330 $(($(switch with) - $(switch without)))

settle
looks
from=$LOOKS
ip netns exec out bash -c "for i in {1..500}; do echo >/dev/udp/$host/9; done" 2>/dev/null || true
settle
ktap_note "500 datagrams to the host: billed to the VM $(billed "$from" softirq_rx /vm/m) ns, $(billed "$from" rx_packets /vm/m) packets"
ktap_check "ACC-4: packets to the host are not the VM's" equal "0 0" "$(billed "$from" rx_packets /vm/m) $(billed "$from" softirq_rx /vm/m)"

ktap_check "ACC-1: a thousand more taps are known" crowd
measure crowd.8 spare-vhost --tap spare0 --cgroup "$vm" --netns out --to "$guest" --fifo 50 --batch 8 --size 214 --rounds "$rounds"
ktap_note "a round of 8 packets beside a thousand taps: $(($(round crowd 8) / 2)) instructions, before $(($(round with 8) / 2))"
ktap_check "ACC-1: and no packet costs more for them" at_most 80 $((($(round crowd 8) - $(round with 8)) / 2))
ktap_check "ACC-1: every nanosecond of every look is billed once" exact
bytes=$(grep -oP '\d+(?= bytes for a VM)' "$MEASURES/meter.err") cpus=$(grep -oP '(?<=on )\d+(?= CPUs)' "$MEASURES/meter.err")
ktap_check "ACC-1: a VM takes at most 4 KiB and 64 bytes per CPU" at_most $((4096 + 64 * cpus)) "$bytes"
meter_down
rounds_of after
ktap_check "ACC-1: gone, it costs nothing" near "$(round without 8)" 200 "$(round after 8)"
ktap_done
