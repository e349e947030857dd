# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# judged.inc.sh - the command line of an experiment that measures in the deterministic host and whose log a Python program judges.
# Source last, with $here set and a function measure that writes the log to stdout:
#   EN.sh --out DIR    measure on this host and judge (eN.py); exit status 0: verdict pass
#   EN.sh --measure    only the log: the deterministic host has no Python, its log is judged outside (lib/suite.sh)
# One with a part in real time, too, has a function measure_realtime; then
#   EN.sh --out DIR [--deterministic LOG]    measure that part on this host and judge it together with what --measure gave elsewhere
name=$(basename "$0" .sh)

log() {
	echo "# kernel $(uname -r)"
	echo "# host ${SPARE_HOST:-native}"
	"$1"
}

# measure_here [LOG]
measure_here() {
	[[ -z ${1-} ]] || cat "$1"
	if declare -F measure_realtime >/dev/null; then log measure_realtime; else log measure; fi
}

case $#:${1-}:${3-} in
1:--measure:) log measure ;;
2:--out: | 4:--out:--deterministic)
	mkdir -p "$2"
	measure_here "${4-}" >"$2/$name.log" || true
	exec python3 -B "$here/${name,,}.py" "$2/$name.log" "$2"
	;;
*)
	echo "usage: $name.sh --measure | --out DIR [--deterministic LOG]" >&2
	exit 2
	;;
esac
