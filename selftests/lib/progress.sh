# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Steps: what is being done, and about how long it still takes.
#
#   expect NAME...           these steps will come
#   outline                  the first line: how many there are, about how long all take
#   step TITLE LIMIT_S LOG REMEDY COMMAND...
#                            run COMMAND with its output in LOG, whose name without .log is the step's; what is being done is read there
#   begin_step NAME TITLE    the same for what has no log:
#   progress [DOING [N M]]   as often as one likes between them (also in a subshell); N of M parts are done
#   end_step                 it went well: remember how long it took
#
# NAME is for the time that it takes: what the same step took last on this machine (CACHE/times: NAME SECONDS PARTS), else USUAL times
# this machine's pace, which is how the steps before compare with theirs, or before the first a quarter of a second's loop. A step
# that is in neither shows only what it does. On a terminal its line is written anew each second, elsewhere one comes every 15 s.

# Seconds, and parts where there are any, on two cores of an EPYC of 2.6 GHz where the pace is 1000.
declare -A USUAL=([apt-install]="15 1" [userland]="80 1" [pick]="10 1" [kernel]="12 1" [kernel-built]="900 1" [kernel-debug]="2400 1" [stage]="45 38" [demo]="20 20" [peers]="20 1"
	[demo-boot]="115 1" [test-all]="900 1")
PACE_LOOP_US=155000 # of machine_pace, there

EXPECTED=()
[[ -t 2 ]] && UI_TTY=1 || UI_TTY=

expect() { EXPECTED+=("$@"); }

# about SECONDS: without false precision.
about() {
	if (($1 < 10)); then
		echo "a few seconds"
	elif (($1 < 90)); then
		echo "about $((($1 + 4) / 5 * 5)) s"
	else
		echo "about $((($1 + 30) / 60)) min"
	fi
}

# machine_pace: of this machine, in thousandths of the usual times; more is slower.
machine_pace() {
	local name seconds parts usual sum=0 sum_usual=0 i began
	if [[ -e $CACHE/times ]]; then
		while read -r name seconds parts; do
			[[ -n ${USUAL[$name]-} ]] || continue
			read -ra usual <<<"${USUAL[$name]}"
			sum=$((sum + seconds)) sum_usual=$((sum_usual + usual[0] * parts / usual[1]))
		done <"$CACHE/times"
	fi
	if ((sum_usual == 0)); then
		began=${EPOCHREALTIME/[.,]/}
		for ((i = 0; i < 100000; i++)); do :; done
		sum=$((${EPOCHREALTIME/[.,]/} - began)) sum_usual=$PACE_LOOP_US
	fi
	echo $((sum * 1000 / sum_usual))
}

# usual NAME: "SECONDS PARTS" to expect of it here; nothing when nobody knows.
usual() {
	local known
	if known=$(grep -s "^$1 " "$CACHE/times"); then
		echo "${known#* }"
	elif [[ -n ${USUAL[$1]-} ]]; then
		read -ra known <<<"${USUAL[$1]}"
		echo "$((known[0] * $(machine_pace) / 1000)) ${known[1]}"
	fi
}

outline() {
	local name known sum=0
	((${#EXPECTED[@]})) || return 0
	for name in "${EXPECTED[@]}"; do
		read -ra known < <(usual "$name") || known=()
		sum=$((sum + ${known[0]-0}))
	done
	say "${#EXPECTED[@]} step$( ((${#EXPECTED[@]} == 1)) || echo s), $(about "$sum") in all"
}

begin_step() {
	local known
	read -ra known < <(usual "$1") || known=()
	STEP_NAME=$1 STEP_TITLE=$2 STEP_BEGAN=$SECONDS STEP_SAID=$SECONDS STEP_USUAL=${known[0]-} STEP_PARTS=${known[1]-1} STEP_M=1
	say "$2 ...${STEP_USUAL:+ ($(about "$STEP_USUAL"))}"
}

# Is it time for another line?
due() { ((SECONDS >= STEP_SAID + (${#UI_TTY} ? 1 : 15))); }

progress() {
	due || return 0
	local doing=${1-} n=${2-0} m=${3-0} now=$((SECONDS - STEP_BEGAN)) left
	STEP_SAID=$SECONDS
	((m == 0)) || STEP_M=$m
	if [[ -n $STEP_USUAL ]]; then
		left=$((STEP_USUAL - now))
		if ((m)); then
			# What is left of the parts, by what a part took: last time at first, this time at the end.
			left=$(((m - n) * (STEP_USUAL * (m - n) / STEP_PARTS + now) / m))
		elif ((STEP_M > 1)); then
			left=$((now / 10)) # what follows the parts
		fi
		((left > 0)) && doing+=${doing:+, }"$(about "$left") to go" || doing+=${doing:+, }"longer than expected"
	fi
	if [[ -n $UI_TTY ]]; then
		printf '\r[%4d s] %s: %s \033[K' $((SECONDS - START_S)) "$STEP_TITLE" "$doing" >&2
	else
		say "$STEP_TITLE: ${doing:-$now s}"
	fi
}

end_step() {
	local took=$((SECONDS - STEP_BEGAN))
	[[ -z $UI_TTY ]] || printf '\r\033[K' >&2
	# (One of few parts, such as a build after a small change, says nothing of the next.)
	if ((STEP_M * 2 > STEP_PARTS)); then
		{
			grep -sv "^$STEP_NAME " "$CACHE/times" || true
			echo "$STEP_NAME $((took > 0 ? took : 1)) $STEP_M"
		} >"$CACHE/tmp.times.$$"
		mv "$CACHE/tmp.times.$$" "$CACHE/times"
	fi
	say "$STEP_TITLE: done in $took s"
}

# doing_in LOG: sets DOING to progress' words for the last line that is known to say something.
doing_in() {
	mapfile -t DOING < <(tail -c 5000 "$1" 2>/dev/null | tr '\r' '\n' | sed -nE '
		s,^\[([0-9]+)/([0-9]+)\] .*,\1 of \2\n\1\n\2,p
		s,^== (.*),\1\n0\n0,p
		s,^I: (.*[a-z])[^a-z]*$,\1\n0\n0,p
		s,^(Unpacking|Setting up) ([^ :]+).*,\1 \2\n0\n0,p
		s,^Get:([0-9]+) .*,package \1 comes\n0\n0,p' | tail -n 3)
}

logged() {
	local log=$1
	shift
	"$@" >"$log" 2>&1
}

step() {
	local title=$1 limit=$2 log=$3 remedy=$4 status=0
	shift 4
	mkdir -p "${log%/*}"
	begin_step "$(basename "$log" .log)" "$title"
	background logged "$log" "$@"
	while kill -0 "$STEP_PGID" 2>/dev/null; do
		sleep 0.2
		if ((SECONDS - STEP_BEGAN >= limit)); then
			stop_step
			tail -n 20 "$log" | sed 's/^/    | /' >&2
			die "step '$title' did not end within $limit s (log: $log)" "$remedy"
		fi
		if due; then
			doing_in "$log"
			progress "${DOING[@]}"
		fi
	done
	wait "$STEP_PGID" || status=$?
	STEP_PGID=
	if ((status)); then
		[[ -z $UI_TTY ]] || printf '\r\033[K' >&2
		tail -n 30 "$log" | sed 's/^/    | /' >&2
		die "step '$title' failed with status $status (log: $log)" "$remedy"
	fi
	STEP_M=$(sed -nE 's,^\[[0-9]+/([0-9]+)\] .*,\1,p' "$log" | sort -n | tail -n 1)
	STEP_M=${STEP_M:-1}
	end_step
}
