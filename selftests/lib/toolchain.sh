# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The toolchain: a tree of sid's packages, for kernels whose compiler the userland has not. Our module is built in it (its types are
# then the kernel's own), and so is the kernel of last resort. Unpacked, never configured; nothing else runs in it.

TOOLCHAIN_PACKAGES=(base-files bash dash coreutils diffutils findutils grep gzip mawk sed tar util-linux libc-bin perl-base python3-minimal
	bc bison flex libc6-dev libelf-dev make pahole xz-utils zstd)

make_toolchain() {
	local dir=$1 mirror=$2 cc=$3 deb
	private_apt "$mirror"
	mkdir -p "$dir"/{root,debs/partial}
	with_lists apt-get -q -y --no-install-recommends -t sid -o Dir::Cache::archives="$dir/debs" --download-only \
		install "${TOOLCHAIN_PACKAGES[@]}" "$cc"
	for deb in "$dir"/debs/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$dir/root" --exclude=./usr/share/{doc,man,info,locale}
	done
	rm -rf "$dir/debs"
	# What their configuration would have linked; gcc is the compiler asked for.
	ln -s "$cc" "$dir/root/usr/bin/gcc"
	ln -s mawk "$dir/root/usr/bin/awk"
	mkdir -p "$dir/root"/{build,src,kernel}
}

# use_toolchain COMPILER: sets TOOLCHAIN.
use_toolchain() {
	product toolchain "$1-$(hash_files "$SELFTESTS/lib/toolchain.sh")" "download and unpack $1, pahole and make of sid" 300 \
		"check the network" make_toolchain "$(userland_mirror)" "$1"
	TOOLCHAIN=$PRODUCT
}

# compiler_of HEADERS: the compiler that a kernel's configuration names, as gcc-14.
compiler_of() { sed -n 's/^CONFIG_CC_VERSION_TEXT="[^ ]*\(gcc-[0-9]*\) .*/\1/p' "$1/.config"; }

# has_compiler COMPILER: does the userland have it?
has_compiler() { [[ -e $USERLAND/root/usr/bin/$1 ]]; }
