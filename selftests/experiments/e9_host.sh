#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 3000
# E9's part in the deterministic host: what the class does with a pool, for e9.py to put beside the simulator and Erlang-B.
#
# Twelve VMs 3/100 ms that burn share k providers 1/10 ms, grant 2 ms. Each has a generator of its own that sends at the points of
# a Poisson process, or all at the same instants. Those walk through the VMs' periods: at always the same place in them the end of one
# VM's, within the 0.4 ms that twelve packets take, would decide for all of its packets in what order things come, which the simulator
# cannot know so finely. (Periods begin at ticks more often than elsewhere.) Every packet's moment and latency is printed, so that the simulator gets the very same packets. Before that one
# VM 40/100 ms with a provider 4/10 ms beside two others, as deterministic/spare.sh.
#
#   # run NAME key=value...        what follows is of this run
#   # vm I deadline_ns             a deadline of VM I (periods are a whole number of P away)
#   # stat I key=n...              what VM I's spare.stat grew by
#   # got I sent_us:latency_us...  its packets; latency -: never; with a letter o, f, b where it is known what the packet found
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"

vms=${E9_VMS:-12} seconds=${E9_SECONDS:-20}
loads=(2 5 12)
keys="granted denied expired blocked hastened boost_ns used_ns vcpu_ns vhost_ns periods misses rx_packets"

# snapshot FILE DIR
snapshot() { awk -v keys="$keys" 'BEGIN { split(keys, k, " "); for (i in k) want[k[i]] } $1 in want { print $1, $2 }' "$2/spare.stat" >"$1"; }

# grown BEFORE AFTER: key=n for each
grown() { awk 'NR == FNR { was[$1] = $2; next } { printf " %s=%d", $1, $2 - was[$1] }' "$1" "$2"; }

deadline() { awk '$1 == "cpu0.d_ns" { print $2 }' "$1/spare.stat"; }

# packets CSV: the generator's record in one line
packets() {
	awk -F, 'NR > 1 { printf " %d:%s%s", $5 / 1000, $7 ? int(($7 - $5) / 1000) : "-", substr($4, 1, 1) }' "$1"
}

# shown NAME COMMAND...: a result, with what COMMAND prints in the log
shown() {
	local name=$1
	shift
	if "$@"; then ktap_ok "$name"; else ktap_fail "$name"; fi
}

# say_vm I DIR CSV: what VM I has to say after a run
say_vm() {
	echo "# vm $1 $(deadline "$2")"
	snapshot "$MEASURES/after" "$2"
	echo "# stat $1$(grown "$MEASURES/before.$1" "$MEASURES/after")"
	echo "# got $1$(packets "$3")"
}

one_vm() {
	local dir=$CGROUP/vm/vm
	echo "# run latency q=40000 p=100000 qs=4000 ps=10000 k=1"
	snapshot "$MEASURES/before.0" "$dir"
	measure latency spare-pktgen --tap e9 --shm /dev/shm/vm --stat "$dir/spare.stat" --provider "$CGROUP/pool/p0/spare.stat" \
		--min-us 15000 --max-us 35000 --random 1000 --limit-s 300 --csv "$MEASURES/csv" || return 1
	say_vm 0 "$dir" "$MEASURES/csv"
	report "$MEASURES/latency" '^(cpu_per_packet_ns|sent|lost|own.n|free.n|busy.n|free.p50_ns|free.max_ns|own.p50_ns) '
	[[ $(result "$MEASURES/latency" lost) == 0 ]]
}

# What a switch costs, from a VM that burns alone: one a period is charged to it, beside what its vCPU ran.
switches() {
	local dir=$CGROUP/vm/vm
	snapshot "$MEASURES/before.0" "$dir"
	sleep 5
	snapshot "$MEASURES/after" "$dir"
	echo "# switch$(grown "$MEASURES/before.0" "$MEASURES/after")"
}

