# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Products outside git: CACHE/NAME-KEY/, KEY a hash of everything that the product is made from. A product is made in a
# temporary directory and renamed when whole, so an interrupted run leaves none by half.

CACHE=${SCHED_SPARE_CACHE:-/var/cache/sched_spare}
LOGS=$CACHE/log

cache_init() {
	mkdir -p "$CACHE" "$LOGS"
	# What killed runs have left; names end in the pid of their run.
	local path pid
	for path in "$CACHE"/tmp.*; do
		pid=${path##*.}
		[[ -e $path && ! -d /proc/$pid ]] && rm -rf --one-file-system "$path"
	done
	return 0
}

# hash_of WORD...: key of these words; hash_files FILE...: of the contents.
hash_of() { printf '%s\n' "$@" | sha256sum | cut -c1-12; }
hash_files() { sha256sum "$@" | cut -d' ' -f1 | sha256sum | cut -c1-12; }

# need_space MB WHAT_FOR: before a large product.
need_space() {
	local free_mb
	free_mb=$(df -Pm "$CACHE" | awk 'NR == 2 { print $4 }')
	((free_mb >= $1)) || die "$CACHE has $free_mb MB of free space, $1 are needed $2" "free some, or set SCHED_SPARE_CACHE to another place"
}

# product NAME KEY TITLE LIMIT_S REMEDY FUNCTION ARG...: sets PRODUCT to CACHE/NAME-KEY, made by `FUNCTION DIR ARG...` if absent.
product() {
	local name=$1 key=$2 title=$3 limit=$4 remedy=$5 fn=$6
	shift 6
	PRODUCT=$CACHE/$name-$key
	[[ -d $PRODUCT ]] && { touch -c "$PRODUCT"; return 0; }
	local lock tmp=$CACHE/tmp.$name.$$
	exec {lock}>"$CACHE/.lock.$name-$key"
	flock -n "$lock" || say "wait for another run that makes $name"
	flock -w "$((limit + 60))" "$lock" || die "another run has been making '$name' for more than $limit s" "see $LOGS, or end that run"
	if [[ ! -d $PRODUCT ]]; then
		tmp_path "$tmp"
		rm -rf --one-file-system "$tmp"
		mkdir -p "$tmp"
		step "$title" "$limit" "$LOGS/$name.log" "$remedy" "$fn" "$tmp" "$@"
		mv -T "$tmp" "$PRODUCT"
		prune "$name"
	fi
	exec {lock}>&-
}

# Keep the three newest products of a name, and whatever was used in the last day (another run may hold it).
prune() {
	local path
	find "$CACHE" -maxdepth 1 -name "$1-*" -mmin +1440 -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d' ' -f2- |
		while read -r path; do rm -rf --one-file-system "$path"; done
}

cache_clean() {
	[[ -d $CACHE ]] || { say "nothing cached in $CACHE"; return 0; }
	local path
	for path in "$CACHE"/{userland,toolchain,kernel,pick,stage,stack,demo,peers,prometheus,boot,build,archive,tmp,log,run}[-.]* "$CACHE"/{archive,log,run,build} "$CACHE"/.lock.* "$CACHE/times"; do
		[[ ! -e $path ]] || rm -rf --one-file-system "$path"
	done
	rmdir --ignore-fail-on-non-empty "$CACHE"
	say "removed what was cached in $CACHE"
}
