#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# look.sh - what sparectl top and report look like beside real guests, as pictures. In the virtual host:
#   selftests/run host --limit 900 -- bash /usr/local/libexec/sched_spare/selftests/experiments/look.sh
# (On a busy machine with --dilation 5.) Two KVM guests and two stand-ins with reservations on two CPUs, packets to three of them. Leaves in $SPARE_OUT/look (the log names the
# directory on this machine) NAME.svg of each screen, NAME.txt, a recording and report.html.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/ktap.sh"
. "$here/../lib/spare.sh"
. "$here/../deterministic/measure.inc.sh"
. "$here/../realtime/module.inc.sh"
. "$here/../realtime/load.inc.sh"

out=${SPARE_OUT:-/tmp}/look
seconds=${SPARE_SECONDS:-10}
guests=()
mkdir -p "$out"

end_guests() {
	local pid tap
	for pid in "${guests[@]-}"; do [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true; done
	tmux -L look kill-server 2>/dev/null || true
	for tap in look_web look_db; do ip link del "$tap" 2>/dev/null || true; done
}
ktap_cleanup end_guests

# guest NAME NET CGROUP
guest() {
	"$here/../guest/run.sh" --tap "look_$1" --net "$2" --cgroup "$3" </dev/null >"/tmp/look_$1.qemu" 2>&1 &
	guests+=($!)
}
up() { grep -qs guest_burn: "/tmp/look_$1.serial"; }

pings() { background ping -q -i "$2" "198.18.$1.2"; }

# shot NAME WIDTH HEIGHT ENVIRONMENT -- KEY... -- OPTION...
shot() {
	local name=$1 width=$2 height=$3 environment=$4 keys=()
	shift 5
	while [[ $1 != -- ]]; do keys+=("$1"); shift; done
	shift
	tmux -L look -f /dev/null new-session -d -s "$name" -x "$width" -y "$height" "env $environment sparectl top $*"
	sleep 2
	[[ ${#keys[@]} -eq 0 ]] || tmux -L look send-keys -t "$name" "${keys[@]}"
	sleep 4
	tmux -L look capture-pane -p -t "$name" >"$out/$name.txt"
	tmux -L look capture-pane -p -e -t "$name" | python3 "$here/screen.py" "sparectl top" >"$out/$name.svg"
	tmux -L look kill-session -t "$name"
}

modprobe -a kvm_amd tun vhost_net 2>/dev/null || modprobe -a kvm_intel tun vhost_net
printf '[meter]\nenabled = true\n' >/tmp/look.toml
spare_up --config /tmp/look.toml
web=$(vm_cgroup web 30000 100000 0) db=$(vm_cgroup db 40000 100000 1) batch=$(vm_cgroup batch 20000 100000 0-1) mail=$(vm_cgroup mail 5000 50000 1)
provider p0 2000 20000 0 >/dev/null
provider p1 2000 20000 1 >/dev/null
for dir in "$CGROUP"/pool/p{0,1} "$web" "$db" "$batch" "$mail"; do ktap_cleanup "cgroup_remove $dir"; done
for name in web:72 db:73; do "$here/../guest/run.sh" --tap "look_${name%:*}" --net "${name#*:}" --tap-only; done
echo /pool >"$web/spare.use"
echo look_web >"$web/spare.netdev"
echo look_db >"$db/spare.netdev"
guest web 72 "$web"
guest db 73 "$db"
standin batch --cgroup "$batch" --vcpus 2
standin mail --cgroup "$mail" --tap look_mail
wait_for 20 tap_is_up look_mail
echo look_mail >"$mail/spare.netdev"
echo /pool >"$mail/spare.use"
wait_for 240 up web || ktap_note "web is not up"
wait_for 240 up db || ktap_note "db is not up"
pings 72 0.02
pings 73 0.05
packets look_mail /dev/shm/mail
sparectl record "$out/look.rec" -d 0.5 &
recorder=$!
shot vm 80 24 'TERM=screen-256color LC_ALL=C.UTF-8' -- -- 
shot why 80 24 'TERM=screen-256color LC_ALL=C.UTF-8' -- w -- --sort thr_pct
shot servers 80 24 'TERM=screen-256color LC_ALL=C.UTF-8' -- Enter -- --sort rx_pps
shot wide 200 60 'TERM=screen-256color LC_ALL=C.UTF-8' -- Enter --
shot latency 80 24 'TERM=screen-256color LC_ALL=C.UTF-8' -- -- --view latency
shot time 80 24 'TERM=screen-256color LC_ALL=C' -- -- --view time
shot bill 80 24 'TERM=screen-256color LC_ALL=C.UTF-8' -- -- --view bill
shot pool 80 24 'TERM=screen-256color LC_ALL=C NO_COLOR=1' -- -- --view pool
shot cpu 80 24 'TERM=vt100 LC_ALL=C' -- -- --view cpu
shot help 80 24 'TERM=screen-256color LC_ALL=C.UTF-8' -- h --
wait_for "$seconds" false || true
kill -INT "$recorder"
wait "$recorder" || true
sparectl report "$out/look.rec" --html "$out/report.html"
sparectl report "$out/look.rec"
cat "$out"/*.txt
