# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The commands test, demo and experiment in the virtual host. A test's name is its file below selftests/ without .sh.

# An experiment's exit status when the machine was too busy: neither pass nor fail (EX_TEMPFAIL).
NOT_MEASURED=75

# How slowly the real-time host's clocks run with a debug kernel, whose code takes about so much longer.
DEBUG_DILATION=4

HOST_SELFTESTS=/usr/local/libexec/sched_spare/selftests

# tests_of DIRECTORY: the names there that --only wants; without it not those that say "# by name", which measure more than they show. (NAME.inc.sh is
# what tests source.)
tests_of() {
	local file name
	for file in "$SELFTESTS/$1"/*.sh; do
		name=$1/$(basename "$file" .sh)
		[[ -e $file && $file != *.inc.sh ]] && wanted "$name" && { [[ -n $ONLY ]] || ! grep -q '^# by name' "$file"; } && echo "$name"
	done
	return 0
}

# Those that take long run by name only.
realtime_tests() {
	tests_of realtime
	[[ -z $ONLY ]] || tests_of long
}

# Debian's releases on whose kernels a real-time script runs by name, too, as NAME@RELEASE: it says "# kernels: RELEASE...". Nothing of ours is built
# for these kernels.
RELEASES=(trixie bookworm)

# release_tests RELEASE
release_tests() {
	local file name
	[[ $ONLY == *@* ]] || return 0
	for file in "$SELFTESTS"/realtime/*.sh; do
		name=realtime/$(basename "$file" .sh)@$1
		! grep -q "^# kernels:.* $1\b" "$file" || ! wanted "$name" || echo "$name"
	done
}

# init_of NAME: a real-time script says "# init: systemd" when that is to be process 1 of its host, which is then another one.
init_of() { sed -n 's/^# init: *//p' "$SELFTESTS/${1%@*}.sh" | head -n 1; }

# A test's file name asks for that one, all else is a pattern.
# shellcheck disable=SC2053 # it is meant as one
wanted() {
	if [[ -n $ONLY && -e $SELFTESTS/$ONLY.sh ]]; then [[ $1 == "$ONLY" ]]; else [[ -z $ONLY || $1 == @($ONLY) || $1 == *@($ONLY)* ]]; fi
}

# host_of NAME: which real-time host a script runs in: that of most; "systemd"; or, where it says "# beside", another one at the same time, as what it shows
# does not rest on times.
host_of() {
	local init
	init=$(init_of "$1")
	if [[ -n $init ]]; then
		echo "$init"
	elif grep -qx '# beside' "$SELFTESTS/${1%@*}.sh"; then
		echo beside
	fi
}

# in_host_of HOST: of the real-time scripts
in_host_of() {
	local name
	while read -r name; do [[ $(host_of "$name") != "$1" ]] || echo "$name"; done < <(realtime_tests)
}

limit_of() {
	local limit
	limit=$(sed -n 's/^# limit: *\([0-9]\+\).*/\1/p' "$SELFTESTS/${1%@*}.sh" | head -n 1)
	limit=${limit:-300}
	! is_debug_kernel || limit=$((limit * 4))
	echo "$limit"
}

# Two at a time end together when the short ones come last.
longest_first() {
	local name
	while read -r name; do echo "$(limit_of "$name") $name"; done | sort -k 1,1rn -k 2 | cut -d' ' -f2
}

# cpus_of NAME: a deterministic script says "# cpus: N" when it needs more than one; "N,threads=N" are siblings of one core.
cpus_of() {
	local cpus
	cpus=$(sed -n 's/^# cpus: *\([0-9][0-9a-z,=]*\).*/\1/p' "$SELFTESTS/${1%@*}.sh" | head -n 1)
	echo "${cpus:-1}"
}

# flags_of NAME: a deterministic script says "# cpu: FLAGS" (-erms) when the emulated CPU is to lack something.
flags_of() { sed -n 's/^# cpu: *\([-+a-z0-9,]*\).*/\1/p' "$SELFTESTS/${1%@*}.sh" | head -n 1; }

# lacks NAME: a deterministic script says "# config: CONFIG_X" when it is for kernels with that; prints what this one lacks.
lacks() {
	local config
	config=$(sed -n 's/^# config: *\([A-Z0-9_]*\).*/\1/p' "$SELFTESTS/$1.sh" | head -n 1)
	[[ -n $config ]] && ! grep -qsxh "$config=[ym]" "$KERNEL"/root/usr/src/linux-headers-*/.config && echo "$config"
}

new_results() {
	RESULTS=$(mktemp "$CACHE/tmp.results.XXXX.$$")
	tmp_path "$RESULTS"
}

# mawk would wait for a block of input.
AWK=(awk)
if awk -W version 2>&1 </dev/null | grep -q mawk; then AWK=(awk -W interactive); fi
collect() { "${AWK[@]}" -v results="$RESULTS" -f "$SELFTESTS/lib/collect.awk"; }

# record pass|fail|skip NAME [WHY]: a result that no script printed.
record() {
	printf '%-4s %s%s\n' "$1" "$2" "${3:+ ($3)}"
	printf '%s\t%s\t%s\n' "$1" "$2" "${3-}" >>"$RESULTS"
}

# By area, the directory of a test: results, seconds (as its host's clock counts them); then what was skipped and why, and what failed. Before it how fast
# the machine was.
summary() {
	awk -F '\t' '$1 == "speed" { print $3 }' "$RESULTS" | sort -n |
		awk '{ look[NR] = $1 } END { if (NR) printf "\nthe machine'"'"'s CPUs, with all that ran: %d thousand units per second (spare-speed, at k = 1; median of %d looks)\n", look[int((NR + 1) / 2)] / 1000, NR }'
	awk -F '\t' '
		$1 == "speed" { next }
		{ area = $2; sub(/[\/ ].*/, "", area) }
		!(area in known) { known[area]; order[++areas] = area }
		$1 == "time" { seconds[area] += $3; next }
		{ n[area, $1]++; all[$1]++ }
		$1 == "skip" { skipped = skipped "\n  " $2 ": " $3 }
		$1 == "fail" { failed = failed "\n  " $2 ($3 == "" ? "" : ": " $3) }
		END {
			printf "\n%-15s %7s %7s %8s %8s\n", "area", "passed", "failed", "skipped", "seconds"
			for (i = 1; i <= areas; i++) {
				area = order[i]
				printf "%-15s %7d %7d %8d %8d\n", area, n[area, "pass"], n[area, "fail"], n[area, "skip"], seconds[area]
			}
			if (skipped != "") print "\nskipped:" skipped
			if (failed != "") print "\nfailed:" failed
			printf "\n%d passed, %d failed, %d skipped\n", all["pass"], all["fail"], all["skip"]
		}' "$RESULTS"
}

# The closing lines; ends the run with its status.
close_results() {
	summary
	! grep -q '^skip' "$RESULTS" || grep -q '^\(pass\|fail\)' "$RESULTS" || die "all of it was skipped" "the summary says why"
	grep -q '^\(pass\|fail\)' "$RESULTS" || die "no test ran" "check --only '$ONLY' against the files in selftests/{static,deterministic,realtime,long}, and unit/ctest"
	if grep -q '^fail' "$RESULTS"; then exit 1; fi
	exit 0
}

# follow COMMAND...: run it in a group of its own, so that Ctrl-C ends all of it, and wait. (What runs beside has one.)
follow() {
	local status=0
	if ((BASHPID != $$)); then
		"$@"
		return
	fi
	background "$@"
	wait "$STEP_PGID" || status=$?
	STEP_PGID=
	return "$status"
}

# --- what needs no boot

run_static() { in_userland "$TOP:/src:ro" "$BUILD:/build:rw" "${KERNEL_BINDS[@]}" -- bash /src/selftests/lib/runner.sh /src/selftests "$@" 2>&1 | collect; }

# ctest's lines as KTAP.
run_units() {
	in_userland "$TOP:/src:ro" "$BUILD:/build:rw" "${KERNEL_BINDS[@]}" -- \
		ctest --test-dir /build --output-on-failure --timeout 600 2>&1 | awk '
			function seconds(now) { "date +%s" | getline now; close("date +%s"); return now }
			BEGIN { print "@@ begin unit/ctest 600"; began = seconds() }
			/^ *[0-9]+\/[0-9]+ Test +#[0-9]+:/ {
				name = $0; sub(/^[^:]*: */, "", name); sub(/ [.*].*/, "", name)
				printf "%s %d - %s\n", /Passed/ ? "ok" : "not ok", ++n, name
				if (!/Passed/) bad++
				next
			}
			/^(test|Test project|Internal ctest| *Start|100%|Total Test| *[0-9]+% tests)/ || /^$/ { next }
			{ print "# " $0 }
			END { if (!n) bad++; else print "1.." n; print "@@ end unit/ctest " (bad > 0) " " seconds() - began }' | collect
}

