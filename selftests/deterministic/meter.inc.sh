# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # MAC_OUT is for who sources this
# meter.inc.sh - the read-only meter, and a network for it: taps on a bridge, and somebody outside behind a veth (out0, 198.18.80.1).
# Sourced behind measure.inc.sh.

meter_net_down() {
	local dev
	ip netns del out 2>/dev/null || true
	for dev in spare0 spare1 meterbr; do ip link del "$dev" 2>/dev/null || true; done
}

# meter_net_up TAP...
meter_net_up() {
	local dev
	ktap_cleanup meter_net_down
	modprobe -a vhost_net veth bridge
	ip link add meterbr type bridge stp_state 0 forward_delay 0
	ip netns add out
	ip link add out0 type veth peer name out1
	ip link set out0 netns out
	for dev; do ip tuntap add dev "$dev" mode tap vnet_hdr; done
	for dev in out1 "$@" meterbr; do
		echo 1 >"/proc/sys/net/ipv6/conf/$dev/disable_ipv6"
		[[ $dev == meterbr ]] || ip link set "$dev" master meterbr
		ip link set "$dev" up
	done
	ip netns exec out bash -c '
		echo 1 >/proc/sys/net/ipv6/conf/out0/disable_ipv6
		ip link set out0 up
		ip addr add 198.18.80.1/24 dev out0'
	MAC_OUT=$(ip netns exec out cat /sys/class/net/out0/address)
}

# lives_at ADDRESS MAC [TAP]: outside knows; and the bridge, if it is behind a tap
lives_at() {
	ip -n out neigh replace "$1" lladdr "$2" dev out0 nud permanent
	[[ -z ${3-} ]] || bridge fdb replace "$2" dev "$3" master static
}

# meter_up VM...: its bill in $MEASURES/bill, a line for each look
meter_up() {
	local vm options=()
	for vm; do options+=(--vm "$vm"); done
	spared -v --meter --json "${options[@]}" >"$MEASURES/bill" 2>"$MEASURES/meter.err" &
	METER=$!
	ktap_cleanup meter_down
	wait_for 120 two_more 0
}
meter_down() {
	[[ -n ${METER-} ]] || return 0
	kill -INT "$METER" 2>/dev/null || true
	wait "$METER" || true
	METER=
}

# Sets LOOKS, the whole lines. (wait_for asks often: no process.)
looks() {
	local lines=()
	mapfile lines <"$MEASURES/bill" || return
	LOOKS=${#lines[@]}
	[[ -z ${lines[*]: -1} || ${lines[*]: -1} == *$'\n' ]] || LOOKS=$((LOOKS - 1))
}
two_more() { looks && ((LOOKS >= $1 + 2)); }
# The line that is being written is over, and one more.
settle() {
	looks
	wait_for 20 two_more "$LOOKS"
}

# billed FROM FIELD [VM]: the sum of a field in the lines FROM and on: of a VM, or of whoever has it
billed() {
	awk -v from="$1" -v field="\"$2\":" -v vm="${3:+\"$3\"}" '
		NR >= from {
			n = split($0, rows, /{"name":/)
			for (i = 1; i <= n; i++)
				if (vm == "" || (i > 1 && index(rows[i], vm) == 1))
					for (rest = rows[i]; (at = index(rest, field)); sum += rest)
						rest = substr(rest, at + length(field))
		}
		END { printf "%.0f\n", sum }' "$MEASURES/bill"
}

# Every line: all that passed is billed, nothing twice.
exact() { ! grep -o '"error_ns":[-0-9]*' "$MEASURES/bill" | grep -v ':0$'; }
