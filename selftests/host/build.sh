#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Inside the userland: build /src in /build for kernel $1, install into /stage.
set -euo pipefail

kver=$1
share=/stage/usr/local/libexec/sched_spare
# The module is made where the kernel's compiler is.
module_make="make"
[[ ! -d /toolchain/usr ]] || module_make="/src/selftests/host/toolchain.sh;make"

# Without debug information, which is a third of the compiler's work and would be stripped below; several files at once, which halves the rest.
configure() {
	cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" \
		-DSPARE_KERNEL="$kver" -DSPARE_MODULE_MAKE="$module_make" -DCMAKE_INSTALL_PREFIX=/usr/local -DCMAKE_UNITY_BUILD=ON
}

strict() {
	echo "== configure"
	configure
	echo "== build"
	ninja -C /build
	echo "== install"
	DESTDIR=/stage ninja -C /build install >/build/install.log || { cat /build/install.log; exit 1; }
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
cp -r /src/selftests "$share/"
echo "== nested guest"
if [[ -x /src/selftests/guest/build.sh ]]; then
	/src/selftests/guest/build.sh "$kver" / "$share/guest" || [[ ${PARTIAL-} ]]
fi
echo "$kver" >"$share/kernel"
