# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The project, built and installed into a stage inside the userland, and the initramfs images that carry the stage into the host.

# source_files: every file of the tree; what git ignores does not count, nor what git still lists but is gone.
source_files() {
	(
		cd "$TOP" || exit
		{
			git -c safe.directory="$TOP" ls-files -co --exclude-standard 2>/dev/null ||
				find . -name .git -prune -o -type f -printf '%P\n'
		} | LC_ALL=C sort -u | while IFS= read -r file; do
			[[ ! -f $file ]] || printf '%s\n' "$file"
		done
	)
}

# shapes_stage FILE: is it compiled, installed, or part of how? What is not sure counts.
shapes_stage() {
	case $1 in
	# Scripts of host/ and guest/ do the building; the others run in the host, where each boot takes them from the source tree.
	selftests/host/init | selftests/host/job.service | selftests/host/stack.sh | selftests/host/packages.txt | selftests/host/btf-check.awk | selftests/host/peers.sh) return 1 ;;
	selftests/host/*) return 0 ;;
	selftests/guest/build.sh | selftests/guest/init) return 0 ;;
	selftests/*.c | selftests/*.cpp | selftests/*.h | selftests/*.hpp | selftests/*CMakeLists.txt) return 0 ;;
	selftests/* | kmod/check) return 1 ;;
	out/* | build*/* | .* | *.md | *.json | */man/* | LICENSE | dkms.conf) return 1 ;;
	esac
	return 0
}

# stage_sources, scripts: the files that make the stage; those of the selftests that do not, which a host gets at its boot.
stage_sources() { source_files | while IFS= read -r file; do ! shapes_stage "$file" || printf '%s\n' "$file"; done; }
scripts() { source_files | while IFS= read -r file; do [[ $file != selftests/* ]] || shapes_stage "$file" || printf '%s\n' "$file"; done; }

# copy_scripts DIR; use_scripts: sets SCRIPTS, a copy of those of the source tree for all boots of this run.
copy_scripts() {
	(
		umask 022
		mkdir -p "$1"
		cd "$TOP" || exit
		scripts | tr '\n' '\0' | xargs -0 cp --parents -t "$1" --
	)
}

use_scripts() {
	SCRIPTS=$CACHE/tmp.scripts.$$
	tmp_path "$SCRIPTS"
	copy_scripts "$SCRIPTS"
}

# Name and contents of each of the stage's sources.
source_key() { (cd "$TOP" && stage_sources | tr '\n' '\0' | xargs -0 sha256sum --) | sha256sum | cut -c1-12; }

# Bind mounts with which the userland sees the kernel's headers where a Debian system has them, and the toolchain if they need it.
kernel_binds() {
	local kbuild
	KERNEL_BINDS=("$KERNEL/root/usr/src:/usr/src:ro" "$KERNEL/root/usr/lib/modules:/usr/lib/modules:ro")
	for kbuild in "$KERNEL"/root/usr/lib/linux-kbuild-*; do
		[[ ! -d $kbuild ]] || KERNEL_BINDS+=("$kbuild:/usr/lib/${kbuild##*/}:ro")
	done
	[[ -z $TOOLCHAIN ]] || KERNEL_BINDS+=("$TOOLCHAIN/root:/toolchain:rw")
}

# One build directory per source tree, userland, kernel and its compiler: ninja does there only what has changed.
use_build_dir() {
	BUILD=$CACHE/build/$(hash_of "$TOP" "$USERLAND_KEY" "${KERNEL##*/}" "${TOOLCHAIN##*/}")
	mkdir -p "$BUILD"
	kernel_binds
}

# make_stage DIR all|demo
make_stage() {
	local dir=$1 part=$2 lock
	# Two runs may want different stages from one build directory.
	exec {lock}>"$BUILD/.lock"
	flock "$lock"
	mkdir -p "$dir/stage"
	in_userland "$TOP:/src:ro" "$BUILD:/build:rw" "$dir/stage:/stage:rw" "${KERNEL_BINDS[@]}" -- \
		/usr/bin/env PARTIAL="${SCHED_SPARE_PARTIAL-}" /bin/bash /src/selftests/host/build.sh "$KVER" "$part"
	in_userland "$TOP:/src:ro" "$dir:/cache:rw" "${KERNEL_BINDS[@]}" -- /bin/bash /src/selftests/host/mkinitramfs.sh "$KVER" "$part"
	source_key >"$dir/sources"
	echo "${KERNEL##*/} ${TOOLCHAIN##*/}" >"$dir/for"
	rm -rf "$dir/stage" # its contents are in the images now
}

# use_stage all|demo: sets STAGE, with realtime.cpio and, in all, deterministic.cpio. One build directory makes both: after a demo
# a test compiles what is missing.
use_stage() {
	local part=$1 key name=stage title="build the project"
	use_build_dir
	# (The tree's place counts: unit tests run in its build directory.)
	key=$(hash_of "$(source_key)" "$TOP" "$USERLAND_KEY" "${KERNEL##*/}" "${TOOLCHAIN##*/}" "${SCHED_SPARE_PARTIAL-}")
	if [[ $part == demo && ! -d $CACHE/stage-$key ]]; then
		name=demo title="build what demo needs"
	else
		part=all
	fi
	product "$name" "$key" "$title" 1200 "the log shows the compiler's message" make_stage "$part"
	STAGE=$PRODUCT
}

# expect_products all|demo: steps for what is not there yet, as far as one can know it before there is a userland and a kernel.
expect_products() {
	local name
	[[ -d $CACHE/userland-$(userland_key) ]] || expect userland
	for name in pick kernel; do compgen -G "$CACHE/$name-*" >/dev/null || expect "$name"; done
	name=stage
	[[ $1 != demo ]] || name=demo
	grep -qsx "$(source_key)" "$CACHE"/{stage,"$name"}-*/sources || expect "$name"
}

# stale_stage: the last stage that was built for this kernel, whatever the sources are now.
stale_stage() {
	local stage
	find "$CACHE" -maxdepth 1 -name 'stage-*' -printf '%T@ %p\n' | sort -rn | cut -d' ' -f2- | while read -r stage; do
		[[ $(cat "$stage/for" 2>/dev/null) != "${KERNEL##*/} ${TOOLCHAIN##*/}" ]] || { echo "$stage"; break; }
	done
}

# Unit tests, in the build directory that use_stage has left.
run_ctest() {
	in_userland "$TOP:/src:ro" "$BUILD:/build:rw" "${KERNEL_BINDS[@]}" -- \
		ctest --test-dir /build --output-on-failure --no-tests=ignore --timeout 120 -j 2
}
