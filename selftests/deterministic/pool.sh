#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 400
# SPARE-5: a pool of two providers 2/10 ms for four VMs 10/200 ms (0.40 + 0.20 of the CPU) that burn.
#
# Packets reach the exhausted VMs a, b, c, d in this order, 0.2 ms apart, when both providers are free.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

rounds=10
declare -A VM=() BEFORE=()

exhausted() { grep -q '^cpu0.state throttled' "${VM[$1]}/spare.stat"; }

# pass VM: until shortly after its next replenishment and two VMs' use of their budgets
pass() {
	local due now
	wait_for 5 exhausted "$1"
	due=$(($(stat_of "${VM[$1]}" cpu0.d_ns) / 1000000 + 30)) now=$(awk '{ printf "%d", $1 * 1000 }' /proc/uptime)
	((due > now)) || due=$((due + 200))
	sleep "$(printf '%d.%03d' $(((due - now) / 1000)) $(((due - now) % 1000)))"
}

# align VM... [- VM...]: new servers, so that all are exhausted at the same time; those after - are replenished after those before
align() {
	local vm first=$1
	for vm in a b c d; do echo max >"${VM[$vm]}/spare.reservation"; done
	for vm; do
		[[ $vm == - ]] && { pass "$first"; continue; }
		echo '10000 200000' >"${VM[$vm]}/spare.reservation"
	done
	sleep 0.5
}

# mark: remember the counters; since WHAT KEY...: what they have counted since, "1 2 3"
mark() {
	local what key
	for what in "${!VM[@]}"; do
		for key in granted denied blocked; do BEFORE[$what.$key]=$(stat_of "${VM[$what]}" "$key"); done
	done
}
since() {
	local key=$1 what out=()
	shift
	for what; do out+=($(($(stat_of "${VM[$what]}" "$key") - BEFORE[$what.$key]))); done
	echo "${out[*]}"
}

policy() {
	local text=$1 vm
	shift
	for vm; do echo "$text" >"${VM[$vm]}/spare.policy"; done
}

