#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# SPARE-3, SPARE-8: packets wake an exhausted VM within their bound, and none is lost.
#
# One VM 40/100 ms that burns and may borrow from a provider 4/10 ms; two more VMs that burn fill admission to its limit
# (0.40 + 0.40 + 0.05 + 0.05 = 0.90), and so does a task of the host in what is left. 2 000 packets at random phases, 500
# aimed at the instants of exhaustion, replenishment and attachment. A packet that finds the server throttled and the
# provider free gets its first service within Ps - Qs + 0.3 ms. Then the same VM without provider; and at last a VM 10/100 ms
# with it beside one of 4/10 ms, whose deadlines are almost always nearer than the provider's, so that the bound is approached.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

random=2000 exhaust=170 replenish=166 attach=164
bound_us=$((10000 - 4000 + 300))

ktap_plan 16
spare_up -v
host_quiet || ktap_note "the host is still busy"

pool=$(provider p0 4000 10000 0)
ktap_cleanup "cgroup_remove $pool"
for s in "vm 40000 100000" "other1 2000 40000" "other2 5000 100000"; do
	read -r name q p <<<"$s"
	dir=$(vm_cgroup "$name" "$q" "$p" 0)
	ktap_cleanup "cgroup_remove $dir"
	tap=()
	[[ $name != vm ]] || tap=(--tap spare0)
	standin "$name" --cgroup "$dir" "${tap[@]}"
done
standin host --gap-us 1000
vm=$CGROUP/vm/vm
wait_for 20 tap_is_up spare0
ktap_check "SPARE-2: the tap is the VM's" bash -c "echo spare0 >$vm/spare.netdev"
ktap_check "SPARE-3: the VM may borrow" bash -c "echo /pool/p0 >$vm/spare.use"
sleep 1

send=(spare-pktgen --tap spare0 --shm /dev/shm/vm --stat "$vm/spare.stat" --bound-us "$bound_us")
measure with "${send[@]}" --provider "$pool/spare.stat" --min-us 15000 --max-us 35000 --limit-s 600 \
	--random "$random" --exhaust "$exhaust" --replenish "$replenish" --attach "$attach" || exit 1
r=$MEASURES/with
report "$r" .
ktap_note "$(grep -E '^(granted|denied|expired|blocked|boost_ns|lat_max_ns|rx_packets) ' "$vm/spare.stat")"
found=$(result "$r" free.n)
ktap_check "SPARE-8: every packet was sent" equal $((random + exhaust + replenish + attach)) "$(result "$r" sent)"
ktap_check "SPARE-8: none lost" equal 0 "$(result "$r" lost)"
ktap_check "SPARE-8: none denied" equal 0 "$(stat_of "$vm" denied)"
ktap_check "SPARE-4: no mark expired" equal 0 "$(stat_of "$vm" expired)"
ktap_check "SPARE-8: for each that waited a provider was asked" equal 0 "$(stat_of "$vm" unasked)"
ktap_check "SPARE-3: at least a third of the packets found the server throttled and the provider free" at_least $((random / 3)) "$found"
ktap_check "SPARE-3: first service within Ps - Qs + 0.3 ms of each of them ($found)" at_most 0 "$(result "$r" free.over)"
ktap_check "SPARE-3: a packet that found the provider taken is served within two of its periods" at_most 20000000 "$(result "$r" busy.max_ns || echo 0)"
ktap_check "SPARE-8: a packet that found budget left, be it the last, is served within Ps" at_most 10000000 "$(result "$r" own.max_ns)"

echo none >"$vm/spare.use"
standin_stop vm
standin vm --cgroup "$vm" --tap spare0
wait_for 20 tap_is_up spare0
sleep 1
measure without "${send[@]}" --min-us 25000 --max-us 60000 --random 300 --limit-s 120 || exit 1
r=$MEASURES/without
report "$r" .
ktap_check "SPARE-3: without spare the worst is P - Q: at least 90 % of it is seen" at_least 54000000 "$(result "$r" busy.max_ns)"
ktap_check "SPARE-3: without spare the worst is P - Q, and the turns of nearer deadlines" at_most 70000000 "$(result "$r" busy.max_ns)"

# Nearer deadlines. What other2 had is host time now; the sum is 0.90 again.
echo max >"$CGROUP/vm/other2/spare.reservation"
echo 10000 100000 >"$vm/spare.reservation"
echo 4000 10000 >"$CGROUP/vm/other1/spare.reservation"
echo spare0 >"$vm/spare.netdev"
echo /pool/p0 >"$vm/spare.use"
sleep 1
measure near "${send[@]}" --provider "$pool/spare.stat" --min-us 15000 --max-us 35000 --random 400 --limit-s 120 || exit 1
r=$MEASURES/near
report "$r" .
ktap_check "SPARE-8: beside nearer deadlines: none lost" equal 0 "$(result "$r" lost)"
ktap_check "SPARE-3: beside nearer deadlines: most packets found the server throttled and the provider free" at_least 200 "$(result "$r" free.n)"
ktap_check "SPARE-3: beside nearer deadlines: first service within Ps - Qs + 0.3 ms of each of them" at_most 0 "$(result "$r" free.over)"
ktap_done
