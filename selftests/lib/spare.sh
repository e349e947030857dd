# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The stack under test, for scripts that also source ktap.sh:
#
#   spare_up [SPARED_OPTION...]   load the module, start spared, wait until the class runs; brought down again at exit. Where the stack
#                                 is up already (host/stack.sh, with -v) it is taken over
#   spare_down                    stop spared and the class, unload the module; 1 when something stays behind
#   vm_cgroup NAME Q P CPUS       make /sys/fs/cgroup/vm/NAME with that reservation (µs); prints its directory
#   provider NAME Q P CPUS        likewise /sys/fs/cgroup/pool/NAME with spare.provide 1; spare.use takes /pool/NAME
#   cgroup_remove DIR...          kill what runs there, then rmdir
#   stat_of DIR KEY               one value of DIR/spare.stat
#   read_stat DIR KEY             sets STAT to it, without a process of its own
#   class_state                   enabled, disabled, ...
#   $TOOLS                        where the tools are
#   "${BURNER[@]}"                a command that burns until it is ended, where what it computes does not count (tools/resting.cpp)
#   "${ENTER[@]}" DIR COMMAND...  a command in that cgroup

. "$(dirname "${BASH_SOURCE[0]}")/controllers.sh"

SPARE_LIB=${SPARE_LIB:-/usr/local/lib/sched_spare}
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[[ -x $TOOLS/spare-burn ]] || TOOLS=/usr/local/libexec/sched_spare
BURNER=("$TOOLS/spare-burn" --rest)
# shellcheck disable=SC2016 # expands inside
ENTER=(bash -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' enter)
CGROUP=/sys/fs/cgroup
SPARED_PID=
SPARED_LOG=${SPARED_LOG:-/tmp/spared.log}

class_state() { echo "$(</sys/kernel/sched_ext/state)"; }
class_is() { [[ $(</sys/kernel/sched_ext/state) == "$1" ]]; }

spared_settled() { class_is enabled || ! kill -0 "$SPARED_PID" 2>/dev/null; }

spare_up() {
	ktap_cleanup spare_down
	if [[ -n ${SPARE_UP-} ]]; then
		SPARED_PID=$SPARE_UP SPARE_UP=
		return
	fi
	[[ -d /sys/module/sched_spare ]] || insmod "$SPARE_LIB/sched_spare.ko"
	spared "$@" </dev/null >"$SPARED_LOG" 2>&1 &
	SPARED_PID=$!
	if ! wait_for 60 spared_settled || ! class_is enabled; then
		echo "# the class did not start; spared said:"
		sed 's/^/#   /' "$SPARED_LOG"
		return 1
	fi
}

spare_down() {
	local status=0
	if [[ -n $SPARED_PID ]] && kill -0 "$SPARED_PID" 2>/dev/null; then
		kill -TERM "$SPARED_PID" 2>/dev/null || true
		wait_for 20 bash -c "! kill -0 $SPARED_PID" || { kill -KILL "$SPARED_PID" || true; status=1; }
		wait "$SPARED_PID" 2>/dev/null || true
	fi
	SPARED_PID=
	if ! class_is disabled; then
		spared --stop >>"$SPARED_LOG" 2>&1 || true
		wait_for 20 class_is disabled || status=1
	fi
	if [[ -d /sys/module/sched_spare ]]; then
		wait_for 10 rmmod sched_spare || status=1
	fi
	return "$status"
}

# reservation PARENT NAME Q P CPUS
reservation() {
	local dir=$CGROUP/$1/$2
	mkdir -p "$CGROUP/$1"
	controllers "$CGROUP/$1"
	mkdir "$dir"
	echo "$3 $4" >"$dir/spare.reservation"
	echo "$5" >"$dir/spare.cpus"
	echo "$dir"
}

vm_cgroup() { reservation vm "$@"; }

provider() {
	local dir
	dir=$(reservation pool "$@") || return
	echo 1 >"$dir/spare.provide"
	echo "$dir"
}

cgroup_remove() {
	local dir
	for dir; do
		[[ -d $dir ]] || continue
		echo 1 >"$dir/cgroup.kill" 2>/dev/null || true
		wait_for 10 rmdir "$dir" || return 1
	done
}

# (The file at once: read seeks back after each line, and the kernel makes the file anew, which takes 13 ms.)
read_stat() {
	local line lines
	mapfile -t lines <"$1/spare.stat"
	for line in "${lines[@]}"; do
		[[ $line != "$2 "* ]] || { STAT=${line#* }; return; }
	done
	return 1
}
stat_of() { local STAT; read_stat "$@" && echo "$STAT"; }
