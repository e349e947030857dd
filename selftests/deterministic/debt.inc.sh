# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # for who sources this
#
# debt.inc.sh - VMs whose packets come from behind a veth and a bridge, and what they cost. Sources what else is needed.
#
#   debt_up             the network, spared with a meter, the class
#   debt_tap            tap spare0 is up, on the bridge, and known to the meter
#   known_cost N        that many cgroups have an entry in the map that class and meter share
#   owes DIR NS         as if that VM had cost so much
#   softirqs            what VM vm's packets have cost, the host's network, and elapsed time, in ns, by the meter, since it counts

here=$(dirname "${BASH_SOURCE[0]}")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

conf=$MEASURES/spared.toml pins=/sys/fs/bpf/sched_spare

net_down() { for dev in out0 debtbr; do ip link del "$dev" 2>/dev/null || true; done; }
debt_up() {
	local dev
	ktap_cleanup net_down
	modprobe -a veth bridge
	ip link add debtbr type bridge stp_state 0 forward_delay 0
	ip link add out0 type veth peer name out1
	for dev in out0 out1 debtbr; do
		echo 1 >"/proc/sys/net/ipv6/conf/$dev/disable_ipv6"
		ip link set "$dev" up
	done
	ip link set out1 master debtbr
	printf '[meter]\nenabled = true\n' >"$conf"
	spare_up -v -c "$conf"
}
in_table() { grep -q "\"$1\"" /run/sched_spare/meter.json; }
debt_tap() {
	wait_for 20 tap_is_up spare0
	ip link set spare0 master debtbr
	wait_for 30 in_table spare0 || ktap_note "the meter has not seen the tap: $(<"$SPARED_LOG")"
}

known_cost() { bpftool map dump pinned "$pins/costs" >"$MEASURES/costs" && [[ $(grep -c . "$MEASURES/costs") -ge $1 ]]; }
bytes_of() { printf '%016x\n' "$1" | fold -w 2 | tac | tr '\n' ' '; }
owes() {
	# shellcheck disable=SC2046 # bytes
	bpftool map update pinned "$pins/costs" key hex $(bytes_of "$(stat -c %i "$1")") value hex $(bytes_of "$2")
}

sum_of() { awk -F: '{ sum += $2 } END { printf "%d", sum }'; }
softirqs() {
	spared --meter --pinned --total --json >"$MEASURES/bill"
	echo "$(grep -o '{"name":"/vm/vm"[^}]*' "$MEASURES/bill" | grep -o '"softirq_[rt]x":[0-9]*' | sum_of)" \
		"$(grep -o '"network":[0-9]*' "$MEASURES/bill" | sum_of) $(grep -o '"elapsed_ns":[0-9]*' "$MEASURES/bill" | sum_of)"
}
