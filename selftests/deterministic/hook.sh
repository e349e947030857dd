#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
# SPARE-9: what the hook costs a packet for a VM that is not exhausted. Under icount shift=1 an instruction takes 2 ns of
# virtual time, so the median time of send() is a path length: the same for each run, and the difference between a tap that is
# bound to a VM and one that is not, before any was, is the hook's (ftrace's part of it included).
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

ktap_plan 4
[[ ${SPARE_HOST-} == deterministic ]] || ktap_note "not under icount: these are times, not instructions"
spare_up -v
host_quiet || ktap_note "the host is still busy"

vm=$(vm_cgroup hook 50000 100000 0)
ktap_cleanup "cgroup_remove $vm"
standin hook --cgroup "$vm" --tap spare0 --idle
wait_for 20 tap_is_up spare0

flood=(spare-pktgen --tap spare0 --shm /dev/shm/hook --flood 400 --rounds 5)
measure warm "${flood[@]}"
measure free "${flood[@]}"
ktap_check "SPARE-2: the tap is bound" bash -c "echo spare0 >$vm/spare.netdev"
throttled=$(stat_of "$vm" throttled)
measure bound "${flood[@]}"
ktap_check "SPARE-2: the hook saw every packet" equal 2000 "$(stat_of "$vm" rx_packets)"
ktap_check "SPARE-2: the VM was not exhausted meanwhile" equal "$throttled" "$(stat_of "$vm" throttled)"
echo none >"$vm/spare.netdev"
measure again "${flood[@]}"

for what in free bound again; do
	ktap_note "$what: $(tr '\n' ' ' <"$MEASURES/$what")"
done
before=$(result "$MEASURES/free" send.p50_ns) with=$(result "$MEASURES/bound" send.p50_ns) after=$(result "$MEASURES/again" send.p50_ns)
ktap_note "instructions of send(): $((before / 2)) without the hook, $((with / 2)) with it, $((after / 2)) without it again"
ktap_note "instructions per packet of the hook: $(((with - before) / 2)), for a tap that is not bound $(((after - before) / 2))"
ktap_check "SPARE-9: at most 200 instructions per packet for a VM that is not exhausted" at_most 200 $(((with - before) / 2))
ktap_done
