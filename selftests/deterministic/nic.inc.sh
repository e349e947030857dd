# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# nic.inc.sh - a burning VM 40/100 ms beside a provider 4/10 ms, and packets to a NIC of it. Sources what else is needed.
#
#   nic_vm                              the class, $pool, $vm
#   nic NAME TAP STANDIN_OPTION...      a stand-in with such a NIC; $packets to TAP: 6 checks
#                                       FROM: send by this interface; PREPARE: a function to call once the tap is there; SEND: more options
#                                       of spare-pktgen; HELD_US: how long packets are held back on their way

here=$(dirname "${BASH_SOURCE[0]}")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

packets=150 vm=$CGROUP/vm/vm

nic_vm() {
	spare_up -v
	host_quiet || ktap_note "the host is still busy"
	pool=$(provider p0 4000 10000 0)
	vm_cgroup vm 40000 100000 0 >/dev/null
	ktap_cleanup "cgroup_remove $vm $pool"
	echo /pool/p0 >"$vm/spare.use"
}

nic() {
	local name=$1 tap=$2 granted expired r=$MEASURES/$1 free held=${HELD_US-0}
	shift 2
	standin vm --cgroup "$vm" "$@"
	wait_for 20 tap_is_up "$tap"
	[[ "$*" != *spare1* ]] || wait_for 20 tap_is_up spare1
	ktap_check "SPARE-2: $name: taps are bound" bash -c "(cd /sys/class/net && echo spare*) >$vm/spare.netdev"
	${PREPARE-:}
	sleep 1
	granted=$(stat_of "$vm" granted) expired=$(stat_of "$vm" expired)
	# shellcheck disable=SC2086 # options
	measure "$name" spare-pktgen --tap "${FROM:-$tap}" ${SEND-} --shm /dev/shm/vm --stat "$vm/spare.stat" --provider "$pool/spare.stat" \
		--bound-us $((10000 - 4000 + 300 + held)) --due-us $((500 + held)) --min-us 15000 --max-us 35000 --limit-s 120 --random "$packets" || exit 1
	report "$r" sent lost 'free\.' 'own\.max' 'busy\.'
	free=$(result "$r" free.n)
	ktap_check "SPARE-8: $name: none of $packets lost" equal 0 "$(result "$r" lost)"
	ktap_check "SPARE-9: $name: a third found the server throttled and the provider free" at_least $((packets / 3)) "$free"
	ktap_check "SPARE-9: $name: each had a grant, but for those that the replenishment served" at_least $((free - $(result "$r" free.due))) \
		$(($(stat_of "$vm" granted) - granted))
	ktap_check "SPARE-9: $name: and first service within Ps - Qs + 0.3 ms" at_most 0 "$(result "$r" free.over)"
	ktap_check "SPARE-4: $name: no mark expired" equal "$expired" "$(stat_of "$vm" expired)"
	standin_stop vm
}
