# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Cgroups without reservation, and what they get of the CPU. Source after ktap.sh, spare.sh and measure.inc.sh.
#
#   host_tree, host_tree_remove     make and remove the cgroups below $HOST
#   burn REPORT GROUP...            spare-burn for SECONDS_BURN (5) s, its report is $MEASURES/REPORT
#   now_ns                          uptime (to 10 ms)

HOST=$CGROUP/host

now_ns() { local up; read -r up _ </proc/uptime && echo "${up/./}0000000"; }

burn() {
	local report=$1
	shift
	measure "$report" spare-burn --seconds "${SECONDS_BURN:-5}" "$@"
}

host_tree() {
	local dir
	mkdir -p "$HOST"
	echo '+cpu' >"$CGROUP/cgroup.subtree_control"
	echo '+cpu' >"$HOST/cgroup.subtree_control"
	for dir in a b nest flat idle max maxnest crowd one many; do mkdir "$HOST/$dir"; done
	echo 300 >"$HOST/b/cpu.weight"
	echo 1 >"$HOST/idle/cpu.idle"
	echo '20000 100000' >"$HOST/max/cpu.max"
	echo '30000 100000' >"$HOST/maxnest/cpu.max"
	echo '1000 100000' >"$HOST/crowd/cpu.max"
	echo 1 >"$HOST/one/cpu.weight"
	echo 10000 >"$HOST/many/cpu.weight"
	echo '+cpu' | tee "$HOST/nest/cgroup.subtree_control" "$HOST/maxnest/cgroup.subtree_control" >/dev/null
	mkdir "$HOST"/nest/n{1,2} "$HOST"/maxnest/m{1,2}
	echo 300 >"$HOST/nest/n2/cpu.weight"
	echo '20000 100000' | tee "$HOST/maxnest/m1/cpu.max" >"$HOST/maxnest/m2/cpu.max"
}

host_tree_remove() {
	cgroup_remove "$HOST"/nest/n{1,2} "$HOST"/maxnest/m{1,2} "$HOST"/{a,b,nest,flat,idle,max,maxnest,crowd,one,many} "$HOST"
}
