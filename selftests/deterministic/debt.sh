#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 900
# DEBT-1: what a VM costs beside its threads is paid from its reservation.
#
# A VM 40/100 ms burns and holds a tap on a bridge. Packets for it come from behind a veth, held back by netem, so that the softirqs in which they reach the tap
# run on top of whatever runs: evenly, and 50 in a burst each 20 ms. Its own use and what the meter billed it for softirqs are together within 0.2 % of Q
# over ten intervals of 500 ms; with charge=none they exceed that by the softirqs. A VM without packets beside it has what it reserved, to the nanosecond.
# A debt that no budget can pay leaves a tenth of each. 300 threads in a VM 0.5/100 ms deep in debt get on (CBS-7).
#
# Own use is seen twice: by the class (a period's use is what used_ns and the budget left, together, have grown by) and by sched_switch.
set -euo pipefail
. "$(dirname "$0")/debt.inc.sh"

q=40000000 intervals=10 rate=2500 burst=5
vm=$CGROUP/vm/vm calm=$CGROUP/vm/calm small=$CGROUP/vm/small
deep=100000000000	# ns

# through NAME: for ten intervals, packets meanwhile; sets own, cost (per period by the class), traced, softirq (by trace and meter), in ns; paid, owed
through() {
	local from to bill0 bill1 sender recorder p0 p1 u0 u1 c0 c1 e0 e1
	"$TOOLS/spare-pktgen" --tap out0 --shm /dev/shm/vm --rate "$rate" --burst "$burst" --seconds $((intervals / 2 + 6)) >"$MEASURES/rate.$1" 2>&1 &
	sender=$!
	# (Longer than is looked at: when it ends it works as SCHED_FIFO, and a budget's beginning that waits for that has the cost of more than a period.)
	measure "$1" spare-trace --server "vm=$vm,40000,100000" --seconds $((intervals / 2 + 4)) --fifo 99 --buffer-mib 128 --csv "$MEASURES/$1.csv" &
	recorder=$!
	sleep 3	# (each softirq that is recorded costs more); and the first intervals: what is owed comes to be what one of them costs
	bill0=$(softirqs)
	from=$(account_of "$vm") calm_from=$(account_of "$calm")
	sleep $((intervals / 2))
	to=$(account_of "$vm") calm_to=$(account_of "$calm")
	bill1=$(softirqs)
	wait "$recorder" || { ktap_note "$(<"$MEASURES/$1.err")"; exit 1; }
	wait "$sender" || { ktap_note "$(<"$MEASURES/rate.$1")"; exit 1; }
	read -r p0 u0 c0 _ _ <<<"$from"
	read -r p1 u1 c1 paid owed <<<"$to"
	own=$(((u1 - u0) / (p1 - p0))) cost=$(((c1 - c0) / (p1 - p0)))
	read -r c0 _ e0 <<<"$bill0"
	read -r c1 _ e1 <<<"$bill1"
	softirq=$(((c1 - c0) * 100000 / ((e1 - e0) / 1000)))
	traced=$(tail -n $((intervals * 5)) "$MEASURES/$1.csv" | awk -F, '{ sum += $3 } END { printf "%d", sum / NR }')
	ktap_note "$1: of each period of 100 ms: own $own ns by the class, $traced by sched_switch; softirqs $cost ns by the class, $softirq by the meter; owed $owed ns; $(grep permille "$MEASURES/rate.$1")"
}
ppm_of_q() { echo $((($1 - q) * 1000000 / q)); }

all_ran() { "$TOOLS/spare-standin" --shm /dev/shm/small --report >"$MEASURES/small" && (($(result "$MEASURES/small" vcpus.ran) == 300)); }
ready() { (($(grep -c . "$small/cgroup.threads") > 300)); }

ktap_plan 23
debt_up
vm_cgroup vm 40000 100000 0 >/dev/null
vm_cgroup calm 20000 100000 0 >/dev/null
vm_cgroup small 500 100000 0 >/dev/null
ktap_cleanup "cgroup_remove $vm $calm $small"
host_quiet || ktap_note "the host is still busy"
standin vm --cgroup "$vm" --tap spare0
standin calm --cgroup "$calm"
debt_tap
ktap_check "DEBT-1: class and meter share a map, with the VMs in it" wait_for 30 known_cost 3

