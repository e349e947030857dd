#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# SPARE-9: whatever way packets take to the tap, each that finds the server throttled and the provider free is granted and served within its
# bound, in a VM 40/100 ms that burns: past the queueing discipline, redirected by tc (Kata's tcfilter), held back by a queueing
# discipline, redirected by XDP, by a macvtap.
set -euo pipefail
. "$(dirname "$0")/nic.inc.sh"

cleanup() {
	ip link del veth0 2>/dev/null || true
}

# No packets of the kernel's own.
quiet() {
	echo 1 2>/dev/null >"/proc/sys/net/ipv6/conf/$1/disable_ipv6" || true
	ip link set "$1" up
}

by_tc() {
	tc qdisc add dev veth1 clsact
	tc filter add dev veth1 ingress matchall action mirred egress redirect dev spare0
}

by_netem() { tc qdisc replace dev spare0 root netem delay 1ms; }

by_xdp() {
	tc qdisc del dev veth1 clsact
	"$TOOLS/spare-xdp" veth1 spare0 >"$MEASURES/xdp" &
	XDP=$!
	wait_for 10 grep -q attached "$MEASURES/xdp"
}

ktap_plan 31
nic_vm
ktap_cleanup cleanup
ip link add veth0 type veth peer name veth1
quiet veth0
quiet veth1
SEND=--bypass nic bypass spare0 --tap spare0
FROM=veth0 PREPARE=by_tc nic tc spare0 --tap spare0
PREPARE=by_netem HELD_US=1100 nic netem spare0 --tap spare0
FROM=veth0 PREPARE=by_xdp nic xdp spare0 --tap spare0
kill "$XDP"
ip link add link veth1 name spare0 address 02:00:00:00:00:02 type macvtap mode bridge
FROM=veth0 nic macvtap spare0 --tap spare0
ktap_check "SPARE-8: for each that waited a provider was asked" equal 0 "$(stat_of "$vm" unasked)"
ktap_done
