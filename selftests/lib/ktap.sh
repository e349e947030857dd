# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# KTAP for a test script:  . "$(dirname "$0")/../lib/ktap.sh"
#
#   ktap_plan N                  first: N results follow
#   ktap_ok NAME                 NAME cites its rule: "CBS-4: hard at the end of the budget"
#   ktap_fail NAME [DIAGNOSIS]
#   ktap_skip NAME REASON        counted, with its reason; a skip is not a pass
#   ktap_check NAME COMMAND...   ok when COMMAND succeeds (it runs in this shell); its output is the diagnosis when it fails
#   ktap_refused NAME ERRNO COMMAND...   ok when COMMAND fails and says so: ERRNO is the text ("Invalid argument")
#   ktap_skip_all REASON         in place of everything: the whole script cannot run here
#   ktap_done                    last: the script's exit status, 0 only when all went well and the plan was kept
#   ktap_note TEXT               a figure or remark for the reader
#   ktap_cleanup COMMAND...      run at exit, last registered first
#   wait_for SECONDS COMMAND...  poll until COMMAND succeeds; 1 when the time is over
#   sleep SECONDS                without a process of its own
#   at_least LIMIT VALUE         VALUE >= LIMIT, integers; says so when not
#   at_most LIMIT VALUE          |VALUE| <= LIMIT: a bound
#   near WANTED ERROR VALUE      a bound
#
# On a debug kernel, several times slower, who waits has more patience, and a bound that is missed is a skip.

KTAP_SLOW=''
[[ $(uname -r) != *-debug ]] || KTAP_SLOW=1
KTAP_BOUND=98	# the status of a bound that is missed
KTAP_COUNT=0 KTAP_FAILED=0 KTAP_PLANNED=0
KTAP_CLEANUP=()

ktap_plan() {
	KTAP_PLANNED=$1
	printf 'KTAP version 1\n1..%d\n' "$1"
}

# In the deterministic host a process that is made costs 6 ms, and 40 of the machine's: what each script does again and again makes none.
exec {KTAP_NEVER}<> <(:)
sleep() { read -rt "$1" -u "$KTAP_NEVER" || (($? > 128)); }
KTAP_OUT=$(mktemp)

ktap_diagnose() { [[ -z $1 ]] || printf '%s\n' "$1" | head -n 30 | sed 's/^/# /'; }
ktap_note() { printf '# %s\n' "${*//$'\n'/$'\n'# }"; }

ktap_ok() {
	KTAP_COUNT=$((KTAP_COUNT + 1))
	printf 'ok %d - %s\n' "$KTAP_COUNT" "$1"
}

ktap_fail() {
	KTAP_COUNT=$((KTAP_COUNT + 1)) KTAP_FAILED=$((KTAP_FAILED + 1))
	ktap_diagnose "${2-}"
	printf 'not ok %d - %s\n' "$KTAP_COUNT" "$1"
}

ktap_skip() {
	KTAP_COUNT=$((KTAP_COUNT + 1))
	printf 'ok %d - %s # SKIP %s\n' "$KTAP_COUNT" "$1" "$2"
}

ktap_skip_all() {
	printf 'KTAP version 1\n1..0 # SKIP %s\n' "$1"
	KTAP_PLANNED=0
	exit 0
}

ktap_check() {
	local name=$1 out status=0
	shift
	"$@" >"$KTAP_OUT" 2>&1 || status=$?
	mapfile -t out <"$KTAP_OUT"
	if ((status == KTAP_BOUND)) && [[ $KTAP_SLOW ]]; then
		ktap_skip "$name" "a bound, on a debug kernel: ${out[*]: -1}"
	elif ((status)); then
		ktap_fail "$name" "status $status of: $*
$(<"$KTAP_OUT")"
	else
		ktap_ok "$name"
		for out in "${out[@]}"; do [[ $out != close:* ]] || ktap_note "$out"; done
	fi
}

ktap_refused() {
	local name=$1 errno=$2 out status=0
	shift 2
	out=$("$@" 2>&1) || status=$?
	if ((status)) && [[ $out == *"$errno"* ]]; then
		ktap_ok "$name"
	else
		ktap_fail "$name" "wanted a refusal with '$errno', got status $status of: $*
$out"
	fi
}

ktap_done() {
	if ((KTAP_COUNT != KTAP_PLANNED)); then
		printf '# %d results, %d were planned\n' "$KTAP_COUNT" "$KTAP_PLANNED"
		exit 1
	fi
	exit $((KTAP_FAILED > 0))
}

ktap_cleanup() { KTAP_CLEANUP=("$*" "${KTAP_CLEANUP[@]-}"); }

ktap_at_exit() {
	local status=$? command
	set +e
	rm -f "$KTAP_OUT"
	for command in "${KTAP_CLEANUP[@]-}"; do
		[[ -z $command ]] || eval "$command"
	done
	exit "$status"
}
trap ktap_at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

wait_for() {
	local until=$((SECONDS + $1 * (${KTAP_SLOW:-0} * 3 + 1) + 1)) # SECONDS may be about to change
	shift
	while ! "$@" >/dev/null 2>&1; do
		((SECONDS < until)) || return 1
		sleep 0.1
	done
}

# Bounds, of whole numbers. Who keeps one by less than a twentieth of it is told: another machine or kernel may be on the other side.
at_most() {
	(($2 <= $1 && -($2) <= $1)) || { echo "$2 is beyond $1"; return $KTAP_BOUND; }
	(($1 < 20 || ${2#-} * 20 <= $1 * 19)) || echo "close: $2, at most $1"
}
at_least() {
	(($2 >= $1)) || { echo "$2 is less than $1"; return 1; }
	(($1 < 20 || $2 * 19 >= $1 * 20)) || echo "close: $2, at least $1"
}
near() {
	(($3 >= $1 - $2 && $3 <= $1 + $2)) || { echo "$3 is not $1 +- $2"; return $KTAP_BOUND; }
	local off=$(($3 - $1))
	(($2 < 20 || ${off#-} * 20 <= $2 * 19)) || echo "close: $3, $1 +- $2"
}
