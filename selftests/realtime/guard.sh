#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 400
#
# guard.sh - GUARD-1, GUARD-2 with a real guest: a bulk TCP stream of a VM 80/100 ms goes on under a limit of 5 % for its network work, and the host's
# answers to it are not dropped. How much it carries for the same CPU is noted; deterministic/guard.sh has the bounds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/load.inc.sh"
. "$here/../lib/host.inc.sh"

vm=$CGROUP/vm/bulk port=7172 conf=$MEASURES/spared.toml
cleanup() {
	cgroup_remove "$vm" || true
	ip link del bulk 2>/dev/null || true
}
ktap_cleanup cleanup

# received: bytes that have come so far; retransmitted segments are the guest's affair
received() { RECEIVED=$(<"$MEASURES/received"); }
has_received() { received && ((RECEIVED > 2000000)); }
bill_softirq() { spared --meter --pinned --total --json | { grep -o '{"name":"/vm/bulk"[^}]*' || true; } | { grep -o '"softirq_[rt]x":[0-9]*' || true; } | awk -F: '{ s += $2 } END { printf "%d", s }'; }
guards() { compgen -G '/sys/fs/bpf/sched_spare/guard/*_rx' && compgen -G '/sys/fs/bpf/sched_spare/guard/*_tx'; }

# stream NAME SECONDS: sets BYTES, NETWORK (ns of vhost and softirqs), GAP (longest time without a byte, in ms), TOOK (ms)
stream() {
	local from0 vhost0 softirq0 last gap=0 at since
	from0=$(now_ns) vhost0=$(stat_of "$vm" vhost_ns) softirq0=$(bill_softirq)
	received
	BYTES=$RECEIVED last=$RECEIVED since=$(now_ns)
	while at=$(now_ns) && ((at - from0 < $2 * 1000000000)); do
		sleep 0.02
		received
		if ((RECEIVED != last)); then last=$RECEIVED since=$at; fi
		((at - since <= gap)) || gap=$((at - since))
	done
	BYTES=$((RECEIVED - BYTES)) GAP=$((gap / 1000000)) TOOK=$((($(now_ns) - from0) / 1000000))
	NETWORK=$(($(stat_of "$vm" vhost_ns) - vhost0 + $(bill_softirq) - softirq0))
	ktap_note "$1: $BYTES bytes in $TOOK ms; network work $((NETWORK / 1000)) us, $((NETWORK / TOOK / 1000)) per mille; $((BYTES * 1000000 / NETWORK)) bytes for each ms of it; longest time without any $GAP ms; held $(stat_of "$vm" net_held), dropped $(stat_of "$vm" net_rx_dropped) and $(stat_of "$vm" net_tx_dropped)"
}

ktap_plan 9
printf '[meter]\nenabled = true\n' >"$conf"
spare_up -v -c "$conf"
modprobe -a tun vhost_net
vm_cgroup bulk 80000 100000 0 >/dev/null
echo 0 >"$MEASURES/received"
background python3 -c '
import os, socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
total = 0
while True:
    stream, _ = server.accept()
    while data := stream.recv(1 << 16):
        total += len(data)
        with open(sys.argv[2] + ".new", "w") as out:
            print(total, file=out)
        os.rename(sys.argv[2] + ".new", sys.argv[2])
' "$port" "$MEASURES/received"
"$here/../guest/run.sh" --tap bulk --net 73 --send "$port" --cgroup "$vm" --serial "$MEASURES/serial" </dev/null >"$MEASURES/qemu" 2>&1 &
wait_for 20 test -d /sys/class/net/bulk
ktap_check "a guest sends" wait_for 120 has_received
echo bulk >"$vm/spare.netdev"
wait_for 30 grep -q '"bulk"' /run/sched_spare/meter.json || ktap_note "the meter has not seen the tap: $(<"$SPARED_LOG")"
stream free 8
free=$((BYTES * 1000000 / NETWORK))
ktap_check "without a limit its network work is more than 10 % of a CPU" at_least $((TOOK * 100000)) "$NETWORK"
sparectl set /vm/bulk --net-max 500us/10ms
ktap_check "GUARD-1: spared puts its programs at the tap" wait_for 20 guards
sleep 1
stream limited 15
ktap_note "for the same CPU it carries $((BYTES * 100000000 / NETWORK / free)) % of what it carried without a limit"
# (Where an acknowledgement is lost all the same, TCP waits for its own timer, which doubles.)
ktap_check "GUARD-1: the stream goes on, and never stands still for three seconds" at_most 3000 "$GAP"
ktap_check "GUARD-1: network work is 5 % of a CPU at most, within a fifth" at_most $((TOOK * 60000)) "$NETWORK"
ktap_check "GUARD-1: and 2 % at least" at_least $((TOOK * 20000)) "$NETWORK"
ktap_check "GUARD-2: its worker waited for it" at_least 10 "$(stat_of "$vm" net_held)"
ktap_check "GUARD-2: nothing from the VM was dropped" equal 0 "$(stat_of "$vm" net_tx_dropped)"
ktap_check "class and module are well" class_is enabled
ktap_done
