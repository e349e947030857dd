#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Inside the userland: build /src in /build for kernel $1, install into /stage: all, or with $2 "demo" what demo needs.
set -euo pipefail

kver=$1 part=$2
share=/stage/usr/local/libexec/sched_spare
# The module is made where the kernel's compiler is.
module_make="make"
[[ ! -d /toolchain/usr ]] || module_make="/src/selftests/host/toolchain.sh;make"

# For little work of the compiler: each program in one piece, as most of a file is headers; -O1 and no debug information, which would be
# stripped below; garbage is left until it is half a gigabyte. (Tests and spare_sim have an -O of their own.)
configure() {
	cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=0 \
		-DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG --param ggc-min-heapsize=500000 --param ggc-min-expand=300" \
		-DSPARE_KERNEL="$kver" -DSPARE_MODULE_MAKE="$module_make" -DSPARE_MODULE_DIR=lib/sched_spare -DSPARE_SELFTESTS=ON -DSPARE_WERROR=ON \
		-DCMAKE_INSTALL_PREFIX=/usr/local
}

strict() {
	echo "== configure"
	configure
	echo "== build"
	ninja -C /build "$part"
	echo "== install"
	install
	[[ $part == demo ]] || plain
}

# Of a build as an operator configures it, what cmake --install runs: realtime/systemd.sh puts the module into its host by that.
plain() {
	cmake -S /src -B /build/plain -G Ninja -DCMAKE_BUILD_TYPE=Release -DSPARE_KERNEL="$kver" -DSPARE_MODULE_MAKE="$module_make" >/build/plain.log || { cat /build/plain.log; return 1; }
	mkdir -p "$share/plain"
	cp /build/plain/cmake_install.cmake "$share/plain/"
}

# (The component doc stays out: nothing in the host reads it.)
install() {
	local component components=(demo programs)
	[[ $part != demo ]] || components=(demo)
	for component in "${components[@]}"; do
		DESTDIR=/stage cmake --install /build --component "$component" >/build/install.log || { cat /build/install.log; return 1; }
	done
}

# For work in progress: stage what builds.
partial() {
	local script
	configure || return 0
	ninja -C /build -k 0 || true
	find /build -name cmake_install.cmake | while read -r script; do
		DESTDIR=/stage cmake -DCMAKE_INSTALL_LOCAL_ONLY=1 -P "$script" || true
	done
}

mkdir -p /stage/usr/local
if [[ ${PARTIAL-} ]]; then partial; else strict; fi
# The host's initramfs is copied whole at each boot: the module's debug information stays behind. (BPF objects need theirs.)
find /stage/usr/local -type f \( -perm -100 -o -name '*.so*' -o -name '*.ko' \) | while read -r file; do
	case $(file -b "$file") in
	ELF*x86-64*) strip --strip-debug "$file" ;;
	esac
done
mkdir -p "$share/guest"
echo "== nested guest"
if [[ -x /src/selftests/guest/build.sh ]]; then
	/src/selftests/guest/build.sh "$kver" / "$share/guest" || [[ ${PARTIAL-} ]]
fi
echo "$kver" >"$share/kernel"
