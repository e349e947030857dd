#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 600
# DEBT-1, ACC-4: a VM 40/100 ms whose network thread sends to a veth all the time. The stack of the receiver runs in softirqs on top of that thread, and is
# the host network's: in no budget. How much CPU is that beside the reservation?
set -euo pipefail
. "$(dirname "$0")/debt.inc.sh"

vm=$CGROUP/vm/vm

ktap_plan 4
debt_up
vm_cgroup vm 40000 100000 0 >/dev/null
ktap_cleanup "cgroup_remove $vm"
host_quiet || ktap_note "the host is still busy"
standin vm --cgroup "$vm" --tap spare0 --provoke-us 10
debt_tap
sleep 2
read -r c0 n0 e0 < <(softirqs)
read -r p0 u0 _ _ _ < <(account_of "$vm")
sleep 5
read -r p1 u1 _ _ owed < <(account_of "$vm")
read -r c1 n1 e1 < <(softirqs)
own=$(((u1 - u0) / (p1 - p0))) each=$(((n1 - n0) * 100000 / ((e1 - e0) / 1000))) billed=$(((c1 - c0) * 100000 / ((e1 - e0) / 1000)))
ktap_note "of each period of 100 ms: own $own ns, softirqs that it was billed $billed ns, the host's network $each ns: $((each * 1000 / own)) per mille of its own use; owed $owed"
ktap_check "CBS-4: its own use is Q" near 40000000 40000 "$((own + billed))"
ktap_check "ACC-4: what it sends to a veth is no debt of its" at_most 100000 "$billed"
ktap_check "ACC-4: it is the host network's" at_least 100000 "$each"
ktap_check "ACC-4: which is less than what it takes itself" at_most "$own" "$each"
ktap_done