# (netem makes them even: a sender that wakes for each is a change of the address space more, which costs the emulator 0.5 ms.)
even=(delay 300us rate $((64 * 8 * rate * 102 / 100))bit)
way() {
	tc qdisc del dev out0 root 2>/dev/null || true
	tc qdisc add dev out0 root netem limit 10000 "${@:2}"
	through "$1"
	ktap_check "DEBT-1: $1: softirqs for its packets take at least 1 % of the CPU" at_least 1000000 "$softirq"
	ktap_check "DEBT-1: $1: what the class has read is what the meter has billed, within 1 %" near "$softirq" $((softirq / 100)) "$cost"
}
way steady "${even[@]}"
ktap_check "DEBT-1: steady: own use and softirqs over $intervals intervals within 2000 ppm of Q, by the class" at_most 2000 "$(ppm_of_q $((own + cost)))"
steady_traced=$traced steady_softirq=$softirq
ktap_check "DEBT-1: steady: what is owed is at most what two intervals cost" at_most $((2 * 5 * cost)) "$owed"
read -r p0 u0 _ _ _ <<<"$calm_from"
read -r p1 u1 c1 _ _ <<<"$calm_to"
ktap_check "DEBT-1: a VM without packets beside it has cost nothing, and has its reservation to the nanosecond" \
	equal "0 $((20000000 * (p1 - p0)))" "$c1 $((u1 - u0))"
way bursts delay 300us slot 20ms 20ms
ktap_check "DEBT-1: bursts: own use and softirqs over $intervals intervals within 2000 ppm of Q, by the class" at_most 2000 "$(ppm_of_q $((own + cost)))"
ktap_check "DEBT-1: bursts: by sched_switch and the meter" at_most 2000 "$(ppm_of_q $((traced + softirq)))"
ktap_check "DEBT-1: all that it was charged is paid or owed" eval '[[ $(awk "{ v[\$1] = \$2 } END { print v[\"cost_ns\"] - v[\"cost_paid_ns\"] - v[\"cost_owed_ns\"] - v[\"cost_waived_ns\"] }" "$vm/spare.stat") == 0 ]]'

echo charge=none >"$vm/spare.policy"
way none "${even[@]}"
ktap_check "DEBT-1: charge=none: they exceed Q by the softirqs, by the class" near "$((cost * 1000 / (q / 1000)))" 500 "$(ppm_of_q $((own + cost)))"
ktap_check "DEBT-1: charge=none: by sched_switch and the meter" at_least 10000 "$(ppm_of_q $((traced + softirq)))"
# (What the recording of softirqs takes is in neither account, but in the budget: the same in both runs.)
ktap_check "DEBT-1: steady: by sched_switch the VM had less than with charge=none by what the softirqs cost, within 2000 ppm of Q" \
	near "$steady_softirq" 80000 $((traced - steady_traced))
ktap_check "DEBT-1: charge=none: nothing is owed" equal 0 "$(stat_of "$vm" cost_owed_ns)"
echo charge=debt >"$vm/spare.policy"
tc qdisc del dev out0 root

owes "$vm" "$deep"
sleep 1
read -r p0 u0 _ paid0 _ < <(account_of "$vm")
sleep 5
read -r p1 u1 _ paid owed < <(account_of "$vm")
own=$(((u1 - u0) / (p1 - p0)))
ktap_note "deep: $own ns a period, paid $(((paid - paid0) / (p1 - p0))), owed $owed"
ktap_check "DEBT-1: a debt beyond all budgets: a tenth of each is left, and its overrun" eval "at_least $((q / 10)) $own && at_least $own $((q / 10 + 50000))"
ktap_check "DEBT-1: and all the rest pays, to the nanosecond" equal $((q * (p1 - p0))) $((u1 - u0 + paid - paid0))
standin_stop vm

standin small --hold --vcpus 300 --cgroup "$small"
wait_for 60 ready
owes "$small" "$deep"
"$TOOLS/spare-standin" --shm /dev/shm/small --release
wait_for 60 all_ran || ktap_note "not all threads ran within 60 s"
read -r p0 u0 _ paid0 _ < <(account_of "$small")
sleep 24
read -r p1 u1 _ paid owed < <(account_of "$small")
all_ran || true
report "$MEASURES/small" vcpus
ktap_note "small: $(((u1 - u0) / (p1 - p0))) ns a period, paid $(((paid - paid0) / (p1 - p0))), owed $owed, by the valve $(stat_of "$small" valve_ns) ns in all"
ktap_check "CBS-7: 300 threads in 0.5 % deep in debt: no ejection" class_is enabled
ktap_check "CBS-7: every thread ran" equal 300 "$(result "$MEASURES/small" vcpus.ran)"
ktap_check "CBS-7: no thread waited for half of the watchdog's time" at_most 15000000000 "$(result "$MEASURES/small" vcpus.gap_max_ns)"
ktap_check "DEBT-1: they have at least a tenth of Q, and with what they pay Q" eval "at_least 50000 $(((u1 - u0) / (p1 - p0))) && near 500000 10 $(((u1 - u0 + paid - paid0) / (p1 - p0)))"
ktap_done