# --- the deterministic host: one boot per script (a run does not depend on the machine's load)

# deterministic_boot NAME: in a subshell; its own run directory.
# A deterministic script goes on from a host with the class up; it says "# boot: bare" for one with nothing of ours, "# boot: own" to boot by itself,
# and then "# cmdline: ..." when its kernel is to be told more.
deterministic_boot() {
	local name=$1 limit status=0 STACK='' told boot_of config
	if config=$(lacks "$name"); then
		record skip "$name" "this kernel is without $config (--kernel built is not)"
		return
	fi
	# Virtual seconds pass faster or slower than real ones, and the real-time host goes first.
	limit=$(($(limit_of "$name") * 4 + 600))
	DETERMINISTIC_CPUS=$(cpus_of "$name")
	told=$(sed -n 's/^# cmdline: *//p' "$SELFTESTS/$name.sh")
	CMDLINE+=${told:+ $told}
	DETERMINISTIC_FLAGS=$(flags_of "$name")
	boot_of=$(sed -n 's/^# boot: *//p' "$SELFTESTS/$name.sh")
	if [[ $boot_of != own ]] && ! use_stack "$boot_of"; then
		tail -n 15 "$RUN/port.log" | sed 's/^/     | /'
		record fail "$name" "no host to go on from, see $RUN"
		return
	fi
	new_run "${name//\//-}"
	echo "bash $HOST_SELFTESTS/lib/runner.sh $HOST_SELFTESTS $name" >"$RUN/job/run"
	boot deterministic "$limit" >"$RUN/port.log" || status=$?
	collect_out
	collect <"$RUN/port.log"
	# What only the console knows.
	if [[ $(verdict) == none ]] || ! grep -aq "^@@ begin $name " "$RUN/port.log"; then
		kernel_trouble | head -n 10 | sed 's/^/     kernel: /' || true
		tail -n 5 "$RUN/console.log" | sed 's/^/     | /'
		record fail "$name" "the host did not reach its end (QEMU status $status), see $RUN"
	elif [[ -n $(kernel_trouble) ]]; then
		# (Before the script began, when the runner has said nothing.)
		kernel_trouble | head -n 10 | sed 's/^/     kernel: /'
		record fail "$name" "the kernel complained, see $RUN"
	fi
}

