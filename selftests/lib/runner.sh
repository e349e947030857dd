#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Run test scripts one after another, on the machine where they test: the virtual host or, with --native, this one.
#   runner.sh DIRECTORY NAME...     NAME like realtime/boot is DIRECTORY/realtime/boot.sh, and so is realtime/boot@trixie
# Prints each script's KTAP between "@@ begin NAME" and "@@ end NAME STATUS SECONDS"; "@@ kernel TEXT" for each line of trouble
# that the kernel logged meanwhile, "@@ left TEXT" for what the script has left behind. collect.awk reads this.
# A script may say "# limit: SECONDS" for itself; the default is 300.
set -euo pipefail

# What a healthy kernel does not say.
trouble='------------\[ cut here|WARNING: |BUG: |Oops|general protection fault|Kernel panic|rcu: INFO: .*stall|soft lockup|blocked for more than'

# One line each: what a script may have left. The first word of a process is its pid.
leftovers() {
	local name
	[[ ! -d /sys/module/sched_spare ]] || echo "module sched_spare"
	[[ $(cat /sys/kernel/sched_ext/state 2>/dev/null) != enabled ]] || echo "class $(cat /sys/kernel/sched_ext/root/ops 2>/dev/null)"
	for name in spared spare-standin spare-pktgen qemu-system-x86; do pgrep -l -x "$name" || true; done
	find /sys/fs/cgroup/vm /sys/fs/cgroup/pool -mindepth 1 -type d 2>/dev/null || true
}

# sweep LINES: so that the next script finds a clean machine. Only what appeared during the script.
sweep() {
	local first rest
	while read -r first rest; do
		case $first in
		[0-9]*) kill -KILL "$first" 2>/dev/null || true ;;
		/sys/fs/cgroup/*) echo 1 >"$first/cgroup.kill" 2>/dev/null || true ;;
		class) spared --stop >/dev/null 2>&1 || true ;;
		esac
	done <<<"$1"
	sleep 0.5
	sort -r <<<"$1" | while read -r first; do [[ $first != /sys/fs/cgroup/* ]] || rmdir "$first" 2>/dev/null || true; done
	if grep -q '^module' <<<"$1"; then rmmod sched_spare 2>/dev/null || true; fi
}

# The real-time host's speed for the next script: the machine may be busier now than when it was set last (host/init).
pace() { /usr/local/libexec/sched_spare/spare-speed --wanted "$SPARE_PACE" --pace | sed 's/^/@@ /' || true; }

# Controllers that a script has enabled below the root go again: a host begins without. (While a child passes them on they cannot.)
restore_controllers() {
	local controller
	((!${#absent[@]})) || rmdir "${absent[@]}" 2>/dev/null || true
	for controller in $(enabled); do
		[[ " $controllers " == *" $controller "* ]] || echo "-$controller" 2>/dev/null >"$ROOT_CONTROL" || true
	done
}
ROOT_CONTROL=/sys/fs/cgroup/cgroup.subtree_control
enabled() { cat "$ROOT_CONTROL" 2>/dev/null || true; }
controllers=$(enabled)
absent=()
for dir in /sys/fs/cgroup/{vm,pool}; do [[ -d $dir ]] || absent+=("$dir"); done

base=$1
shift
for name; do
	script=$base/${name%@*}.sh
	limit=$(sed -n 's/^# limit: *\([0-9]\+\).*/\1/p' "$script" | head -n 1)
	limit=${limit:-300}
	[[ $(uname -r) != *-debug ]] || limit=$((limit * 4))
	mark="selftest $name $RANDOM"
	before=
	[[ -n ${SPARE_UP-} ]] || before=$(leftovers)
	[[ ! -w /dev/kmsg ]] || echo "$mark" >/dev/kmsg
	[[ -z ${SPARE_PACE-} ]] || pace
	began=$SECONDS
	echo "@@ begin $name $limit"
	status=0
	timeout -k 15 "$limit" bash "$script" </dev/null 2>&1 || status=$?
	if [[ -w /dev/kmsg ]]; then
		dmesg | awk -v mark="$mark" 'index($0, mark) { n = 0; next } { line[n++] = $0 } END { for (i = 0; i < n; i++) print line[i] }' |
			grep -E -e "$trouble" | head -n 20 | sed 's/^/@@ kernel /' || true
	fi
	left=$(comm -13 <(sort <<<"$before") <(leftovers | sort) | grep . || true)
	if [[ -n $left ]]; then
		printf '%s\n' "$left" | sed 's/^/@@ left /'
		sweep "$left"
	fi
	restore_controllers
	echo "@@ end $name $status $((SECONDS - began))"
done
