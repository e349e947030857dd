# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034,SC2154 # variables of who sources this
#
# meter.inc.sh - the meter that spared keeps. Source after ktap.sh, spare.sh, measure.inc.sh.
#
#   meter_config true|false       the configuration of spared
#   meter_spared                  start spared with it, and wait until the meter runs or not
#   meter_killed                  kill it
#   programs                      how many programs of meters are in the kernel
#   total NAME                    what everybody has had so far, to $MEASURES/NAME
#   of NAME EXPRESSION            of that: bill: all of it; vm(NAME): one VM; ns(X): all that a VM has had; elapsed: of all CPUs
#   exact NAME                    it adds up
#   has_vm, has_no_vm NAME        now
#   used DIR                      what a VM has used by its servers' account

PINS=/sys/fs/bpf/sched_spare/meter TABLE=/run/sched_spare/meter.json
METER_CONF=$MEASURES/spared.toml

meter_config() { printf '[meter]\nenabled = %s\n' "$1" >"$METER_CONF"; }
said() { grep -qF -- "$1" "$SPARED_LOG"; }
meter_spared() {
	spare_up -v -c "$METER_CONF"
	wait_for 60 said 'the meter runs'
}
meter_killed() {
	kill -KILL "$SPARED_PID"
	wait "$SPARED_PID" 2>/dev/null || true
}
programs() { bpftool prog list | grep -c ' name meter_' || true; }

total() { spared --meter --pinned --total --json >"$MEASURES/$1" 2>"$MEASURES/$1.err" || { cat "$MEASURES/$1.err"; return 1; }; }
of() {
	python3 - "$MEASURES/$1" "$2" <<-'END'
		import json, sys
		bill = json.load(open(sys.argv[1]))
		elapsed = sum(cpu["elapsed_ns"] for cpu in bill["cpus"])
		def vm(name):
		    return next((v for v in bill["vms"] if v["name"] == name and not v["gone"]), None)
		def ns(what):
		    return sum(what["ns"].values()) if what else -1
		print(eval(sys.argv[2]))
	END
}
# Rows that were read while they changed may be a little off; others may not.
exact() { [[ $(of "$1" 'all(abs(c["error_ns"]) <= (0 if c["steady"] else 1000000) for c in bill["cpus"])') == True ]] || { of "$1" 'bill["cpus"]'; return 1; }; }
has_vm() { total look >/dev/null && [[ $(of look "vm('$1') is not None") == True ]]; }
has_no_vm() { total look >/dev/null && [[ $(of look "vm('$1') is None") == True ]]; }
used() { stat_of "$1" used_ns; }