# Each of these in two boots, one of its own and one from a saved state: every byte that the kernel and the job wrote must be the same.
IDENTICAL=(deterministic/boot deterministic/hook)

identical() {
	local name first
	for name in "${IDENTICAL[@]}"; do
		deterministic_boot "$name"
		first=$RUN
		RESULTS=/dev/null deterministic_boot "$name" >/dev/null
		same_logs "$first" "$RUN" || return 0
	done
	record pass "deterministic/identical two runs write the same logs"
}

same_logs() {
	local what
	for what in console.log port.log; do
		what=$(cmp "$1/$what" "$2/$what" 2>&1) || { record fail "deterministic/identical two runs write the same logs" "$what"; return 1; }
	done
}

# --- all of these, two at a time

# beside_realtime NAMES: in a host of their own beside the first one. Of either most of the time is waiting, so both have the machine as it comes, at the speed
# that is set before each script.
beside_realtime() {
	chrt --other --pid 0 "$BASHPID"
	# shellcheck disable=SC2086 # several words
	HOST_INIT=$(init_of "${1%% *}") run_realtime $1
}

# quiet_test NAME: its results in one piece when it ends
quiet_test() {
	local out
	out=$(
		case $1 in
		unit/ctest) run_units ;;
		static/*) run_static "$1" ;;
		deterministic/identical) identical ;;
		realtime/* | long/*) beside_realtime "$1" ;;
		*) deterministic_boot "$1" ;;
		esac
	) || true
	[[ -n $out ]] || out=$(record fail "$1" "it said nothing")
	printf '%s\n' "$out"
}

# run_quiet NAME...: two at a time; one of them are those of APART, one after the other.
run_quiet() {
	local name running=0
	if ((${#APART[@]})); then
		running=1
		for name in "${APART[@]}"; do quiet_test "$name"; done &
	fi
	for name; do
		((running++ < 2)) || wait -n || true
		quiet_test "$name" &
	done
	wait
}

# --- the real-time host: all scripts of one (host_of) in one boot; after a crash the rest in another

realtime_port() { boot realtime "$1" batch "$PACE_TESTS" | tee "$RUN/port.log" | collect; return "${PIPESTATUS[0]}"; }

run_realtime() {
	local rest=("$@") limit name boots=0 status began
	while ((${#rest[@]})); do
		boots=$((boots + 1))
		if ((boots > 4)); then
			for name in "${rest[@]}"; do record fail "$name" "not run: the host died too often"; done
			return
		fi
		limit=60
		for name in "${rest[@]}"; do limit=$((limit + $(limit_of "$name") + 20)); done
		new_run realtime
		say "boot the real-time host, logs in $RUN"
		peers_for "${rest[@]}"
		prometheus_for "${rest[@]%@*}"
		printf 'exec bash %s/lib/runner.sh %s %s\n' "$HOST_SELFTESTS" "$HOST_SELFTESTS" "${rest[*]}" >"$RUN/job/run"
		status=0
		follow realtime_port "$limit" || status=$?
		collect_out
		if [[ $(verdict) != none ]]; then
			# Each of them has begun, or the runner itself has failed.
			for name in "${rest[@]}"; do
				grep -aq "^@@ begin $name " "$RUN/port.log" || record fail "$name" "not run: the runner ended with status $(verdict), see $RUN"
			done
			return
		fi
		kernel_trouble | head -n 10 | sed 's/^/     kernel: /' || true
		tail -n 5 "$RUN/console.log" | sed 's/^/     | /'
		say "the host went off: $(why_off "$status"), see $RUN"
		# Those that began, ended or died; go on behind them.
		began=$(grep -ac '^@@ begin ' "$RUN/port.log" || true)
		if ((began == 0)); then
			record fail "${rest[0]}" "the host did not come up, see $RUN"
			began=1
		fi
		rest=("${rest[@]:began}")
	done
}

cmd_test() {
	local quick deterministic realtime host name release
	# A part that does not build is a failure here.
	SCHED_SPARE_PARTIAL=''
	[[ -n $ONLY ]] || expect test-all
	prepare
	if is_debug_kernel; then
		say "a debug kernel: waits are longer, bounds that are missed are skipped; what the kernel says counts"
		DILATION=${DILATION:-$DEBUG_DILATION}
	fi
	[[ -n $ONLY ]] || begin_step test-all "run every test"
	new_results
	mapfile -t quick < <(
		! wanted unit/ctest || echo unit/ctest
		tests_of static
	)
	mapfile -t deterministic < <(
		if wanted deterministic/identical; then
			echo deterministic/identical # runs these
			tests_of deterministic | longest_first | grep -vxF "$(printf '%s\n' "${IDENTICAL[@]}")"
		else
			tests_of deterministic | longest_first
		fi
	)
	APART=()
	for host in systemd beside; do
		name=$(in_host_of $host | paste -sd ' ')
		[[ -z $name ]] || APART+=("$name")
	done
	# What these show does not depend on how long they take: but for the other real-time hosts they have the CPU time that the first one leaves.
	if ((${#quick[@]} + ${#deterministic[@]} + ${#APART[@]})); then
		say "${#quick[@]} jobs of unit tests and static checks, ${#deterministic[@]} boots of the deterministic host, ${#APART[@]} more of the real-time one: two at a time, each with its results when it ends"
		beside run_quiet "${quick[@]}" "${deterministic[@]}"
	fi
	mapfile -t realtime < <(in_host_of '')
	((${#realtime[@]} == 0)) || HOST_INIT='' run_realtime "${realtime[@]}"
	for release in "${RELEASES[@]}"; do
		mapfile -t realtime < <(release_tests "$release")
		((${#realtime[@]})) || continue
		use_release_kernel "$release"
		say "kernel: $KVER, of $release"
		HOST_INIT='' run_realtime "${realtime[@]}"
	done
	wait_beside || true
	# shellcheck disable=SC2048 # several names in each
	for name in "${quick[@]}" "${deterministic[@]}" ${APART[*]}; do
		grep -q "$(printf '\t')$name\b" "$RESULTS" || record fail "$name" "it did not run"
	done
	if [[ -n $ONLY ]]; then say "done"; else end_step; fi
	close_results
}

# peers_for NAME...: a script that says "# peers" finds the kernel's own schedulers and selftests in /job/peers (peers.sh).
peers_for() {
	local names=("${@%@*}")
	(cd "$SELFTESTS" && grep -q '^# peers' "${names[@]/%/.sh}") || return 0
	use_peers
	cp -r "$PEERS" "$RUN/job/peers"
}

# forget_results NAME DIR: what an earlier run of this experiment left there is not this one's result. Others' stay.
forget_results() {
	local own=$1
	mkdir -p "$2"
	[[ $own != demo ]] || own=E1
	rm -f "$2/$own".{json,csv,svg,log}
	[[ $own != E1 ]] || rm -f "$2"/{report.html,one-packet.svg,throughput.csv} "$2"/switches-*.csv
}

# in_host NAME LIMIT COMMAND [FILE]: boot the real-time host for one command; what it leaves in /out/NAME goes to OUT;
# sets HOST_STATUS, the command's.
in_host() {
	local name=$1 limit=$2 command=$3 status=0
	local out=${OUT:-$TOP/out/$name}
	new_run "$name"
	echo "$command" >"$RUN/job/run"
	[[ ! -f ${4-} ]] || cp "$4" "$RUN/job/"
	peers_for "experiments/$name"
	forget_results "$name" "$out"
	say "boot the real-time host, logs in $RUN"
	follow run_port realtime "$limit" "$PACE_NOMINAL" || status=$?
	collect_out
	if [[ -d $RUN/out/$name ]]; then
		cp -r "$RUN/out/$name/." "$out/"
		say "results: $out"
	fi
	report_boot "$status"
	HOST_STATUS=$(verdict)
}

deterministic_port() { boot deterministic "$1" >"$RUN/port.log"; }

# in_deterministic_host NAME LIMIT: the same for an experiment that measures there; that host gives back nothing but its log,
# which the experiment's Python part judges in the userland. Sets HOST_STATUS, that part's.
in_deterministic_host() {
	deterministic_log "$@"
	local out=${OUT:-$TOP/out/$1}
	forget_results "$1" "$out"
	out=$(realpath "$out")
	HOST_STATUS=0
	in_userland "$TOP:/src:ro" "$BUILD:/build:ro" "$RUN:/run/host:ro" "$out:/out:rw" -- \
		python3 -B "/src/selftests/experiments/${1,,}.py" /run/host/port.log /out || HOST_STATUS=$?
	say "results: $out"
}

# deterministic_log NAME LIMIT: let the experiment measure in the deterministic host; the log is $RUN/port.log.
deterministic_log() {
	local name=$1 status=0
	DETERMINISTIC_CPUS=$(cpus_of "experiments/$name")
	DETERMINISTIC_FLAGS=$(flags_of "experiments/$name")
	new_run "$name"
	echo "bash $HOST_SELFTESTS/experiments/$name.sh --measure" >"$RUN/job/run"
	peers_for "experiments/$name"
	say "boot the deterministic host, logs in $RUN"
	follow deterministic_port "$2" || status=$?
	collect_out
	report_boot "$status"
}

# worse A B: of two exit statuses; a failure outweighs what could not be measured.
worse() { if (($2 == 0 || $1 && $1 != NOT_MEASURED)); then echo "$1"; else echo "$2"; fi; }

# closing DIR: after a demo, where the report is on this machine and what to do next; ends the run with the verdict's status.
closing() {
	case $HOST_STATUS in
	0)
		[[ ! -e $RUN/out/demo/report.html ]] || printf '\nreport:   file://%s/report.html\n' "$(realpath "$1")"
		printf 'try next: selftests/run shell                          a root shell in that host: insmod, spared, sparectl as in README\n'
		printf '          selftests/run experiment E1 --out DIR        all seven schedulers, 96 packets and more each, the same report\n'
		printf '          selftests/run test                           every rule with its test\n'
		;;
	"$NOT_MEASURED")
		[[ ! -e $RUN/out/demo/report.html ]] || printf '\nreport:   file://%s/report.html (what could be measured)\n' "$(realpath "$1")"
		printf '\nnot measured: this machine was too busy. That is neither pass nor fail; try again when less runs beside it.\n'
		;;
	*)
		[[ ! -e $RUN/out/demo/report.html ]] || printf '\nreport:   file://%s/report.html\n' "$(realpath "$1")"
		printf 'logs:     %s\n' "$RUN"
		;;
	esac
	exit "$HOST_STATUS"
}

cmd_demo() {
	expect demo-boot
	prepare demo
	begin_step demo-boot "measure in the real-time host"
	in_host demo 600 "bash $HOST_SELFTESTS/experiments/demo.sh /out/demo"
	((HOST_STATUS)) || end_step
	closing "${OUT:-$TOP/out/demo}"
}

cmd_experiment() {
	local name status=0
	((${#ARGS[@]})) || die "experiment: which one?" "one of: $(experiments)"
	for name in "${ARGS[@]}"; do
		[[ $name == E[0-9]* && -f $SELFTESTS/experiments/$name.sh ]] || die "there is no experiment $name" "one of: $(experiments)"
	done
	prepare
	for name in "${ARGS[@]}"; do
		case $(sed -n 's/^# host: //p' "$SELFTESTS/experiments/$name.sh") in
		deterministic) in_deterministic_host "$name" 2400 ;;
		both)
			deterministic_log "$name" 2400
			in_host "$name" 2400 "bash $HOST_SELFTESTS/experiments/$name.sh --out /out/$name --deterministic /job/port.log" "$RUN/port.log"
			;;
		*) in_host "$name" 2400 "bash $HOST_SELFTESTS/experiments/$name.sh --out /out/$name" ;;
		esac
		status=$(worse "$status" "$HOST_STATUS")
	done
	exit "$status"
}

experiments() { (cd "$SELFTESTS/experiments" && printf '%s ' E*.sh | sed 's/\.sh//g'); }
