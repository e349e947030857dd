#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 240
# --native on a KVM host, which the virtual host is: it runs the tests there, and says what a lesser machine lacks. (DESIGN 5)
set -euo pipefail
. "$(dirname "$0")/../lib/ktap.sh"
run=$(cd "$(dirname "$0")/.." && pwd)/run
SCHED_SPARE_CACHE=$(mktemp -d)
export SCHED_SPARE_CACHE
ktap_cleanup "rm -rf '$SCHED_SPARE_CACHE'"

# The subject runs in a mount namespace; COVER lays an empty file system over a path that it needs.
native() {
	local cover=$1
	shift
	unshare --mount bash -c '[[ -z $0 ]] || mount -t tmpfs none "$0"; exec "$@"' "$cover" "$run" "$@"
}

passes() {
	local out
	out=$(native '' test --native --only realtime/boot 2>&1) || { printf '%s\n' "$out"; return 1; }
	grep -qE '^[1-9][0-9]* passed, 0 failed, [0-9]+ skipped$' <<<"$out" || { printf '%s\n' "$out"; return 1; }
}

# names TEXT COVER: with COVER hidden, the run fails and its message has TEXT.
names() {
	local out status=0
	out=$(native "$2" test --native --only realtime/boot 2>&1) || status=$?
	[[ $status -ne 0 && $out == *"$1"* ]] || { printf 'status %d\n%s\n' "$status" "$out"; return 1; }
}

nothing_ran() {
	local out status=0
	out=$(native '' test --native --only no/such 2>&1) || status=$?
	[[ $status -ne 0 && $out == *"no test ran"* ]] || { printf 'status %d\n%s\n' "$status" "$out"; return 1; }
}

ktap_plan 5
ktap_check "HOST: test --native runs a test here and closes with the counts" passes
ktap_check "HOST: --native names a kernel without sched_ext" names "missing: sched_ext in the running kernel" /sys/kernel/sched_ext
ktap_check "HOST: --native names cgroup v2 when it is not there" names "missing: cgroup v2" /sys/fs/cgroup
ktap_check "HOST: --native names an installation that is not there" names "missing: an installed sched_spare" /usr/local/lib
ktap_check "HOST: a pattern that no test matches is a failure" nothing_ran
ktap_done
