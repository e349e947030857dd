#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# CBS-9: host tasks share by cgroup weight, whatever the number of their threads, nested too; cpu.max holds, nested too; cpu.idle, nice,
# wake-ups; a VM that may use 0.90 of the CPU leaves them the rest; what a real-time thread takes from a VM is counted.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"
. "$here/../lib/host.inc.sh"

ktap_plan 31
host_tree
ktap_cleanup host_tree_remove

# check WHAT WANTED TOLERANCE REPORT KEY: in ppm of a CPU
check() {
	local got
	got=$(result "$MEASURES/$4" "$5")
	ktap_note "$1: $5 wanted $2, got $got"
	ktap_check "CBS-9: $1: $5 is $2 ppm of a CPU within $3" near "$2" "$3" "$got"
}

# together REPORT: what its groups got, in ppm of a CPU
together() { awk '$1 ~ /\.share_ppm$/ { sum += $2 } END { print sum }' "$MEASURES/$1"; }

# part WHAT WANTED TOLERANCE REPORT KEY: in ppm of what all groups of the report got together. What is missing to a CPU, some 6000 ppm, is the
# tick's and the switches': spare-burn does not count them as anybody's.
part() {
	local got
	got=$(($(result "$MEASURES/$4" "$5") * 1000000 / $(together "$4")))
	ktap_note "$1: $5 wanted $2, got $got"
	ktap_check "CBS-9: $1: $5 is $2 ppm of what all got, within $3" near "$2" "$3" "$got"
}

host_quiet || ktap_note "the host is still busy"
spare_up -v
host_quiet || ktap_note "the host is still busy"

# A turn ends at the tick: 4 ms. Who is to run when a measurement of 5 s begins may just have had one, and so when it ends: in ppm.
turn=$((4000 / 5))
burn threads "a=$HOST/a,1" "b=$HOST/b,3"
part "weight 100 and 300, 1 and 3 threads" 250000 $((2 * turn)) threads a.share_ppm
part "weight 100 and 300, 1 and 3 threads" 750000 $((2 * turn)) threads b.share_ppm
# Twelve that are in phase have twelve turns in a row: up to 12 * 0.75 of them more, or less: 3600 ppm of 10 s; and two turns of one: 800.
SECONDS_BURN=10 burn crowd "a=$HOST/a,12" "b=$HOST/b,1"
part "weight 100 and 300, 12 and 1 threads" 250000 5000 crowd a.share_ppm
part "weight 100 and 300, 12 and 1 threads" 750000 5000 crowd b.share_ppm
part "12 threads of one cgroup" 20833 800 crowd a.least_ppm
part "12 threads of one cgroup" 20833 800 crowd a.most_ppm
burn nested "n1=$HOST/nest/n1,2" "n2=$HOST/nest/n2,1" "flat=$HOST/flat,3"
part "nested 100 of 100+300 in 100 of 100+100" 125000 $((2 * turn)) nested n1.share_ppm
part "nested 300 of 100+300 in 100 of 100+100" 375000 $((2 * turn)) nested n2.share_ppm
part "beside nested ones" 500000 $((2 * turn)) nested flat.share_ppm
# sched_ext gives weights in the scale of cgroups: nice 5, 335 of 1024, is 33 of 100.
burn nice "n0=$HOST/flat,1" "n5=$HOST/flat,1,5"
part "nice 0 against 5" 751880 $((2 * turn)) nice n0.share_ppm
part "nice 5 against 0" 248120 $((2 * turn)) nice n5.share_ppm
# cpu.idle is a weight of 5/16.
burn idle "idle=$HOST/idle,4" "flat=$HOST/flat,1"
part "cpu.idle" 3115 "$turn" idle idle.share_ppm
part "beside cpu.idle" 996885 "$turn" idle flat.share_ppm
# 6000 ppm, and what spared and the kernel's own threads do now and then: some 5 ms in a second.
for name in threads crowd nested nice idle; do
	ktap_check "CBS-9: $name: the tick, switches and others took at most 12000 ppm of the CPU" at_least 988000 "$(together "$name")"
done

