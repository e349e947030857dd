#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# clock.sh - the virtual host's clocks are one clock, at any dilation (DESIGN 5, nominal speed; tools/dilation.cpp): those of the host, of
# its two CPUs, its real-time clock and those of a nested guest agree, before and after the dilation is changed while they run.
set -euo pipefail
here=$(dirname "$0")
. "$here/../lib/ktap.sh"

SPEED=/usr/local/libexec/sched_spare/spare-speed
CLOCK=/sys/devices/system/clocksource/clocksource0
[[ ${SPARE_HOST-} == realtime ]] || ktap_skip_all 'the clocks of a real machine are its own'

tsc_is_used() { [[ $(<"$CLOCK/current_clocksource") == tsc ]] && ! dmesg | grep -iE 'marking.*unstable|tsc.*unstable'; }

# The real-time clock's seconds against CLOCK_MONOTONIC: within 20 ms of 4 s.
rtc_agrees() {
	python3 - <<'PY'
import fcntl, struct, time
rtc = open("/dev/rtc0", "rb")
def second():
    buf = bytearray(36)
    fcntl.ioctl(rtc, 0x80247009, buf)     # RTC_RD_TIME
    return struct.unpack("9i", buf)[0]
def edge():
    last = second()
    while second() == last:
        time.sleep(0.001)
    return time.monotonic()
a = edge()
for _ in range(4):
    b = edge()
print(f"4 seconds of the RTC took {b - a:.4f} s")
raise SystemExit(abs(b - a - 4) > 0.02)
PY
}

# One thread after the other on each CPU: the clock never goes back.
never_back() {
	python3 - <<'PY'
import os, time
cpus, last = sorted(os.sched_getaffinity(0)), 0
for i in range(4000):
    os.sched_setaffinity(0, {cpus[i % len(cpus)]})
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    if now < last:
        raise SystemExit(f"CPU {cpus[i % len(cpus)]} is {last - now} ns behind")
    last = now
PY
}

# The guest's CLOCK_MONOTONIC in its reports against ours: within 1000 ppm over 6 s, by the median of all pairs that are 2 s apart: a report that came late, as the
# outer machine was busy, is in few of them.
guest_agrees() {
	python3 - <<'PY'
import itertools, socket, statistics, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("198.18.71.1", 7171))
s.settimeout(10)
rows, end = [], time.monotonic() + 6
while time.monotonic() < end:
    words = s.recv(256).split()
    rows.append((time.monotonic(), int(words[2]) / 1e9))
slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(rows, 2) if b[0] - a[0] > 2)
print(f"a second of the guest takes {1 / slope:.6f} s, {len(rows)} reports")
raise SystemExit(abs(slope - 1) > 0.001)
PY
}

dilation() { "$SPEED" --ms 1 | sed -n 's/^dilation //p'; }

# redilated FACTOR: a pace of FACTOR times the present speed makes the dilation greater (FACTOR > 1).
redilated() {
	local before after speed
	"$SPEED" --ms 1 --dilation 1 >/dev/null
	before=$(dilation)
	speed=$("$SPEED" --ms 300 | sed -n 's/^speed_before //p')
	"$SPEED" --ms 300 --wanted "$((speed * $1))" --pace
	after=$(dilation)
	awk -v a="$before" -v b="$after" 'BEGIN { exit !(b > a * 1.3) }' || { echo "dilation $before, then $after"; return 1; }
}

# A command that has less than 80 % of its speed is run three times, and is not measured.
too_busy() {
	local status=0 runs
	runs=$(mktemp)
	"$SPEED" --ms 20 --wanted 1000000000 -- bash -c "echo >>$runs" || status=$?
	[[ $status == 75 && $(wc -l <"$runs") == 3 ]] || { echo "status $status after $(wc -l <"$runs") runs"; return 1; }
}
command_fails() { local status=0; "$SPEED" --ms 20 -- bash -c 'exit 7' || status=$?; [[ $status == 7 ]]; }

ktap_plan 13
ktap_check "SPEED: the host's clock is the TSC, and the kernel trusts it" tsc_is_used
# (The kernel may measure it once more, and believes that within 1 %.)
ktap_check "SPEED: and takes it for 1 GHz" grep -qE '^cpu MHz.*: (1000|999)\.' /proc/cpuinfo
ktap_check "SPEED: the real-time clock agrees" rtc_agrees
ktap_check "SPEED: no CPU's clock is behind another's" never_back
"$here/../guest/run.sh" --rest --serial /tmp/clock.serial >/tmp/clock.qemu 2>&1 </dev/null &
guest=$!
ktap_cleanup "kill -KILL $guest 2>/dev/null; wait $guest 2>/dev/null; ip link del spareg0"
ktap_check "SPEED: a nested guest boots" wait_for 60 grep -q guest_burn: /tmp/clock.serial
ktap_check "SPEED: its clock agrees" guest_agrees
before=$(dilation)
ktap_check "SPEED: the dilation can be changed while all run" redilated 2
ktap_check "SPEED: then the real-time clock agrees" rtc_agrees
ktap_check "SPEED: then no CPU's clock is behind another's" never_back
ktap_check "SPEED: then the guest's clock agrees" guest_agrees
ktap_check "SPEED: a measurement without its speed is made three times, and is none" too_busy
ktap_check "SPEED: a measurement that fails is not made again" command_fails
"$SPEED" --ms 1 --dilation "$before" >/dev/null
ktap_check "SPEED: the TSC is trusted to the end" tsc_is_used
ktap_done
