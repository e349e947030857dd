#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 600
# SPARE-9: the network thread is who a packet wakes, whatever its name: a NIC without vhost, served by the emulator's loop; one beside a NIC
# with vhost in the same VM; a tap with several queues, each with a thread. Every packet that finds the server throttled and the provider
# free is granted and served within its bound, in a VM 40/100 ms that burns.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

bound_us=$((10000 - 4000 + 300)) packets=150
vm=$CGROUP/vm/vm

# nic NAME TAP STANDIN_OPTION...: packets to TAP of such a stand-in
nic() {
	local name=$1 tap=$2 granted expired r=$MEASURES/$1
	shift 2
	standin vm --cgroup "$vm" "$@"
	wait_for 20 tap_is_up "$tap"
	[[ "$*" != *spare1* ]] || wait_for 20 tap_is_up spare1
	ktap_check "SPARE-2: $name: taps are bound" bash -c "(cd /sys/class/net && echo spare*) >$vm/spare.netdev"
	sleep 1
	granted=$(stat_of "$vm" granted) expired=$(stat_of "$vm" expired)
	measure "$name" spare-pktgen --tap "$tap" --shm /dev/shm/vm --stat "$vm/spare.stat" --bound-us "$bound_us" --provider "$pool/spare.stat" \
		--min-us 15000 --max-us 35000 --limit-s 120 --random "$packets" || exit 1
	report "$r" sent lost 'free\.' 'own\.max' 'busy\.'
	ktap_check "SPARE-8: $name: none of $packets lost" equal 0 "$(result "$r" lost)"
	ktap_check "SPARE-9: $name: a third found the server throttled and the provider free" at_least $((packets / 3)) "$(result "$r" free.n)"
	ktap_check "SPARE-9: $name: each had a grant" at_least "$(result "$r" free.n)" $(($(stat_of "$vm" granted) - granted))
	ktap_check "SPARE-9: $name: and first service within Ps - Qs + 0.3 ms" equal 0 "$(result "$r" free.over)"
	ktap_check "SPARE-4: $name: no mark expired" equal "$expired" "$(stat_of "$vm" expired)"
	standin_stop vm
}

ktap_plan 19
spare_up -v
host_quiet || ktap_note "the host is still busy"
pool=$(provider p0 4000 10000 0)
vm_cgroup vm 40000 100000 0 >/dev/null
ktap_cleanup "cgroup_remove $vm $pool"
echo /pool/p0 >"$vm/spare.use"
nic emulated spare0 --emulated-tap spare0
nic beside_vhost spare0 --tap spare1 --emulated-tap spare0
nic queues spare0 --tap spare0 --queues 4
ktap_check "SPARE-8: for each that waited a provider was asked" equal 0 "$(stat_of "$vm" unasked)"
ktap_done