# By the kernel's account: what ticks and switches take within a limit is its own.
SECONDS_BURN=10
burn max "max=$HOST/max,3"
check "cpu.max 20 ms in 100 ms, alone" 200000 2000 max max.usage_ppm
sleep 0.2	# (what is left of the last period is without quota)
burn maxbusy "max=$HOST/max,3" "flat=$HOST/flat,2"
check "cpu.max 20 ms in 100 ms, others burn" 200000 2000 maxbusy max.usage_ppm
part "beside a limited one" 800000 2000 maxbusy flat.share_ppm
burn maxnest "m1=$HOST/maxnest/m1,2" "m2=$HOST/maxnest/m2,2"
limited=$(($(result "$MEASURES/maxnest" m1.usage_ppm) + $(result "$MEASURES/maxnest" m2.usage_ppm)))
ktap_check "CBS-9: cpu.max 20 % twice below 30 %: together 300000 ppm within 3000" near 300000 3000 "$limited"
check "cpu.max below another one" 150000 51000 maxnest m1.usage_ppm

# What wakes goes before what burns.
measure wake spare-cost --rounds 10000 hogged
ktap_note "a sleeper beside a hog: p50 $(result "$MEASURES/wake" hogged.p50_ns) p99 $(result "$MEASURES/wake" hogged.p99_ns) ns late"
ktap_check "CBS-9: a sleeper beside a hog runs within 50 us, 99 of 100 times" at_most 50000 "$(result "$MEASURES/wake" hogged.p99_ns)"

# A change of its attributes leaves a running task what was left of its slice; then it goes on, and needs no timer but the tick.
interrupts() { awk '$1 == "LOC:" { print $2 }' /proc/interrupts; }
from=${EPOCHREALTIME/./} before=$(interrupts)
for _ in {1..16}; do chrt --other 0 bash -c 'for ((i = 0; i < 10000; i++)); do :; done'; done
interrupts=$(($(interrupts) - before)) ticks=$(((${EPOCHREALTIME/./} - from) / 4000))
ktap_note "$interrupts timer interrupts in $ticks ticks"
ktap_check "CBS-9: a task that goes on with what was left of a slice costs no interrupts but the tick's, 2 per tick" at_most $((2 * ticks)) "$interrupts"

# Beside a VM that may use 0.90 of the only CPU.
dir=$(vm_cgroup full 90000 100000 0)
ktap_cleanup "cgroup_remove $dir"
standin full --cgroup "$dir"
burn floor "a=$HOST/a,1" "b=$HOST/b,2" # (the host has 1 s of these 10: a slice more or less is 4 of 1000 ms)
SECONDS_BURN=5
check "a VM with 90/100 burns: the host's floor" 25000 1500 floor a.share_ppm
check "a VM with 90/100 burns: the host's floor" 75000 4500 floor b.share_ppm

# Equal threads under a cpu.max that is not reached take turns there, as they do elsewhere.
switches() { awk '$1 == "ctxt" { print $2 }' /proc/stat; }
before=$(switches)
burn limited "max=$HOST/max,2"
switches=$(($(switches) - before))
ktap_note "$switches context switches beside two threads under cpu.max and a VM"
ktap_check "CBS-9: they take turns of milliseconds: 1000 switches in 5 s at most" at_most 1000 "$switches"

# The kernel's server for lower classes gives them 5 % of each second; the VM loses the rest of its 0.90.
stolen=$(stat_of "$dir" stolen_ns)
# shellcheck disable=SC2016 # expands inside
chrt -f 50 bash -c 'from=${EPOCHREALTIME/./}; while ((${EPOCHREALTIME/./} - from < 500000)); do :; done'
stolen=$(($(stat_of "$dir" stolen_ns) - stolen))
ktap_note "SCHED_FIFO for 500 ms: stolen_ns $stolen"
ktap_check "CBS-9: a real-time thread of 500 ms stole at least 400 ms from a VM" at_least 400000000 "$stolen"
ktap_check "CBS-9: and not more than it ran" at_most 520000000 "$stolen"
standin_stop full
cgroup_remove "$dir"
ktap_check "CBS-9: the class still runs" class_is enabled
ktap_done
