#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# boot: bare
# limit: 900
# by name: a minute of measurements
# cpu: -erms,-fsrm
# ACC-3: sparectl calibrate: what packets cost this host, by the paper's count and by packets, bytes and batches; what it leaves behind, and what it refuses.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/measure.inc.sh"

# number KEY [OBJECT]: the first of that name in the result, or in an object of it, times 1000
number() {
	awk -v key="\"$1\":" -v object="\"${2-}\":{" '{
		if (object != "\"\":{") $0 = substr($0, index($0, object))
		printf "%d\n", substr($0, index($0, key) + length(key)) * 1000 + 0.5
	}' "$MEASURES/result"
}
links() { ip -o link | awk '{ print $2 }' | sort; }
# refused WORDS COMMAND...: it fails, and says these
refused() {
	local words=$1
	shift
	if "$@" 2>"$MEASURES/err"; then return 1; fi
	grep -- "$words" "$MEASURES/err" || { cat "$MEASURES/err"; return 1; }
}

ktap_plan 10
modprobe -a vhost_net tun veth bridge dummy
host_quiet || ktap_note "the host is still busy"
links >"$MEASURES/before"
began=$SECONDS
ktap_check "ACC-3: sparectl calibrate, without class, module and guest" bash -c "sparectl calibrate --json >$MEASURES/result"
took=$((SECONDS - began))
ktap_note "$(cat "$MEASURES/result")"
ktap_check "ACC-3: it takes at most a minute and a half" at_most 90 "$took"
ktap_check "ACC-3: no packet was lost" equal '"lost":0' "$(grep -o '"lost":[0-9]*' "$MEASURES/result" | sort -u)"
ktap_note "weight $(number weight packets) per mille; off at loads that were left out: the count of packets $(number error_worst packets), packets, bytes and batches $(number error_worst batches) per mille; rounds $(number rounds_apart) apart"
ktap_check "ACC-3: two rounds are alike, within 3 %" at_most 30 "$(number rounds_apart)"
ktap_check "ACC-3: packets, bytes and batches explain a load that is not in the fit within 20 %" at_most 200 "$(number error_worst batches)"
ktap_check "ACC-3: a count of packets does not" at_least 200 "$(number error_worst packets)"
ktap_check "ACC-3: as a table, too: each load" eval 'sparectl calibrate 2>/dev/null >"$MEASURES/table" && [[ $(grep -cE "^  (sent|received) .* % .* %$" "$MEASURES/table") == 26 ]]'
ktap_note "$(cat "$MEASURES/table")"
ktap_check "ACC-3: nothing is left behind" equal "$(cat "$MEASURES/before")" "$(links)"
ktap_check "ACC-3: who may not is told so" refused "as root" setpriv --reuid 65534 --clear-groups sparectl calibrate
mount --bind /dev/null /dev/vhost-net
ktap_cleanup "umount /dev/vhost-net 2>/dev/null || true"
ktap_check "ACC-3: without vhost-net nothing is measured" refused "vhost-net" sparectl calibrate
umount /dev/vhost-net
ktap_done
