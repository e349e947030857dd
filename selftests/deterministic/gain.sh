#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# SPARE-6: the CPU that VMs gain by provoking packets, in parts per million of one CPU, over SPARE_SECONDS (3; E10: 10).
#
# Two VMs 10/100 ms that burn share a provider 4/10 ms; a neighbour 20/100 ms and a task of the host burn beside them. Each
# way of provoking, under each policy:
#   stream    an accomplice sends 2 000 packets/s
#   reply     each VM answers every packet, and the accomplice answers that at once
#   self      each VM sends a packet per 200 us of its own run and gets it back (broadcast on a switch that reflects: all)
#   pair      the two VMs send each other what each provokes, and answer
# In pay-back mode a VM gains at most 1 % of a CPU; with a gain of 3 ms per 100 ms at most that in every k windows, k + 1 gains
# in any stretch of k windows (its ends may lie inside two windows), and what one late timer adds.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

seconds=${SPARE_SECONDS:-3} window_us=100000 gain_us=3000 late_ns=100000
# one window more, a late timer, and a budget that the ends of the time may cut
gain_ppm=$((((seconds * 1000000 / window_us + 1) * gain_us + late_ns / 1000 + 10000) / seconds))

# provoke NAME HOW POLICY BOUND_PPM KEY=VALUE...: one measurement of both VMs; its report is $MEASURES/NAME
provoke() {
	local name=$1 how=$2 policy=$3 bound_ppm=$4 vm to=none every=0 args
	shift 4
	for vm in a b; do
		echo "grant_us=2000 chances=0 gain_us=0 window_us=$window_us payback=0 wait=1" >"${VM[$vm]}/spare.policy"
		[[ $# == 0 ]] || echo "$*" >"${VM[$vm]}/spare.policy"
		args=()
		case $how in
		reply) args=(--reply) ;;
		self) args=(--provoke-us 200) ;;
		pair) args=(--provoke-us 200 --reply) ;;
		esac
		standin "$vm" --cgroup "${VM[$vm]}" --tap "tap$vm" "${args[@]}"
	done
	for vm in a b; do
		wait_for 20 tap_is_up "tap$vm"
		echo "tap$vm" >"${VM[$vm]}/spare.netdev"
	done
	case $how in
	stream) every=500 ;;
	reply) to=self every=100000 ;;	# a lost packet must not end the chain
	self) to=all ;;
	pair) to=others ;;
	esac
	measure "$name" spare-peer --vm "a=${VM[a]},tapa,10000,100000" --vm "b=${VM[b]},tapb,10000,100000" --vm "n=${VM[n]},,20000,100000" \
		--to "$to" --every-us "$every" --window-us "$window_us" --seconds "$seconds" || return
	standin_stop a
	standin_stop b
	ktap_note "gain $name $how $policy $bound_ppm"
	report "$MEASURES/$name" .
}

figure() { result "$MEASURES/$1" "$2.gain_ppm"; }

ktap_plan 24
spare_up -v
host_quiet || ktap_note "the host is still busy"

pool=$(provider p0 4000 10000 0)
ktap_cleanup "cgroup_remove $pool"
declare -A VM=()
for s in "a 10000 100000" "b 10000 100000" "n 20000 100000"; do
	read -r name q p <<<"$s"
	VM[$name]=$(vm_cgroup "$name" "$q" "$p" 0)
	ktap_cleanup "cgroup_remove ${VM[$name]}"
done
for vm in a b; do echo /pool/p0 >"${VM[$vm]}/spare.use"; done
standin n --cgroup "${VM[n]}"
standin host --gap-us 1000

provoke free stream free 0
ktap_check "SPARE-6: unbounded, a stream of packets gains more than 5 % of a CPU: there is something to bound" \
	at_least 50000 $(($(figure free a) + $(figure free b)))
# (It may be 8 Q and a budget deeper in debt in the end than at the beginning, 90 ms, when it has provoked nothing for a second before: of 12 s that is less
# than 1 %.)
for how in stream reply self pair; do
	seconds=12 provoke "$how.payback" "$how" payback 10000 payback=1
	for vm in a b; do
		ktap_check "SPARE-6: $how: pay-back: VM $vm gains at most 1 % of a CPU" at_most 10000 "$(figure "$how.payback" "$vm")"
	done
done
for how in stream reply self pair; do
	provoke "$how.gain" "$how" gain "$gain_ppm" gain_us=$gain_us
	r=$MEASURES/$how.gain
	for vm in a b; do
		ktap_check "SPARE-6: $how: at most $gain_us us per $window_us us: VM $vm over $seconds s" \
			at_most $(((seconds * 1000000 / window_us + 1) * gain_us * 1000 + late_ns)) "$(result "$r" "$vm.boost_ns")"
	done
done
for k in 1 2 5 10; do
	ktap_check "SPARE-6: at most $((k + 1)) gains in any stretch of $k windows" at_most $(((k + 1) * gain_us * 1000 + late_ns)) \
		"$(sort -k2 -n <(grep -h "\.window$k\.boost_ns" "$MEASURES"/*.gain) | tail -n 1 | cut -d' ' -f2)"
done
for end in head tail; do
	# 20 ms: the budget that the ends of the time may cut
	ktap_check "SPARE-6: the neighbour gets its reservation all the while ($end)" at_most $((20000 / seconds)) \
		"$(sort -k2 -n <(grep -h '^n.class.gain_ppm' "$MEASURES"/*) | $end -n 1 | cut -d' ' -f2)"
done
ktap_check "SPARE-6: and misses nothing" equal 0 "$(stat_of "${VM[n]}" misses)"
ktap_done
