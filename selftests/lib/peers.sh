# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Schedulers to compare with: the kernel's own sched_ext examples, built from the source package of the very kernel that boots.
# What stands in the way is written to `why`, and the experiment says so; nothing fails because of it.

make_peers() {
	local dir=$1 mirror=$2 release=$3 base=${3%%+*} package version
	package=linux-source-${base%.*}
	private_apt "$mirror"
	version=$(apt-cache madison "$package" | awk -v base="$base-" 'index($3, base) == 1 { print $3; exit }')
	if [[ -z $version ]]; then
		echo "the archive has no $package of version $base" >"$dir/why"
		return 0
	fi
	if ! fetch "$package=$version"; then
		echo "$package cannot be downloaded" >"$dir/why"
		return 0
	fi
	in_userland "$TOP:/src:ro" "$ARCHIVE/debs:/debs:ro" "$dir:/peers:rw" "${KERNEL_BINDS[@]}" -- \
		/bin/bash /src/selftests/host/peers.sh "$release" "$package" "$version" 2>"$dir/log" || tail -n 3 "$dir/log" >"$dir/why"
}

# use_peers: sets PEERS, a directory with scx_simple and scx_flatcg, or with why there is none.
use_peers() {
	product peers "$(hash_of "$KVER" "$(hash_files "$SELFTESTS/lib/peers.sh" "$SELFTESTS/host/peers.sh")")" \
		"build the kernel's own sched_ext schedulers" 1200 "check the network" make_peers "$(userland_mirror)" "$KVER"
	PEERS=$PRODUCT
}
