#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 300
#
# meter_pinned.sh - the meter that spared keeps: whoever reads it attaches nothing; its counters go on when spared is killed in the middle of
# load; the next spared goes on with them, or, of another build, begins anew; off, nothing of it is left.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/meter.inc.sh"

a=$CGROUP/vm/a b=$CGROUP/vm/b
ktap_cleanup "cgroup_remove $a $b"

# Of another build: the number of it, at byte 16 of what programs and user space share, is changed.
other_build() {
	python3 - "$PINS/map_data" <<-'END'
		import json, subprocess, sys
		dump = json.loads(subprocess.check_output(["bpftool", "-j", "map", "dump", "pinned", sys.argv[1]]))
		value = [byte[2:] for byte in dump[0]["value"]]
		value[16] = "%02x" % (int(value[16], 16) ^ 1)
		subprocess.check_call(["bpftool", "map", "update", "pinned", sys.argv[1], "key", "0", "0", "0", "0", "value", "hex", *value])
	END
}
off() { [[ ! -e $PINS && ! -e $TABLE && $(programs) == 0 ]]; }

[[ -d /sys/module/sched_spare ]] && ktap_skip_all "the module is loaded already"
insmod "$SPARE_LIB/sched_spare.ko"
ktap_plan 27
meter_config true
ktap_check "ACC-1: spared keeps a meter" meter_spared
vm_cgroup a 40000 100000 0 >/dev/null
standin a --rest --cgroup "$a" --tap spare0
ktap_check "ACC-4: a cgroup with a reservation is a VM" wait_for 20 has_vm /vm/a

before=$(programs)
total first
ktap_check "ACC-1: whoever reads it attaches nothing" equal "$before" "$(programs)"
ktap_check "ACC-1: what it reads adds up" exact first
ktap_check "ACC-1: sparectl show has the bill" eval 'sparectl show /vm/a | grep -A 3 "^bill" | grep -q vcpu_ns'
ktap_check "ACC-1: as JSON, too" eval 'sparectl show /vm/a --json | python3 -c "import json, sys; sys.exit(json.load(sys.stdin)[\"bill\"][\"emulator_ns\"] < 1)"'
ktap_check "ACC-4: its tap is in the table" wait_for 10 grep -q '"spare0"' "$TABLE"

# Somebody reads all the time; spared is killed, and is away for a while.
spared --meter --pinned --json >"$MEASURES/lines" 2>"$MEASURES/lines.err" &
reader=$!
ktap_cleanup "kill $reader 2>/dev/null || true"
sleep 2
meter_killed
# (It runs on while it is looked at: each time before and after.)
use_most=$(used "$a")
total killed
use_least=$(used "$a")
sleep 4
use_least=$(($(used "$a") - use_least))
total away
use_most=$(($(used "$a") - use_most))
had=$(($(of away "ns(vm('/vm/a'))") - $(of killed "ns(vm('/vm/a'))")))
ktap_check "LIFE-1: spared killed, counters go on" at_least 3500000000 $(($(of away elapsed) - $(of killed elapsed)))
ktap_note "killed: a had $had ns by the meter, $use_least to $use_most by its server"
ktap_check "LIFE-1: and are right" near $(((use_least + use_most) / 2)) $(((use_most - use_least) / 2 + use_most / 20 + 40000000)) "$had"
ktap_check "LIFE-1: they add up" exact away

# Meanwhile a VM goes and another one comes.
standin_stop a
cgroup_remove "$a"
vm_cgroup b 40000 100000 1 >/dev/null
standin b --rest --cgroup "$b"
sleep 1
: >"$SPARED_LOG"
ktap_check "LIFE-1: the next spared goes on with them" meter_spared
ktap_check "LIFE-1: nothing begins anew" eval '! said "counting begins anew"'
total next
ktap_check "LIFE-1: it is the same epoch" equal "$(of first 'bill["epoch"]')" "$(of next 'bill["epoch"]')"
ktap_check "LIFE-1: no CPU's time was lost" at_least "$(of away elapsed)" "$(of next elapsed)"
ktap_check "LIFE-4: the VM that went goes" wait_for 20 has_no_vm /vm/a
ktap_check "LIFE-4: the one that came is there" wait_for 20 has_vm /vm/b
sleep 3
total after
ktap_check "LIFE-4: what the former had is in the row of those that are gone" at_least "$(of away "ns(vm('/vm/a'))")" "$(of after 'bill["gone_ns"]')"
ktap_check "LIFE-4: all adds up" exact after
kill -INT "$reader"
wait "$reader" || true
ktap_note "$(wc -l <"$MEASURES/lines") looks while that happened; $(cat "$MEASURES/lines.err")"
ktap_check "LIFE-1: each look of who read all the time adds up" eval '! grep -o "\"error_ns\":[-0-9]*,\"steady\":true" "$MEASURES/lines" | grep -v ":0,"'
ktap_check "LIFE-1: and none was of more than the time between" python3 -c '
import json, sys
for line in open(sys.argv[1]):
    bill = json.loads(line)
    slack = bill["interval_ns"] + 500_000_000
    assert all(0 <= cpu["elapsed_ns"] < slack for cpu in bill["cpus"]), bill
    assert all(0 <= ns < len(bill["cpus"]) * slack for vm in bill["vms"] for ns in vm["ns"].values()), bill' "$MEASURES/lines"

meter_killed
other_build
ktap_refused "LIFE-6: who reads what another build has pinned is refused" "another build" total strange
: >"$SPARED_LOG"
meter_spared || true
ktap_check "LIFE-6: spared replaces it, and says so" said "counting begins anew: the meter that is pinned is another build's"
total anew
ktap_check "LIFE-6: with an epoch of its own" eval '[[ $(of anew "bill[\"epoch\"]") != "$(of first "bill[\"epoch\"]")" ]]'
ktap_check "LIFE-6: that adds up" exact anew

meter_killed
rm "$TABLE"
: >"$SPARED_LOG"
meter_spared || true
ktap_check "LIFE-4: without its table nobody knows whose its counters are: it begins anew" said "counting begins anew"

meter_config false
kill -HUP "$SPARED_PID"
ktap_check "LIFE-3: off, nothing of it is left" wait_for 20 off
standin_stop b
ktap_check "ACC-1: and the kernel has nothing to say" equal "" "$(bad_log)"
ktap_done
