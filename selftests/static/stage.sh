#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What is compiled or installed makes the stage anew when it changes; what a host gets from the source tree at its boot does not.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/lib/ktap.sh"
. "$here/lib/build.sh"

tree=$(mktemp -d)
ktap_cleanup "rm -rf '$tree'"
TOP=$(cd "$here/.." && pwd)
(cd "$TOP" && source_files | grep -v '^\(out\|build[^/]*\)/' | tr '\n' '\0' | xargs -0 cp -p --parents -t "$tree" --)
TOP=$tree

# touched FILE: the key after a change of it, which is undone.
touched() {
	local kept
	kept=$(mktemp)
	cp -p "$TOP/$1" "$kept"
	echo >>"$TOP/$1"
	source_key
	mv "$kept" "$TOP/$1"
}

before=$(source_key)

same() {
	local file bad=0
	for file; do
		[[ $(touched "$file") == "$before" ]] || { echo "$file makes the stage anew"; bad=1; }
	done
	return "$bad"
}

other() {
	local file bad=0
	for file; do
		[[ $(touched "$file") != "$before" ]] || { echo "a changed $file leaves the stage as it is"; bad=1; }
	done
	return "$bad"
}

new_file() {
	local after
	echo >"$TOP/$1"
	after=$(source_key)
	rm "$TOP/$1"
	[[ $after != "$before" ]]
}

# The two parts of selftests/: nothing is in both, nothing but prose in neither.
parts() {
	[[ -z $(comm -12 <(stage_sources | sort) <(scripts | sort)) ]] || return 1
	[[ $({ stage_sources; scripts; } | grep -c '^selftests/') == $(source_files | grep -c '^selftests/') ]]
}

copied() {
	copy_scripts "$TOP/copy"
	diff "$TOP/copy/selftests/host/init" "$TOP/selftests/host/init" && [[ -x $TOP/copy/selftests/host/init && ! -e $TOP/copy/selftests/guest/init ]]
}

ktap_plan 5
ktap_check "HOST: a changed script, page or picture makes nothing anew" same selftests/run selftests/lib/{build,boot,runner}.sh \
	selftests/realtime/boot.sh selftests/host/init selftests/experiments/{demo.sh,e1.py,one-packet.svg} selftests/guest/run.sh \
	README.md CHANGELOG.md kmod/README.md kmod/check userspace/man/spared.8
ktap_check "HOST: a changed source, or what builds, makes the stage anew" other userspace/daemon/main.cpp kmod/main.c kmod/Kbuild Kbuild \
	sched_spare/bpf/sched_spare.bpf.c sched_spare/bpf/run.bpf.h sched_spare/include/sched_spare/abi.h CMakeLists.txt \
	sched_spare/cmake/BpfObject.cmake selftests/tools/{CMakeLists.txt,standin.cpp,tool_util.h} selftests/guest/{init,guest_burn.cpp,build.sh} \
	selftests/host/{build.sh,mkinitramfs.sh,initrd-init} userspace/etc/spared.toml
ktap_check "HOST: so does a new file of a kind that nobody has thought of" new_file userspace/lib/unknown.xyz
ktap_check "HOST: each file of the selftests shapes the stage or is taken at boot" parts
ktap_check "HOST: what is taken at boot keeps its mode" copied
ktap_done