# pool_run NAME K WAIT GENERATOR_OPTION...
pool_run() {
	local name=$1 k=$2 wait=$3 i use='' pids=() bad=0
	shift 3
	for ((i = 0; i < k; i++)); do use+=" /pool/p$i"; done
	for ((i = 0; i < vms; i++)); do
		echo "wait=$wait grant_us=2000" >"$CGROUP/vm/vm$i/spare.policy"
		echo "${use# }" >"$CGROUP/vm/vm$i/spare.use"
		snapshot "$MEASURES/before.$i" "$CGROUP/vm/vm$i"
	done
	echo "# run $name q=3000 p=100000 qs=1000 ps=10000 k=$k wait=$wait"
	for ((i = 0; i < vms; i++)); do
		"$TOOLS/spare-pktgen" --tap "e9t$i" --shm "/dev/shm/vm$i" --seed "$((100 + i))" --limit-s 120 --csv "$MEASURES/csv.$i" "$@" \
			>"$MEASURES/gen.$i" 2>&1 &
		pids+=($!)
	done
	for i in "${!pids[@]}"; do wait "${pids[i]}" || bad=$((bad + 1)); done
	for ((i = 0; i < vms; i++)); do
		say_vm "$i" "$CGROUP/vm/vm$i" "$MEASURES/csv.$i"
		[[ $(result "$MEASURES/gen.$i" lost) == 0 ]] || bad=$((bad + 1))
	done
	echo "# generator $(result "$MEASURES/gen.0" cpu_per_packet_ns)"
	return "$bad"
}

ktap_plan $((2 + 3 * 3 * 2 + 3))
spare_up -v
host_quiet || ktap_note "the host is still busy"

pool=$(provider p0 4000 10000 0)
ktap_cleanup "cgroup_remove $pool"
vm=$(vm_cgroup vm 40000 100000 0)
ktap_cleanup "cgroup_remove $vm"
standin vm --cgroup "$vm" --tap e9
wait_for 20 tap_is_up e9
sleep 1
switches
for s in "other1 2000 40000" "other2 5000 100000"; do
	read -r name q p <<<"$s"
	dir=$(vm_cgroup "$name" "$q" "$p" 0)
	ktap_cleanup "cgroup_remove $dir"
	standin "$name" --cgroup "$dir"
done
echo e9 >"$vm/spare.netdev"
echo /pool/p0 >"$vm/spare.use"
sleep 1
shown "SPARE-8: one VM and two others: no packet lost" one_vm
for name in vm other1 other2; do
	standin_stop "$name"
	cgroup_remove "$CGROUP/vm/$name"
done
cgroup_remove "$pool"

for i in 0 1 2; do
	dir=$(provider "p$i" 1000 10000 0)
	ktap_cleanup "cgroup_remove $dir"
done
for ((i = 0; i < vms; i++)); do
	dir=$(vm_cgroup "vm$i" 3000 100000 0)
	ktap_cleanup "cgroup_remove $dir"
	standin "vm$i" --cgroup "$dir" --tap "e9t$i" --gap-us 500000
done
for ((i = 0; i < vms; i++)); do
	wait_for 30 tap_is_up "e9t$i"
	echo "e9t$i" >"$CGROUP/vm/vm$i/spare.netdev"
done
sleep 2
for wait in 0 1; do
	for k in 1 2 3; do
		for load in "${loads[@]}"; do
			shown "SPARE-5: $k providers, wait $wait, $load packets/s and VM: none lost" \
				pool_run "pool" "$k" "$wait" --poisson-us $((1000000 / load)) --random $((load * seconds))
		done
	done
done
for k in 1 2 3; do
	shown "SPARE-5: $k providers, a packet to every VM at once: none lost" \
		pool_run "burst" "$k" 1 --align-us 503300 --random $((seconds * 2))
done
missed=0
for ((i = 0; i < vms; i++)); do missed=$((missed + $(stat_of "$CGROUP/vm/vm$i" misses))); done
ktap_check "CBS-5: no deadline missed" equal 0 "$missed"
ktap_done
