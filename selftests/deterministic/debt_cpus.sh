#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 600
# cpus: 2
# DEBT-1 on two CPUs: what a VM has cost its servers pay in equal parts; the part of one whose CPU the VM does not use its unused budgets pay; one that
# is taken away leaves its part to the other; nothing of it is lost, nor when the class, or spared, is replaced meanwhile.
set -euo pipefail
. "$(dirname "$0")/debt.inc.sh"

vm=$CGROUP/vm/vm cost=2000000000

adds_up() { awk '{ v[$1] = $2 } END { exit v["cost_ns"] != v["cost_paid_ns"] + v["cost_owed_ns"] + v["cost_waived_ns"] }' "$vm/spare.stat" || cat "$vm/spare.stat"; }
all_adds_up() { [[ -z $(adds_up) && $(stat_of "$vm" cost_ns) == "$1" ]] || { grep cost "$vm/spare.stat"; return 1; }; }
paid() { stat_of "$vm" "cpu$1.cost_paid_ns"; }
owes_nothing() { (($(stat_of "$vm" cost_owed_ns) < 2)); }
owes_less() { (($(stat_of "$vm" cost_owed_ns) < $1)); }

ktap_plan 10
debt_up
vm_cgroup vm 40000 100000 0-1 >/dev/null
ktap_cleanup "cgroup_remove $vm"
ktap_check "DEBT-1: the VM is known" wait_for 30 known_cost 1
host_quiet || ktap_note "the host is still busy"
standin vm --cgroup "$vm" --vcpus 2
sleep 1

owes "$vm" "$cost"
wait_for 30 owes_less $((cost / 2)) || ktap_note "$(grep cost "$vm/spare.stat")"
ktap_note "two threads: CPU 0 has paid $(paid 0) ns, CPU 1 $(paid 1)"
ktap_check "DEBT-1: two CPUs in use pay in equal parts (two budgets)" near "$(paid 0)" 80000000 "$(paid 1)"
ktap_check "DEBT-1: and that adds up" all_adds_up "$cost"

kill -KILL "$SPARED_PID"
wait "$SPARED_PID" 2>/dev/null || true
owed=$(stat_of "$vm" cost_owed_ns)
sleep 1
ktap_check "LIFE-1: without spared they pay on" owes_less "$owed"
spared --stop >>"$SPARED_LOG" 2>&1 || true
wait_for 20 class_is disabled || true
owed=$(stat_of "$vm" cost_owed_ns)
ktap_check "DEBT-1: without a class nothing of it is forgotten" all_adds_up "$cost"
spare_up -v -c "$conf"
wait_for 30 owes_less "$owed" || true
ktap_check "DEBT-1: a new class goes on" owes_less "$owed"
ktap_check "DEBT-1: and all adds up" all_adds_up "$cost"

echo 0 >"$vm/spare.cpus"
wait_for 60 owes_nothing || true
ktap_note "CPU 0 alone has paid $(paid 0) ns in all; $(grep cost_ "$vm/spare.stat" | tr '\n' ' ')"
ktap_check "DEBT-1: what the other server owed CPU 0 has paid" owes_nothing
ktap_check "DEBT-1: all of it" all_adds_up "$cost"

standin_stop vm
echo 0-1 >"$vm/spare.cpus"
standin vm --cgroup "$vm" --vcpus 1
taskset -apc 0 "${STANDIN[vm]}" >/dev/null
wait_for 30 known_cost 1
sleep 1
before=$(paid 0)
owes "$vm" $((3 * cost))
sleep 2
ktap_note "one thread, on CPU 0: it has paid $(($(paid 0) - before)) ns, CPU 1 $(paid 1)"
ktap_check "DEBT-1: a CPU that the VM does not use leaves its part to its own budgets" at_most $((cost + 100000)) $(($(paid 0) - before))
ktap_done
