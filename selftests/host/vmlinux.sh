#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# vmlinux.sh BZIMAGE OUT: the kernel that is packed in a bzImage, which QEMU starts by its PVH note. Unpacking itself it runs 860 million
# emulated instructions, at each boot. (Started so, it does not wake from S3.) Where it is not known or not packed by zstd, OUT is the
# bzImage, which QEMU starts as well. The header: Documentation/arch/x86/boot.rst.
set -euo pipefail

image=$1 out=$2

# number OFFSET BYTES
number() { od -An -v -t "u$2" -j "$(($1))" -N "$2" "$image" | tr -d ' '; }

sectors=$(number 0x1f1 1) offset=$(number 0x248 4) length=$(number 0x24c 4)
# The last four bytes are the unpacked size.
if dd if="$image" iflag=skip_bytes,count_bytes skip="$(((sectors + 1) * 512 + offset))" count="$((length - 4))" status=none 2>/dev/null |
	zstd -qdc >"$out.tmp" 2>/dev/null &&
	file -b "$out.tmp" | grep -q '^ELF 64-bit'; then
	mv "$out.tmp" "$out"
else
	cp "$image" "$out"
	rm -f "$out.tmp"
fi
