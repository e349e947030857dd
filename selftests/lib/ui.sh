# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What the user sees: steps with their elapsed time, failures with reason and remedy; and the end of every process we start.

START_S=$SECONDS
STEP_PGID=
BESIDE_PGID=
TMP_PATHS=()
[[ -t 2 ]] && UI_TTY=1 || UI_TTY=

say() { printf '[%4d s] %s\n' $((SECONDS - START_S)) "$*" >&2; }

# stamped: what a job says, as we say it: a line of progress, "== TEXT", gets the time; "@@ ..." is for us alone.
stamped() {
	local line
	while IFS= read -r line; do
		case $line in
		'== '*) say "${line#== }" ;;
		'@@ '*) ;;
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

# Kill what runs in the current step, and beside it. `contained` processes die with their unshare(1) (--kill-child), mounts with
# their namespace.
stop_step() {
	local pgid
	for pgid in $STEP_PGID $BESIDE_PGID; do
		kill -TERM -- "-$pgid" 2>/dev/null || true
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

logged() {
	local log=$1
	shift
	"$@" >"$log" 2>&1
}

# step TITLE LIMIT_S LOG REMEDY COMMAND...: run with output to LOG; show the elapsed time; fail loudly.
step() {
	local title=$1 limit=$2 log=$3 remedy=$4 began=$SECONDS said=0 now status=0
	shift 4
	say "$title ..."
	mkdir -p "${log%/*}"
	background logged "$log" "$@"
	while kill -0 "$STEP_PGID" 2>/dev/null; do
		sleep 0.2
		now=$((SECONDS - began))
		if ((now >= limit)); then
			stop_step
			tail -n 20 "$log" | sed 's/^/    | /' >&2
			die "step '$title' did not end within $limit s (log: $log)" "$remedy"
		fi
		if [[ -n $UI_TTY ]] && ((now > said)); then
			printf '\r         %s: %d s ' "$title" "$now" >&2
			said=$now
		elif ((now >= said + 30)); then
			say "$title: still running, $now s"
			said=$now
		fi
	done
	[[ -z $UI_TTY ]] || printf '\r\033[K' >&2
	wait "$STEP_PGID" || status=$?
	STEP_PGID=
	if ((status)); then
		tail -n 30 "$log" | sed 's/^/    | /' >&2
		die "step '$title' failed with status $status (log: $log)" "$remedy"
	fi
	say "$title: done in $((SECONDS - began)) s"
}
