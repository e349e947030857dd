# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The project, built and installed into a stage inside the userland, and the initramfs images that carry the stage into the host.

# Every source file's name and contents; what git ignores does not count.
source_key() {
	(
		cd "$TOP" || exit
		{
			git -c safe.directory="$TOP" ls-files -co --exclude-standard -z 2>/dev/null ||
				find . -name .git -prune -o -type f -print0
		} | sort -z | while read -r -d '' file; do
			# A file that git still lists may be gone from the tree.
			[[ ! -f $file ]] || sha256sum "$file"
		done
	) | sha256sum | cut -c1-12
}

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

make_stage() {
	local dir=$1 lock
	# Two runs may want different stages from one build directory.
	exec {lock}>"$BUILD/.lock"
	flock "$lock"
	mkdir -p "$dir/stage"
	in_userland "$TOP:/src:ro" "$BUILD:/build:rw" "$dir/stage:/stage:rw" "${KERNEL_BINDS[@]}" -- \
		/usr/bin/env PARTIAL="${SCHED_SPARE_PARTIAL-}" /bin/bash /src/selftests/host/build.sh "$KVER"
	in_userland "$TOP:/src:ro" "$dir:/cache:rw" "${KERNEL_BINDS[@]}" -- /bin/bash /src/selftests/host/mkinitramfs.sh "$KVER"
	echo "${KERNEL##*/} ${TOOLCHAIN##*/}" >"$dir/for"
	rm -rf "$dir/stage" # its contents are in the images now
}

# use_stage: sets STAGE, with realtime.cpio and deterministic.cpio.
use_stage() {
	use_build_dir
	# (The tree's place counts: unit tests run in its build directory.)
	product stage "$(hash_of "$(source_key)" "$TOP" "$USERLAND_KEY" "${KERNEL##*/}" "${TOOLCHAIN##*/}" "${SCHED_SPARE_PARTIAL-}")" "build the project" 1200 \
		"the log shows the compiler's message" make_stage
	STAGE=$PRODUCT
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