# burst NAME TARGET[,DELAY_US]...: rounds of packets; report in $MEASURES/NAME
burst() {
	local name=$1 vm delay args=()
	shift
	for vm; do
		delay=${vm#*,}
		[[ $delay != "$vm" ]] || delay=0
		vm=${vm%,*}
		args+=(--target "$vm${delay/#0/}=tap$vm,/dev/shm/$vm,${VM[$vm]},$delay")
	done
	mark
	measure "$name" spare-burst "${args[@]}" --provider "${VM[p0]}" --provider "${VM[p1]}" --rounds "$rounds" --quiet-ms 60 --settle-ms 250 || exit 1
	report "$MEASURES/$name" .
	ktap_note "$name: granted $(since granted a b c d), blocked $(since blocked a b c d), denied $(since denied a b c d), loans $(since granted p0 p1), blocked at $(since blocked p0 p1)"
}

lost() { awk '$1 ~ /\.lost$/ { sum += $2 } END { print sum + 0 }' "$MEASURES/$1"; }

ktap_plan 27
spare_up -v
host_quiet || ktap_note "the host is still busy"

for p in p0 p1; do
	VM[$p]=$(provider "$p" 2000 10000 0)
	ktap_cleanup "cgroup_remove ${VM[$p]}"
done
for vm in a b c d; do
	VM[$vm]=$(vm_cgroup "$vm" 10000 200000 0)
	ktap_cleanup "cgroup_remove ${VM[$vm]}"
	standin "$vm" --cgroup "${VM[$vm]}" --tap "tap$vm"
done
for vm in a b c d; do
	wait_for 20 tap_is_up "tap$vm"
	echo "tap$vm" >"${VM[$vm]}/spare.netdev"
done

# 1. the first free one, in the order of spare.use
for vm in a b c; do echo '/pool/p0 /pool/p1' >"${VM[$vm]}/spare.use"; done
echo '/pool/p1 /pool/p0' >"${VM[d]}/spare.use"
align a b c d
burst first_a a
ktap_check "SPARE-5: who names p0 p1 borrows from p0" equal "$rounds 0" "$(since granted p0 p1)"
burst first_d d
ktap_check "SPARE-5: who names p1 p0 borrows from p1" equal "0 $rounds" "$(since granted p0 p1)"
burst second a b
ktap_check "SPARE-5: who finds p0 taken borrows from p1, and is not blocked" equal "$rounds $rounds 0" "$(since granted p0 p1) $(since blocked b)"

# 2. more VMs than providers: in order of arrival
burst wait a b c d
ktap_check "SPARE-5: four packets, two providers: every one is granted" equal "$rounds $rounds $rounds $rounds" "$(since granted a b c d)"
ktap_check "SPARE-5: those who found both taken count as blocked" equal "0 0 $rounds $rounds" "$(since blocked a b c d)"
ktap_check "SPARE-5: at the provider that they named first" equal "$rounds $rounds" "$(since blocked p0 p1)"
ktap_check "SPARE-5: none denied" equal "0 0 0 0" "$(since denied a b c d)"
ktap_check "SPARE-5: a loan for each grant" equal $((4 * rounds)) $(($(since granted p0) + $(since granted p1)))
ktap_check "SPARE-5: first service in the order of arrival" equal 0 "$(result "$MEASURES/wait" disorder)"
ktap_check "SPARE-5: those who waited were served within two periods of the pool" at_most 20300000 "$(result "$MEASURES/wait" d.max_ns)"
ktap_check "SPARE-8: none lost" equal 0 "$(lost wait)"
burst wait2 b a d c
ktap_check "SPARE-5: the order is that of arrival, not of names" equal 0 "$(result "$MEASURES/wait2" disorder)"

# 3. a and b keep their providers until their own budgets are back, which is after those of c and d
policy grant_us=1000000 a b
align c d - a b
burst deny a b c d
ktap_check "SPARE-5: who finds both taken for long is blocked" equal "0 0 $rounds $rounds" "$(since blocked a b c d)"
ktap_check "SPARE-5: and denied when its own budget comes first: granted, denied" \
	equal "$rounds $rounds 0 0, 0 0 $rounds $rounds" "$(since granted a b c d), $(since denied a b c d)"
ktap_check "SPARE-5: the providers were lent to nobody else" equal "$rounds $rounds" "$(since granted p0 p1)"
ktap_check "SPARE-8: the own budget served it: none lost" equal 0 "$(lost deny)"

# 4. loss mode: no waiting; 20 ms later the providers are free again
policy grant_us=2000 a b
policy wait=0 c d
align a b c d
burst loss a b c d c,20000 d,20000
ktap_check "SPARE-5: loss mode: blocked and denied at once, the later packet is granted" \
	equal "$rounds $rounds, $rounds $rounds, $rounds $rounds" "$(since blocked c d), $(since denied c d), $(since granted c d)"
ktap_check "SPARE-5: loss mode: the later packet is served within the pool's period" at_most 10300000 "$(result "$MEASURES/loss" c20000.max_ns)"
ktap_check "SPARE-8: loss mode: none lost" equal 0 "$(lost loss)"
policy wait=1 c d

# 5. the parent names the pool, and a provider that comes later belongs to it
for vm in a b c d; do echo /pool >"${VM[$vm]}/spare.use"; done
burst parent a b
ktap_check "SPARE-5: a parent cgroup stands for its providers" equal "$rounds $rounds 0 0" "$(since granted a b) $(since blocked a b)"
burst before a b c
ktap_check "SPARE-5: a third VM is blocked by a pool of two" equal "$rounds" "$(since blocked c)"
VM[p2]=$(provider p2 500 10000 0)
ktap_cleanup "cgroup_remove ${VM[p2]}"
burst after a b c
ktap_check "SPARE-5: a provider that came later serves it" equal "0 $rounds $rounds" "$(since blocked c) $(since granted c p2)"
ktap_check "SPARE-8: pool by its parent: none lost" equal 0 $(($(lost parent) + $(lost before) + $(lost after)))

# 6. a VM whose threads all sleep within a loan, which would last for a second: one that is not the vCPU wakes less than once in a period, and has 2 ms left
# when the budget ends
policy grant_us=1000000 a
standin_stop a
standin a --cgroup "${VM[a]}" --tap tapa --idle --wakers 1 --wake-run-us 12000 --wake-sleep-us 250000
wait_for 20 tap_is_up tapa
echo tapa >"${VM[a]}/spare.netdev"
for vm in a b; do echo /pool/p0 >"${VM[$vm]}/spare.use"; done
burst halt a b,40000
ktap_check "SPARE-5: who sleeps within a loan lets go of it: the next VM is not blocked" equal "$rounds 0" "$(since granted b) $(since blocked b)"
ktap_check "SPARE-8: and nothing is lost" equal 0 "$(lost halt)"

ktap_check "SPARE-5: no VM holds a provider now" wait_for 5 bash -c "! grep -qE '^cpu0.claimed 1' ${VM[p0]}/spare.stat ${VM[p1]}/spare.stat ${VM[p2]}/spare.stat"
ktap_check "SPARE-1: no provider overran its reservation" equal "0 0 0" "$(stat_of "${VM[p0]}" overruns) $(stat_of "${VM[p1]}" overruns) $(stat_of "${VM[p2]}" overruns)"
ktap_done
