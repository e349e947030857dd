# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The kernel's own sched_ext schedulers, which experiment E7 brings to /job/peers (peers.sh). Source after ktap.sh and spare.sh.
#
#   each_peer COMMAND     COMMAND NAME while the scheduler NAME runs, for each one that is there; notes why one is not

each_peer() {
	local name pid log
	[[ ! -s /job/peers/why ]] || ktap_note "peers were not built: $(tr '\n' ' ' </job/peers/why)"
	for name in scx_simple scx_flatcg; do
		[[ -x /job/peers/$name ]] || continue
		log=$(mktemp)
		"/job/peers/$name" </dev/null >"$log" 2>&1 &
		pid=$!
		if wait_for 30 class_is enabled; then
			"$1" "$name"
		else
			ktap_note "peer $name does not load: $(tail -n 3 "$log" | tr '\n' ' ')"
		fi
		kill -INT "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		rm -f "$log"
		wait_for 30 class_is disabled
	done
}
