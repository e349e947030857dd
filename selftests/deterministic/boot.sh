#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: own
# The deterministic host: one CPU, no disk, no network card. deterministic/identical runs this twice and compares every byte, so
# what it prints in nanoseconds, from the clock, the kernel and the class, must come out the same. (DESIGN 5)
set -euo pipefail
. "$(dirname "$0")/../lib/ktap.sh"
. "$(dirname "$0")/../lib/spare.sh"
. "$(dirname "$0")/measure.inc.sh"

one_cpu() { (($(nproc) == 1)); }
no_disk() { ! compgen -G '/sys/block/[svn][dvn]*' && [[ $(echo /sys/class/net/*) == /sys/class/net/lo ]]; }

ktap_plan 5
ktap_check "HOST: one CPU" one_cpu
ktap_check "HOST: no disk and no network card" no_disk
ktap_check "HOST: module and class come up" spare_up -v
# A host has no reservations while its class is loaded anew. (80 000 when this was written; DESIGN: "A heap's position goes through memory".)
verified() { local n; n=$(grep -oP '\d+(?= instructions verified)' "$SPARED_LOG") && echo "$n instructions verified" && ((n > 10000 && n < 84000)); }
ktap_check "LIFE-2: the class is loaded with 84 000 verified instructions at most" verified
dir=$(vm_cgroup vm1 4000 10000 0)
ktap_cleanup cgroup_remove "$dir"
# Ends by itself well before the limit.
timeout 3 bash -c 'echo $$ >"$1/cgroup.procs"; exec "$2"' _ "$dir" "$TOOLS/spare-burn" || true
ktap_note "clock $(date +%s.%N)"
grep -E '^(used_ns|periods|throttled|overrun|cpu0)' "$dir/spare.stat" | sed 's/^/# /'
# The class's own account: cpu.stat misses what a task ran before its CPU went idle between two ticks.
used=$(stat_of "$dir" used_ns)
within() { ((used > 1190000000 && used < 1210000000)); }
ktap_check "CBS-4: 4 ms of 10 ms make 1.2 s of 3 s" within
ktap_done
