#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# limit: 900
# prometheus
# beside
#
# metrics.sh - what spared tells Prometheus: the real one scrapes it for 20 s, and what it then knows is compared with the cgroups' files; promtool
# judges the text, the alerts and the dashboard's names; whoever may connect stalls neither spared nor another's scrape; 100 VMs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/module.inc.sh"
. "$here/load.inc.sh"

TOOLS_OF=/job/prometheus
[[ -x $TOOLS_OF/promtool ]] || ktap_skip_all "no prometheus: $(cat $TOOLS_OF/why 2>/dev/null || echo 'it is not in /job')"
SHARE=${SPARE_LIB%/lib/*}/share/sched_spare
PORT=9968 PROMETHEUS_PORT=9090
# A cgroup's name may have any bytes but / and newline; as a path and as a label.
ODD=$'vm/odd\xff"\\x'
ODD_LABEL='/vm/odd\\xff\"\\x'
work=$(mktemp -d)

cleanup() {
	local dir
	background_stop
	for dir in "$CGROUP"/many/* "$CGROUP"/vm/* "$CGROUP"/pool/net/spare-0 "$CGROUP"/pool/net; do cgroup_remove "$dir" || true; done
	rmdir "$CGROUP/many" 2>/dev/null || true
	rm -rf "$work"
}
ktap_cleanup cleanup

configure() { cat >"$work/spared.toml"; }
reload() {
	kill -HUP "$SPARED_PID"
	wait_for 20 eval '[[ $(sed -n 1p /run/sched_spare/config) -gt '"$1"' ]]'
}
reloads() { sed -n 1p /run/sched_spare/config; }

scrape() { timeout 60 python3 -c '
import sys, urllib.request
sys.stdout.buffer.write(urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/metrics", timeout=50).read())' "$PORT"; }
value() { SERIES=$1 LC_ALL=C awk 'index($0, ENVIRON["SERIES"] " ") == 1 { print substr($0, length(ENVIRON["SERIES"]) + 2); found = 1 } END { exit !found }' "${2:-$work/scrape}"; }
scraped() { scrape >"$work/scrape" && value "$1" >/dev/null; }
# seconds NANOSECONDS: as Prometheus should have them
close_to() { python3 -c 'import sys; a, b = map(float, sys.argv[1:]); print(a, b); sys.exit(not abs(a - b) <= 1e-9 * max(a, b, 1))' "$1" "$2"; }

# ask EXPRESSION: one number that Prometheus has for it
ask() { timeout 60 python3 -c '
import json, sys, urllib.parse, urllib.request
u = "http://127.0.0.1:%s/api/v1/query?query=%s" % (sys.argv[1], urllib.parse.quote(sys.argv[2]))
r = json.load(urllib.request.urlopen(u, timeout=50))["data"]["result"]
print(r[0]["value"][1] if len(r) == 1 else "%d results" % len(r))' "$PROMETHEUS_PORT" "$1"; }

# Metrics that a file of rules or a dashboard names, those of histograms by their family.
names_in() { grep -ohE 'sched_spare_[a-z_]+' "$@" | sed 's/_bucket$//' | sort -u | grep -vx 'sched_spare_rules\|sched_spare_'; }
known() {
	local name bad=0
	for name in $(names_in "$@"); do
		grep -q "^# TYPE $name " "$work/scrape" || { echo "$name is in no scrape"; bad=1; }
	done
	return "$bad"
}

test_scrape() {
	ktap_check "metrics: a scrape has the VM" wait_for 60 scraped 'sched_spare_vm_used_seconds_total{vm="/vm/m"}'
	ktap_check "metrics: promtool finds nothing to say of it" eval '"$TOOLS_OF/promtool" check metrics <"$work/scrape" 2>&1 | tee "$work/said" && [[ ! -s $work/said ]]'
	ktap_check "metrics: a name of any bytes is one label" value "sched_spare_vm_placed{vm=\"$ODD_LABEL\"}"
	ktap_check "metrics: a reservation without effect is told" equal 0 "$(value 'sched_spare_vm_placed{vm="/vm/nowhere"}')"
	ktap_check "metrics: pools, free and in all" equal "1 1" "$(value 'sched_spare_pool_servers{pool="/pool/net"}') $(value 'sched_spare_pool_free_servers{pool="/pool/net"}')"
	ktap_check "metrics: what is reserved of a CPU" equal 0.4 "$(value 'sched_spare_cpu_reserved_ratio{cpu="1"}')"
	ktap_check "metrics: the class runs" equal "1 0" "$(value sched_spare_class_enabled) $(value sched_spare_class_ejections_total)"
	ktap_check "metrics: the textfile is there, whole" eval '"$TOOLS_OF/promtool" check metrics <"$work/t.prom" && value sched_spare_class_enabled "$work/t.prom"'
	ktap_check "metrics: it is written again" eval 'before=$(stat -c %i "$work/t.prom"); wait_for 20 eval "[[ \$(stat -c %i $work/t.prom) != $before ]]"'
}

test_rules() {
	cp "$SHARE"/sched_spare.rules.yml "$here/metrics_rules.yml" "$work"
	ktap_check "metrics: promtool check rules" "$TOOLS_OF/promtool" check rules "$work/sched_spare.rules.yml"
	ktap_check "metrics: promtool test rules: each alert comes, and none from a healthy host" "$TOOLS_OF/promtool" test rules "$work/metrics_rules.yml"
	ktap_check "metrics: alerts name only what a scrape has" known "$SHARE/sched_spare.rules.yml"
	ktap_check "metrics: the dashboard is JSON" python3 -c 'import json, sys; assert len(json.load(open(sys.argv[1]))["panels"]) > 10' "$SHARE/grafana.json"
}

prometheus_up() {
	cat >"$work/prometheus.yml" <<-YML
		global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 2s}
		rule_files: [sched_spare.rules.yml]
		scrape_configs: [{job_name: spared, static_configs: [{targets: ["127.0.0.1:$PORT"]}]}]
	YML
	setsid "$TOOLS_OF/prometheus" --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" --web.listen-address="127.0.0.1:$PROMETHEUS_PORT" \
		--log.level=warn </dev/null >"$work/prometheus.log" 2>&1 &
	BACKGROUND+=($!)
	wait_for 120 eval '[[ $(ask "count(up)" 2>/dev/null) == 1 ]]'
}

# same EXPRESSION KEY UNIT FILE: what Prometheus has is what the file says
same() { close_to "$(ask "$1")" "$(awk -v key="$2" -v unit="$3" '$1 == key { printf "%.9f", $2 * unit }' "$4")"; }

test_prometheus() {
	local stat=$CGROUP/vm/m/spare.stat
	ktap_check "metrics: the real Prometheus comes up with our rules" prometheus_up
	sleep 22
	ktap_note "scrapes in 20 s: $(ask 'count_over_time(up[20s])'), $(ask scrape_samples_scraped) samples, $(ask 'max_over_time(scrape_duration_seconds[20s])') s at most"
	# (On a machine that is busy with others one of them may take longer than Prometheus waits.)
	ktap_check "metrics: scrapes of 20 s came, one every 2 s" at_least 8 "$(ask 'sum_over_time(up[20s])')"
	ktap_check "metrics: the VM's use grows by its reservation" python3 -c 'import sys; r = float(sys.argv[1]); print(r); sys.exit(not 0.1 < r < 0.25)' \
		"$(ask 'rate(sched_spare_vm_used_seconds_total{vm="/vm/m"}[20s])')"
	background_stop_burner
	sleep 5
	ktap_check "metrics: used_ns" same 'sched_spare_vm_used_seconds_total{vm="/vm/m"}' used_ns 1e-9 "$stat"
	ktap_check "metrics: throttled_ns" same 'sched_spare_vm_throttled_seconds_total{vm="/vm/m"}' throttled_ns 1e-9 "$stat"
	ktap_check "metrics: throttled" same 'sched_spare_vm_throttlings_total{vm="/vm/m"}' throttled 1 "$stat"
	ktap_check "metrics: periods" same 'sched_spare_vm_periods_total{vm="/vm/m"}' periods 1 "$stat"
	ktap_check "metrics: what the meter has billed to the VM" close_to "$(ask 'sched_spare_vm_cpu_seconds_total{vm="/vm/m",kind="emulator"}')" "$(billed_s emulator /vm/m)"
	ktap_check "metrics: Prometheus has nothing to complain of" eval '! cat "$work/prometheus.log" | grep -v "level=info" | grep .'
	ktap_check "metrics: its alert on the VM that is not placed is on its way" equal 1 "$(ask 'count(ALERTS{alertname="SpareVmNotPlaced",vm="/vm/nowhere"})')"
}
# billed_s KIND CGROUP: seconds, as the meter has them that spared keeps
billed_s() { spared --meter --pinned --total --json | python3 -c '
import json, sys
print(*[vm["ns"][sys.argv[1]] * 1e-9 for vm in json.load(sys.stdin)["vms"] if vm["cgroup"] == sys.argv[2]])' "$1" "$2"; }
background_stop_burner() {
	kill -KILL -- "-${BACKGROUND[0]}"
	wait "${BACKGROUND[0]}" 2>/dev/null || true
	unset 'BACKGROUND[0]'
}

test_model() {
	modprobe -a tun vhost_net
	background "$TOOLS/spare-nic" --tap spare9 --cgroup "$CGROUP/vm/m" --wire lo --mac 02:00:00:00:00:77 --packets 100000 tx:256:8:1000:udp
	ktap_check "ACC-3: metrics: what packets cost by counting them, and how far that is off" wait_for 60 scraped 'sched_spare_packet_cost_error_ratio{model="batches"}'
	sleep 10
	scrape >"$work/scrape"
	ktap_note "$(grep '^sched_spare_packet_cost' "$work/scrape")"
	ktap_check "metrics: the dashboard names only what a scrape has" known "$SHARE/grafana.json"
	ktap_check "ACC-3: metrics: of one direction alone there is no weight" eval '! value sched_spare_packet_cost_weight_ratio'
	background_stop
}

test_hostile() {
	local count
	background python3 -c '
import socket, sys, time
held = []
while True:
    try:
        held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=1))
        if len(held) % 3 == 0: held[-1].send(b"GET /metr")
    except OSError:
        pass
    held = held[-200:]
    time.sleep(0.02)' "$PORT"
	sleep 3
	ktap_check "metrics: beside 50 silent connections a second a scrape is answered" wait_for 60 scraped sched_spare_class_enabled
	count=$(reloads)
	ktap_check "metrics: and spared does what it is told" reload "$count"
	ktap_check "metrics: with few connections open" at_most 64 "$(find "/proc/$SPARED_PID/fd" -lname 'socket:*' | wc -l)"
	background_stop
}

test_changes() {
	local count
	echo S >/proc/sysrq-trigger
	ktap_check "metrics: an ejection is counted" wait_for 60 eval 'scraped sched_spare_class_enabled && [[ $(value sched_spare_class_ejections_total) == 1 && $(value sched_spare_class_enabled) == 1 ]]'
	configure <<<'[metrics'
	count=$(reloads)
	reload "$count" || true
	ktap_check "metrics: a configuration with a mistake is told" wait_for 20 eval 'scraped sched_spare_class_enabled && [[ $(value sched_spare_config_last_reload_successful) == 0 ]]'
	configure <<-TOML
		[metrics]
		listen = "$work/socket"
	TOML
	count=$(reloads)
	ktap_check "metrics: another configuration, without a textfile" reload "$count"
	ktap_check "metrics: the textfile goes, as nobody writes it" wait_for 20 test ! -e "$work/t.prom"
	ktap_check "metrics: a Unix socket is root's alone" equal 600 "$(wait_for 20 test -S "$work/socket"; stat -c %a "$work/socket")"
	ktap_check "metrics: and answers" python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect(sys.argv[1]); s.send(b"GET /metrics HTTP/1.0\r\n\r\n")
d = b""
while True:
    p = s.recv(65536)
    if not p: break
    d += p
assert d.startswith(b"HTTP/1.1 200") and b"sched_spare_build_info" in d, d[:200]' "$work/socket"
	ktap_refused "metrics: the port is closed" 'refused' scrape
	configure <<<"$CONFIG"
	count=$(reloads)
	ktap_check "metrics: and open again" eval 'reload "$count" && wait_for 20 scraped sched_spare_class_enabled'
	ktap_check "metrics: then the Unix socket is gone" test ! -e "$work/socket"
}

many() {
	local i
	mkdir -p "$CGROUP/many"
	controllers "$CGROUP/many"
	mkdir "$CGROUP"/many/{0..99}
	for ((i = 0; i < 100; i++)); do echo '500 100000' >"$CGROUP/many/$i/spare.reservation"; done
	for ((i = 0; i < 100; i++)); do echo $((i % $(nproc))) >"$CGROUP/many/$i/spare.cpus"; done
}

test_many() {
	many
	ktap_check "metrics: 100 VMs" wait_for 120 scraped 'sched_spare_vm_placed{vm="/many/99"}'
	local began took i read=() pass=()
	# (What else runs only makes it longer: the least of some.)
	for ((i = 0; i < 4; i++)); do
		began=${EPOCHREALTIME/./}
		scrape >"$work/scrape"
		took=$((${EPOCHREALTIME/./} - began))
		read+=("$(value sched_spare_snapshot_seconds)") pass+=("$(value sched_spare_pass_seconds)")
		sleep 1
	done
	ktap_note "100 VMs: $(wc -c <"$work/scrape") bytes, $(grep -vc '^#' "$work/scrape") samples; the state was read in ${read[*]} s, a pass took ${pass[*]} s; a scrape took $took us"
	ktap_check "metrics: to read them takes less than a pass" python3 -c 'import sys
read, passes = ([float(word) for word in list.split()] for list in sys.argv[1:])
sys.exit(not min(read) < min(passes))' "${read[*]}" "${pass[*]}"
	ktap_check "metrics: promtool finds nothing to say of that" eval '"$TOOLS_OF/promtool" check metrics <"$work/scrape" 2>&1 | tee "$work/said" && [[ ! -s $work/said ]]'
}

ktap_plan 41
read -r -d '' CONFIG <<TOML || true
[placement]
enabled = false
[[pool]]
name = "net"
reservation = "4ms/10ms"
cpus = "1"
[meter]
enabled = true
[metrics]
listen = "127.0.0.1:$PORT"
textfile = "$work/t.prom"
interval = "1s"
TOML
configure <<<"$CONFIG"
spare_up -c "$work/spared.toml"
vm_cgroup m 20000 100000 0 >/dev/null
background "${ENTER[@]}" "$CGROUP/vm/m" "${BURNER[@]}"
mkdir "$CGROUP/$ODD" "$CGROUP/vm/nowhere"
echo '10000 100000' >"$CGROUP/vm/nowhere/spare.reservation"
echo '10000 100000' >"$CGROUP/$ODD/spare.reservation"
test_scrape
test_rules
test_prometheus
test_model
test_hostile
test_changes
test_many
ktap_done
