#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Inside the userland: build scx_simple and scx_flatcg of the kernel's tools/sched_ext into /peers.   peers.sh KVER PACKAGE VERSION
set -euo pipefail

kver=$1 package=$2 version=$3
kernel=/tmp/kernel
mkdir -p "$kernel"
dpkg-deb --fsys-tarfile "/debs/${package}_${version}_all.deb" | tar -xO --wildcards "./usr/src/$package.tar.xz" |
	tar -xJ -C "$kernel" --strip-components=1 --wildcards "$package/tools/sched_ext" "$package/tools/include" "$package/tools/arch" "$package/tools/lib/bpf"
tools=$kernel/tools
cd /tmp
bpftool btf dump file "/usr/src/linux-headers-$kver/vmlinux" format c >vmlinux.h
for name in scx_simple scx_flatcg; do
	clang -target bpf -mcpu=v3 -g -O2 -w -I "$tools/sched_ext/include" -I "$tools/sched_ext/include/scx" -I /tmp -I "$tools/include/uapi" \
		-c "$tools/sched_ext/$name.bpf.c" -o "$name.o"
	bpftool gen object "$name.bpf.o" "$name.o"
	bpftool gen skeleton "$name.bpf.o" name "$name" >"$name.bpf.skel.h"
	gcc -O2 -w -I /tmp -I "$tools/sched_ext/include" -I "$tools/include" -I "$tools/include/uapi" -o "/peers/$name" "$tools/sched_ext/$name.c" \
		-lbpf -lelf -lz
done
