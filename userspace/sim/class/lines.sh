#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# lines.sh GCOV PROGRAM OBJECT SEEDS EVENTS: the lines of the class (sched_spare/bpf) that no run of PROGRAM executes, and how many there are.
# GCOV: gcov, or "llvm-cov gcov" for what clang has built.
set -euo pipefail
gcov=$1 program=$2 object=$3
shift 3
rm -f "${object%.o}.gcda"
"$program" "$@" | grep -v '^ ' | tail -n 1
# A line that several callers have in them counts once: executed, if by one of them.
$gcov -t "$object" | awk -F: '
	$2 + 0 == 0 && $3 == "Source" { file = $4; sub(/.*\//, "", file); next }
	file !~ /\.bpf\.[hc]$/ { next }
	$1 ~ /^ *[0-9]+\*?$/ { all++; next }
	$1 ~ /^ *#####$/ { all++; never++; line = $0; sub(/^[^:]*:[^:]*:/, "", line); printf "%s:%d:%s\n", file, $2, line }
	END { printf "%d of %d lines never ran\n", never, all }'
