# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# module.inc.sh - what the tests of the module's files share. Source after ktap.sh.

. "$(dirname "${BASH_SOURCE[0]}")/../lib/controllers.sh"

CG=/sys/fs/cgroup
KO=${SPARE_KO:-/usr/local/lib/sched_spare/sched_spare.ko}
module_was_loaded=$([[ -d /sys/module/sched_spare ]] && echo yes || echo no)

module_up() {
	[[ -d /sys/module/sched_spare ]] || insmod "$KO"
}

# Leave the machine as we found it.
module_down() {
	[[ $module_was_loaded == yes || ! -d /sys/module/sched_spare ]] || rmmod sched_spare
}

# A directory of cgroups with the controllers that a VM needs.
tree_dir() {
	mkdir -p "$CG/$1"
	controllers "$CG/$1"
}

# Remove a cgroup and everything below it. Processes must be gone.
tree_remove() {
	[[ ! -d $CG/$1 ]] || find "$CG/$1" -depth -type d -exec rmdir {} +
}

# errno_name TEXT: sets GOT to the errno of a shell's complaint, OK of none. errno_of prints it.
errno_name() {
	case $1 in
	*'Invalid argument') GOT=EINVAL ;;
	*'Numerical result out of range') GOT=ERANGE ;;
	*'Device or resource busy') GOT=EBUSY ;;
	*'Too many levels of symbolic links') GOT=ELOOP ;;
	*'Operation not permitted') GOT=EPERM ;;
	*'Permission denied') GOT=EACCES ;;
	*'Operation not supported') GOT=EOPNOTSUPP ;;
	*'No such device') GOT=ENODEV ;;
	*'No such file or directory') GOT=ENOENT ;;
	*'File exists') GOT=EEXIST ;;
	*'Not a directory') GOT=ENOTDIR ;;
	*'Argument list too long') GOT=E2BIG ;;
	'') GOT=OK ;;
	*) GOT=$1 ;;
	esac
}
errno_of() { errno_name "$1" && echo "$GOT"; }

# write FILE TEXT: one write(2); sets GOT to OK or the errno's name. TEXT is a printf format, so \0 and \n work. put prints GOT.
# (No process: each takes 15 ms of the virtual host.)
write() {
	local status=0
	# shellcheck disable=SC2059
	if [[ $2 == *'\n'?* ]]; then
		# bash writes line by line, cat does not
		{ printf -- "$2" | LC_ALL=C cat >"$CG/$1"; } 2>"$COMPLAINT" || status=$?
	else
		{ LC_ALL=C printf -- "$2" >"$CG/$1"; } 2>"$COMPLAINT" || status=$?
	fi
	errno_name "$(<"$COMPLAINT")"
	[[ $status == 0 || $GOT != OK ]] || GOT="status $status without a word"
}
put() { write "$@" && echo "$GOT"; }
COMPLAINT=$(mktemp)
ktap_cleanup "rm -f $COMPLAINT"

# want NAME WANTED FILE TEXT
want() {
	write "$3" "$4"
	if [[ $GOT == "$2" ]]; then
		ktap_ok "$1"
	else
		ktap_fail "$1" "'$4' > $3: $GOT, wanted $2"
	fi
}

# is NAME WANTED ACTUAL
is() {
	if [[ $2 == "$3" ]]; then
		ktap_ok "$1"
	else
		ktap_fail "$1" "'$3', wanted '$2'"
	fi
}

# spare_files CGROUP: the spare.* files that it has
spare_files() {
	compgen -G "$CG/$1/spare.*" || true
}

get() {
	echo "$(<"$CG/$1")"
}

# key FILE KEY: a number of a flat keyed file. (At once: read seeks back after each line, and the kernel makes the file anew.)
key() {
	local line lines
	mapfile -t lines <"$CG/$1"
	for line in "${lines[@]}"; do [[ $line != "$2 "* ]] || echo "${line#* }"; done
}

# until_is SECONDS WANTED COMMAND...: poll until the command prints WANTED; prints what it printed last
until_is() {
	local end=$((SECONDS + $1)) wanted=$2 got
	shift 2
	while got=$("$@"); [[ $got != "$wanted" ]] && ((SECONDS < end)); do
		sleep 0.1
	done
	echo "$got"
}

# Lines of the kernel log since this script began that no test may cause.
log_mark=$(dmesg | wc -l)
bad_log() {
	dmesg | tail -n +$((log_mark + 1)) | grep -E 'WARNING|BUG|Oops|stall|lockup|refcount|use-after-free' || true
}
