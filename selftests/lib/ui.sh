# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What the user sees: lines with the elapsed time, failures with reason and remedy (progress.sh: steps); and the end of every process
# that we start.

START_S=$SECONDS
STEP_PGID=
BESIDE_PGID=
TMP_PATHS=()

say() { printf '[%4d s] %s\n' $((SECONDS - START_S)) "$*" >&2; }

# stamped: what a job says, as we say it: a line of progress, "== TEXT", gets the time; "@@ ..." is for us alone.
stamped() {
	local line
	while IFS= read -r line; do
		case $line in
		'== '*) say "${line#== }" ;;
		'@@ '*) ;;
		*'@@ verdict '*) printf '%s\n' "${line%@@ verdict *}" ;; # behind an unfinished line
		*) printf '%s\n' "$line" ;;
		esac
	done
}

# die MESSAGE [REMEDY]: the one way to give up.
die() {
	printf '\nselftests/run: %s\n' "$1" >&2
	[[ -z ${2-} ]] || printf '  what to do: %s\n' "$2" >&2
	exit 1
}

# A command that nobody expected to fail: better its place than silence.
unexpected() {
	local status=$1
	((BASHPID == $$)) || return "$status"
	printf '\nselftests/run: unexpected status %d of: %s\n  at %s line %d\n' "$status" "$2" "${BASH_SOURCE[1]}" "${BASH_LINENO[0]}" >&2
}

# tmp_path PATH: remove it when this run ends, however it ends.
tmp_path() { TMP_PATHS+=("$1"); }

# (By proc(5): ps is not on every machine.)
group_lives() { { cat /proc/[0-9]*/stat 2>/dev/null || true; } | sed 's/.*) //' | awk -v group="$1" '$3 == group && $1 != "Z" { lives = 1 } END { exit !lives }'; }

# End what runs in the current step, and beside it. `contained` processes die with their unshare(1) (--kill-child), mounts with
# their namespace. What runs on this very machine has a minute to put it back as it was.
stop_step() {
	local pgid i most=20
	[[ -z ${NATIVE-} ]] || most=600
	for pgid in $STEP_PGID $BESIDE_PGID; do
		kill -TERM -- "-$pgid" 2>/dev/null || true
		for ((i = 0; i < most; i++)); do
			group_lives "$pgid" || break
			sleep 0.1
		done
		kill -KILL -- "-$pgid" 2>/dev/null || true
		wait "$pgid" 2>/dev/null || true
	done
	STEP_PGID='' BESIDE_PGID=''
}

cleanup() {
	local status=$? path
	trap '' INT TERM HUP
	stop_step
	for path in "${TMP_PATHS[@]-}"; do
		[[ -z $path ]] || rm -rf --one-file-system "$path"
	done
	exit "$status"
}

# background COMMAND...: start in a process group of its own (set -m) so that stop_step reaches all of it.
background() {
	set -m
	(
		set +m
		trap - EXIT INT TERM HUP
		"$@"
	) </dev/null &
	STEP_PGID=$!
	set +m
}

# beside COMMAND...: the same with what CPU time nobody else wants, while steps go on. wait_beside waits for it.
beside() {
	local step=$STEP_PGID
	background idly "$@"
	BESIDE_PGID=$STEP_PGID STEP_PGID=$step
}

idly() {
	chrt --idle --pid 0 "$BASHPID" || true
	"$@"
}

wait_beside() {
	local status=0
	[[ -z $BESIDE_PGID ]] || wait "$BESIDE_PGID" || status=$?
	BESIDE_PGID=
	return "$status"
}
