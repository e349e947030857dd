#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# cpus: 2
# SPARE-9: a VM whose vhost thread and emulator are pinned to a CPU where it has no server (emulatorpin), as operators do for low latency: its
# packets are noticed, the network thread runs there as a stray, in advance if need be, and the vCPU borrows on its own CPU. Under
# -icount the two CPUs take turns on one clock, so a bound holds but for such a turn (5 ms).
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

turn_us=5000 bound_us=$((10000 - 4000 + 300))
vm=$CGROUP/vm/vm

ktap_plan 17
spare_up -v
host_quiet || ktap_note "the host is still busy"
pool=$(provider p0 4000 10000 1)
vm_cgroup vm 20000 100000 1 >/dev/null
ktap_cleanup "cgroup_remove $vm $pool"
named() { (($(cat "/proc/${STANDIN[vm]}/task"/*/comm | grep -c -e '^CPU ' -e '^vhost-') == 2)); }
stand_in() {
	local task
	standin vm --cgroup "$vm" --tap spare0
	wait_for 20 tap_is_up spare0
	wait_for 20 named
	for task in "/proc/${STANDIN[vm]}/task"/*; do
		taskset -cp "$(grep -c '^CPU' "$task/comm")" "${task##*/}" >/dev/null
	done
	echo spare0 >"$vm/spare.netdev"
}
stand_in
ktap_check "SPARE-2: the tap is the VM's" equal spare0 "$(<"$vm/spare.netdev")"
ktap_check "SPARE-3: the VM may borrow" bash -c "echo /pool/p0 >$vm/spare.use"
sleep 1

send=(spare-pktgen --tap spare0 --cpu 1 --shm /dev/shm/vm --stat "$vm/spare.stat" --bound-us $((bound_us + turn_us)) --due-us "$turn_us")
measure with "${send[@]}" --provider "$pool/spare.stat" --min-us 25000 --max-us 60000 --limit-s 200 --random 1000 --replenish 200 || exit 1
r=$MEASURES/with
report "$r" .
ktap_note "$(grep -E '^(granted|denied|expired|blocked|boost_ns|lat_max_ns|rx_packets|stray_ns|used_ns) ' "$vm/spare.stat")"
ktap_check 'SPARE-8: none lost' equal 0 "$(result "$r" lost)"
ktap_check 'SPARE-9: at least 150 packets found the server throttled and the provider free' at_least 150 "$(result "$r" free.n)"
ktap_check 'SPARE-9: each had a grant, but for those that came within a turn of the replenishment' \
	at_least $(($(result "$r" free.n) - $(result "$r" free.due))) "$(stat_of "$vm" granted)"
ktap_check 'SPARE-9: first service within Ps - Qs + 0.3 ms and a turn of each of them' at_most 0 "$(result "$r" free.over)"
ktap_check 'SPARE-9: one that found budget left within Ps and a turn' at_most $((10000000 + turn_us * 1000)) "$(result "$r" own.max_ns)"
ktap_check 'SPARE-4: no mark expired' equal 0 "$(stat_of "$vm" expired)"
ktap_check 'SPARE-8: for each that waited a provider was asked' equal 0 "$(stat_of "$vm" unasked)"
ktap_check 'SPARE-9: the network thread ran as a stray' at_least 1 "$(stat_of "$vm" stray_ns)"

# The same with a server for the network thread, too: what it served when the vCPU's had budget, the vCPU has yet to see when that ends.
echo 0-1 >"$vm/spare.cpus"
standin_stop vm
stand_in
sleep 1
expired=$(stat_of "$vm" expired)
taskset -cp 1 $$ >/dev/null	# what is left of a budget is known exactly on its CPU
measure served "${send[@]}" --provider "$pool/spare.stat" --min-us 25000 --max-us 60000 --limit-s 200 --random 150 --exhaust 300 --aim-us 500 || exit 1
taskset -cp 0-1 $$ >/dev/null
r=$MEASURES/served
report "$r" .
ktap_check 'SPARE-8: served on one CPU, seen on the other: none lost' equal 0 "$(result "$r" lost)"
ktap_check 'SPARE-8: one that found budget left is served within Ps and a turn' at_most $((10000000 + turn_us * 1000)) "$(result "$r" own.max_ns)"
ktap_check 'SPARE-3: one that found none within Ps - Qs + 0.3 ms and a turn' at_most 0 "$(result "$r" free.over)"
ktap_check 'SPARE-4: no mark expired' equal "$expired" "$(stat_of "$vm" expired)"
echo 1 >"$vm/spare.cpus"

# More packets than the reservation can serve: what the network thread takes in advance leaves the vCPU its part of each budget.
echo none >"$vm/spare.use"
echo 1000 100000 >"$vm/spare.reservation"
standin_stop vm
stand_in
sleep 1
vcpu=$(stat_of "$vm" vcpu_ns) stray=$(stat_of "$vm" stray_ns) begin=${EPOCHREALTIME/./}
measure many "${send[@]}" --min-us 300 --max-us 600 --random 8000 --limit-s 120 || exit 1
us=$((${EPOCHREALTIME/./} - begin)) vcpu=$(($(stat_of "$vm" vcpu_ns) - vcpu)) stray=$(($(stat_of "$vm" stray_ns) - stray))
ktap_note "in $us us: the vCPU $vcpu ns, the network thread $stray ns, of $((us * 10)) ns"
ktap_check 'SPARE-9: packets beyond the reservation: the vCPU has a tenth of it all the same' at_least "$us" "$vcpu"
# stray_ns is by the clock: 1 us more for each packet, at most, than what is charged.
ktap_check 'CBS-11: and together they have the reservation, a budget more at the ends, and half of one in advance' \
	at_least $((vcpu + stray)) $((us * 10 + 1500000 + 8000000))
echo 20000 100000 >"$vm/spare.reservation"
standin_stop vm
stand_in
sleep 1
measure without "${send[@]}" --min-us 25000 --max-us 60000 --random 100 --limit-s 120 || exit 1
r=$MEASURES/without
report "$r" .
ktap_check 'SPARE-3: without spare the worst is P - Q: at least 90 % of it is seen' at_least 72000000 "$(result "$r" busy.max_ns)"
ktap_done
