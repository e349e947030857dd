#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# peers.sh KVER PACKAGE VERSION: inside the userland, build of the kernel's own source into /peers
#   scx_simple, scx_flatcg              schedulers of tools/sched_ext
#   test_cpu, test_freezer, test_kill   selftests of cgroups
#   runner                              selftests of sched_ext
set -euo pipefail
shopt -s extglob

kver=$1 package=$2 version=$3
kernel=/tmp/kernel
mkdir -p "$kernel"
dpkg-deb --fsys-tarfile "/debs/${package}_${version}_all.deb" | tar -xO --wildcards "./usr/src/$package.tar.xz" |
	tar -xJ -C "$kernel" --strip-components=1 --wildcards "$package/tools/sched_ext" "$package/tools/include" "$package/tools/arch" "$package/tools/lib/bpf" \
		"$package/tools/testing/selftests/"{'*.h',cgroup,sched_ext,pidfd,clone3}
tools=$kernel/tools tests=$kernel/tools/testing/selftests
cd /tmp
bpftool btf dump file "/usr/src/linux-headers-$kver/vmlinux" format c >vmlinux.h

# skeleton FILE.bpf.c
skeleton() {
	local name
	name=$(basename "$1" .bpf.c)
	clang -target bpf -D__TARGET_ARCH_x86 -mcpu=v3 -g -O2 -w -I "$tools/sched_ext/include" -I "$tools/sched_ext/include/scx" -I /tmp \
		-I "$tools/include/uapi" -c "$1" -o "$name.o" && bpftool gen object "$name.bpf.o" "$name.o" &&
		bpftool gen skeleton "$name.bpf.o" name "$name" >"$name.bpf.skel.h"
}

CFLAGS=(-O2 -w -pthread -D_GNU_SOURCE -I /tmp -I "$tools/sched_ext/include" -I "$tools/include" -I "$tools/include/uapi" -I "$tests"
	-I "$tests/cgroup/lib/include" -I "$tests/sched_ext")

# program NAME SOURCE...
program() {
	local name=$1
	shift
	gcc "${CFLAGS[@]}" -o "/peers/$name" "$@" -lbpf -lelf -lz
}

for name in scx_simple scx_flatcg; do
	skeleton "$tools/sched_ext/$name.bpf.c"
	program "$name" "$tools/sched_ext/$name.c"
done
# What of these does not build is missed by the test that runs them, and named.
left_out() { echo "left out: $1" | tee -a /peers/left_out >&2; }
for name in test_cpu test_freezer test_kill; do
	program "$name" "$tests/cgroup/$name.c" "$tests/cgroup/lib/cgroup_util.c" || left_out "$name"
done
objects=()
for source in "$tests"/sched_ext/!(*.bpf).c; do
	name=$(basename "$source" .c)
	[[ ! -e ${source%.c}.bpf.c ]] || skeleton "${source%.c}.bpf.c" || { left_out "sched_ext $name"; continue; }
	if gcc "${CFLAGS[@]}" -c "$source" -o "test.$name.o"; then objects+=("test.$name.o"); else left_out "sched_ext $name"; fi
done
program runner "${objects[@]}"
