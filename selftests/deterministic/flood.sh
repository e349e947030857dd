#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# E3 (CBS-4, CBS-5, CBS-9): one VM is boosted and flooded from a hard timer; what do the others lose?
#
#   flooded 20/100 ms with a provider of 2/10, other1 2/40, other2 5/100, other3 10/50, all burning, as does the host: 0.70 is reserved.
#   Sending a packet is work of a SCHED_FIFO thread: it comes before every reservation, like softirq.
#   1. 10 000 packets/s fit what the reservations leave: the others' use per period stays within 0.05 % of what it was, no deadline
#      is missed, by the class's account and by sched_switch (without softirqs on top of them).
#   2. A rate that does not fit: the others lose at most what it exceeds the host's share by.
#
# SPARE_SECONDS is the length of a measurement, of the last half of that, SPARE_RATE_OVER the second rate.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

seconds=${SPARE_SECONDS:-4} rate=10000 over=${SPARE_RATE_OVER:-20000}
others=("other1 2000 40000" "other2 5000 100000" "other3 10000 50000")
reserved_ppm=$((200000 + 200000 + 50000 + 50000 + 200000))
vm=$CGROUP/vm/flooded

# one NAME RATE OPTION...: everybody's use for $seconds s while RATE packets/s come
one() {
	local name=$1 rate=$2 vm q p trace=() recorder
	shift 2
	for s in "${others[@]}"; do
		read -r vm q p <<<"$s"
		trace+=(--server "$vm=$CGROUP/vm/$vm,$q,$p")
	done
	# All is prepared before the flood, under which nothing would start; and the flood lasts longer than the record.
	measure "$name" spare-trace "${trace[@]}" --seconds "$seconds" --wait 2 --fifo 99 --buffer-mib 128 "$@" &
	recorder=$!
	sleep 1
	if ((rate)); then
		"$TOOLS/spare-pktgen" --tap fl0 --shm /dev/shm/flooded --rate "$rate" --seconds $((seconds + 2)) >"$MEASURES/rate.$name" 2>&1 ||
			{ ktap_note "$(<"$MEASURES/rate.$name")"; exit 1; }
	fi
	wait "$recorder" || { ktap_note "$(<"$MEASURES/$name.err")"; exit 1; }
	for s in "${others[@]}"; do
		read -r vm q p <<<"$s"
		ktap_note "server $vm $q $p $name"
		report "$MEASURES/$name" "^$vm\\.(mean_ns|softirq_ppm|missed|class\\.mean_ns|class\\.misses|overrun_max_ns) "
	done
	((rate == 0)) || ktap_note "$(sed "s/^/inject.$name./" "$MEASURES/rate.$name")"
}

missed() {
	local s sum=0
	for s in "${others[@]}"; do
		sum=$((sum + $(result "$MEASURES/$1" "${s%% *}.missed") + $(result "$MEASURES/$1" "${s%% *}.class.misses")))
	done
	echo $sum
}

# lost NAME NAME: ppm of the CPU that the others had less in the second measurement than in the first, by sched_switch
lost() {
	local s name q p a b sum=0
	for s in "${others[@]}"; do
		read -r name q p <<<"$s"
		a=$(result "$MEASURES/$1" "$name.mean_ns") b=$(result "$MEASURES/$2" "$name.mean_ns")
		sum=$((sum + (a - b) * 1000 / p))
	done
	echo $sum
}

ktap_plan $((10 + 2 * ${#others[@]}))
spare_up -v
host_quiet || ktap_note "the host is still busy"
pool=$(provider p0 2000 10000 0)
ktap_cleanup "cgroup_remove $pool"
for s in "flooded 20000 100000" "${others[@]}"; do
	read -r name q p <<<"$s"
	dir=$(vm_cgroup "$name" "$q" "$p" 0)
	ktap_cleanup "cgroup_remove $dir"
	tap=()
	[[ $name != flooded ]] || tap=(--tap fl0)
	standin "$name" --cgroup "$dir" "${tap[@]}"
done
standin host --gap-us 1000
wait_for 20 tap_is_up fl0
echo fl0 >"$vm/spare.netdev"
echo /pool/p0 >"$vm/spare.use"
sleep 2

one quiet 0 --stat
before=$(stat_of "$vm" granted)
one fits "$rate" --stat
ktap_note "flooded.granted.fits $(($(stat_of "$vm" granted) - before))"
ktap_note "flooded.boost_ns $(stat_of "$vm" boost_ns)"
ktap_check "CBS-5: E3: quiet: no deadline missed" equal 0 "$(missed quiet)"
ktap_check "E3: nothing was left out of the records" equal '0 0' "$(result "$MEASURES/quiet" lost) $(result "$MEASURES/fits" lost)"
ktap_check "E3: $rate packets/s: at least 99 % of them came about" at_least 990 "$(result "$MEASURES/rate.fits" rate.permille)"
share=$(result "$MEASURES/rate.fits" cpu_ppm)
ktap_check "SPARE-5: E3: $rate packets/s: the VM was boosted all the time" at_least $((seconds * 5)) $(($(stat_of "$vm" granted) - before))
ktap_check "E3: $rate packets/s: sending them fits the host's share" at_least "$share" $((1000000 - reserved_ppm))
ktap_check "CBS-5: E3: $rate packets/s: no deadline missed by the others" equal 0 "$(missed fits)"
for s in "${others[@]}"; do
	read -r name q p <<<"$s"
	was=$(result "$MEASURES/quiet" "$name.class.mean_ns") is=$(result "$MEASURES/fits" "$name.class.mean_ns")
	ktap_check "CBS-4: E3: $rate packets/s: $name: use per period by the class's account within 500 ppm of what it was" at_most 500 $(((is - was) * 1000000 / was))
	was=$(result "$MEASURES/quiet" "$name.mean_ns") is=$(result "$MEASURES/fits" "$name.mean_ns")
	ktap_check "CBS-4: E3: $rate packets/s: $name: by sched_switch, too" at_most 500 $(((is - was) * 1000000 / was))
done

stolen=$(stat_of "$CGROUP/vm/other1" stolen_ns)
seconds=$(((seconds + 1) / 2)) one over "$over" --any-phase
ktap_check "E3: $over packets/s: sending them exceeds the host's share" at_least $((1000000 - reserved_ppm)) "$(result "$MEASURES/rate.over" cpu_ppm)"
excess=$(($(result "$MEASURES/rate.over" cpu_ppm) - (1000000 - reserved_ppm)))
loss=$(lost quiet over)
ktap_note "excess_ppm $excess"
ktap_note "loss_ppm $loss"
ktap_check "E3: $over packets/s: it exceeds it in fact: somebody must lose" at_least 1 $excess
ktap_check "CBS-9: E3: $over packets/s: the others lose at most the excess" at_least "$loss" $excess
ktap_check "CBS-9: E3: $over packets/s: what was lost shows in stolen_ns" at_least 1 $(($(stat_of "$CGROUP/vm/other1" stolen_ns) - stolen))
ktap_done
