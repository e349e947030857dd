# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Boot the virtual KVM host in QEMU (the userland's, so that every machine emulates alike) and run one job in it.
#   realtime       MTTCG, 2 CPUs, AMD SVM: nested KVM guests run in it
#   deterministic  -icount, 1 CPU (more when DETERMINISTIC_CPUS says so: they take turns on one clock), no disk, no network,
#                  fixed seed and clock: two runs write the same logs; no khugepaged, which takes 20 ms every 10 s, nor DAMON; no
#                  tests of ciphers, which take 3 s of the first 10, no clearing of memory.
#                  With STACK, a directory, it goes on from the state that is saved there (use_stack); SAVE_TO saves one

# Nominal speed: the real-time host's clocks run at 1/k (tools/dilation.cpp), and the host chooses k itself when it is up so that its
# CPUs do PACE units of work in a second of its own (tools/speed.cpp), 1 <= k <= 10. Its limits count its own seconds.
PACE_NOMINAL=250000 # demo and experiments: every machine emulates this one
PACE_TESTS=60000    # tests: k is 1 where the machine is as fast as this; set anew before each script

REALTIME_CPUS=${SCHED_SPARE_CPUS:-2}
DETERMINISTIC_CPUS=1
DETERMINISTIC_FLAGS='' # of the emulated CPU, as "-erms": what it lacks
STACK='' SAVE_TO=''
HOST_INIT='' # "systemd": the real-time host's process 1; else host/init
CMDLINE="console=ttyS0 panic=2 mitigations=off nokaslr"

# The debug kernel wants memory of its own.
is_debug_kernel() { [[ $KVER == *-debug ]]; }

# new_run NAME: sets RUN, the directory of one boot: job/ goes in, console.log (kernel), port.log (job) and out/ come back.
new_run() {
	mkdir -p "$CACHE/run"
	RUN=$(mktemp -d "$CACHE/run/$(date +%Y%m%d-%H%M%S)-$1-XXXX")
	mkdir "$RUN/job"
	tmp_path "$RUN/initrd"
	tmp_path "$RUN/out.img"
	ln -sfn "${RUN##*/}" "$CACHE/run/latest"
	# The last 30 runs are kept.
	find "$CACHE/run" -mindepth 1 -maxdepth 1 -type d -mmin +60 -printf '%T@ %p\n' 2>/dev/null | sort -rn | tail -n +31 | cut -d' ' -f2- |
		while read -r path; do rm -rf --one-file-system "$path"; done || true
}

# milli NUMBER: its thousandths.
milli() { awk -v n="$1" 'BEGIN { printf "%d", n * 1000 + 0.5 }'; }

# qemu_args MODE LIMIT_S: sets QEMU, a command to run in the userland with RUN at /run/host.
qemu_args() {
	local port=stdio,id=job,signal=off memory=(4G 1G) cmdline=$CMDLINE
	if is_debug_kernel; then
		memory=(8G 3G)
		cmdline+=" kmemleak=on"
	fi
	QEMU=(qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -initrd /run/host/initrd
		-chardev file,id=console,path=/run/host/console.log -chardev "$port"
		-d cpu_reset -D /run/host/qemu.log -trace qemu_system_shutdown_request -trace pckbd_kbd_write_command)
	if [[ $1 == realtime ]]; then
		# Clearing each page is a sixth of what a process costs. (What is measured has it as Debian does.)
		[[ ${pace-} != "$PACE_TESTS" ]] || cmdline+=" init_on_alloc=0"
		# tools/svm_fixes.cpp, tools/dilation.cpp and tools/resting.cpp say why. The kernel is told that the TSC runs at 1 GHz: on a busy machine it was once seen to
		# measure 217 MHz, and each of its seconds was a fifth of one.
		QEMU=(env LD_PRELOAD=/stage/libspare-svm-fixes.so:/stage/libspare-dilation.so:/stage/libspare-resting.so SPARE_DILATION_PAGE=/run/host/dilation
			SPARE_DILATION="$(milli "${DILATION:-1}")" SPARE_LIMIT_S="$2" "${QEMU[@]}"
			-object memory-backend-file,id=dilation,size=4K,mem-path=/run/host/dilation,share=on -device ivshmem-plain,memdev=dilation -name host,debug-threads=on -machine q35 -accel tcg,thread=multi -cpu max,+svm -smp "$REALTIME_CPUS" -m "${memory[0]}" -net none
			-kernel /kernel/vmlinuz -serial chardev:console -device virtio-serial -device virtconsole,chardev=job
			-drive if=virtio,format=raw,file=/cache/root.img,snapshot=on
			-drive if=virtio,format=raw,file=/kernel/modules.img,readonly=on
			-drive if=virtio,format=raw,file=/run/host/out.img
			-append "$cmdline loglevel=5 tsc=reliable tsc_early_khz=1000000 spare.mode=realtime${HOST_INIT:+ spare.init=$HOST_INIT systemd.getty_auto=no}")
	else
		# tools/steady_clock.cpp, tools/global_pages.cpp and tools/repeats.cpp say why
		QEMU=(env LD_PRELOAD=/stage/libspare-steady-clock.so:/stage/libspare-global-pages.so:/stage/libspare-repeats.so "${QEMU[@]}" -machine q35
			-accel tcg,thread=single -icount shift=1,sleep=off -rtc base=2026-01-01T00:00:00,clock=vm -seed 42
			-cpu "max,+svm,-rdrand,-rdseed${DETERMINISTIC_FLAGS:+,$DETERMINISTIC_FLAGS}" -smp "$DETERMINISTIC_CPUS" -m "${memory[1]}" -net none
			-kernel /kernel/image -serial chardev:console -serial chardev:job
			-append "$cmdline loglevel=7 norandmaps random.trust_cpu=off transparent_hugepage=never damon_stat.enabled=N init_on_alloc=0 cryptomgr.notests spare.mode=deterministic")
		[[ -z $STACK$SAVE_TO ]] || QEMU+=(-device pvpanic -action panic=pause -qmp unix:/run/host/qmp,server=on,wait=off
			-fw_cfg name=opt/sched_spare/overlay,file=/run/host/overlay.cpio.gz)
		[[ -z $STACK ]] || QEMU+=(-incoming file:/stack/state)
	fi
}

# boot MODE LIMIT_S [batch|shell] [PACE]: boots RUN's job; its output goes to stdout. Status 0 when QEMU ended by itself in time.
# LIMIT_S are of the real-time host's own clock, for the deterministic host the outer machine's. --dilation goes before PACE.
boot() {
	local mode=$1 limit=$2 kind=${3:-batch} pace=${4-} outer_limit=$2 before=()
	echo "$kind" >"$RUN/job/mode"
	if [[ $mode == realtime ]]; then
		[[ -z $pace || -n $DILATION ]] || echo "$pace" >"$RUN/job/pace"
		# QEMU ends itself at the limit; this is for one that hangs.
		outer_limit=$((limit * 10 + 120))
		# What measures goes before other work, where the scheduler groups tasks by session and where it does not. With less weight than
		# this it is put aside for a slice of theirs (4 ms) in the middle of every third packet: so little work is soon ahead of its share.
		# shellcheck disable=SC2016 # expands inside
		[[ $pace != "$PACE_NOMINAL" ]] || before=(env "SPARE_PIN_CPUS=$REALTIME_CPUS" setsid --wait bash -c '{ echo -20 >/proc/self/autogroup; } 2>/dev/null; exec nice -n -20 "$@"' before)
	fi
	# (host/initrd-init lays stage/ over the real-time host's /usr/local.)
	local prefix=usr/local binds=("$USERLAND:/cache:ro" "$KERNEL:/kernel:ro" "$STAGE:/stage:ro" "$RUN:/run/host:rw" "$TOP:/src:ro")
	[[ $mode != realtime ]] || prefix=stage
	mkdir -p "$RUN/overlay/$prefix/libexec"
	cp -a "$SCRIPTS" "$RUN/overlay/$prefix/libexec/sched_spare"
	cp -a "$RUN/job" "$RUN/overlay/"
	[[ $mode != realtime || ! -d $KERNEL/initrd ]] || cp -a "$KERNEL/initrd/." "$RUN/overlay/"
	# What goes on from a saved state reads this through fw_cfg, byte by byte and, as each page is read from the beginning, in the square of the size:
	# the whole of it, not compressed, took 5.8 s of the host's and 30 s of this machine's time.
	[[ -z $STACK ]] || rm -rf "$RUN/overlay/$prefix/libexec/sched_spare/selftests"/{realtime,static,long}
	# shellcheck disable=SC2016 # expands inside
	in_userland "${binds[@]}" -- /bin/bash -c '
		set -euo pipefail
		cd /run/host/overlay
		find . -exec touch -h -d 2026-01-01T00:00:00Z {} +
		find . -mindepth 1 | LC_ALL=C sort | cpio --quiet --create --format=newc --owner=0:0 --reproducible >../overlay.cpio
		cat "/stage/$1.cpio" ../overlay.cpio >../initrd
		gzip -9n ../overlay.cpio
	' pack "$mode" || return
	rm -rf "$RUN/overlay"
	[[ $mode != realtime ]] || truncate -s 512M "$RUN/out.img"
	qemu_args "$mode" "$limit"
	if [[ $mode == deterministic && -n $STACK$SAVE_TO ]]; then
		binds+=("${STACK:-$SAVE_TO}:/stack:rw")
		# shellcheck disable=SC2016 # expands inside
		before=(bash -c '{ python3 -B /src/selftests/lib/qmp.py /run/host/qmp $1 || kill $$; } >/run/host/qmp.log 2>&1 & shift; exec "$@"' before "$([[ -n $STACK ]] && echo resume || echo save /stack/state)")
	fi
	local status=0
	run_qemu || status=$?
	# Two emulated CPUs that run at once: one may be left with code that the other has just rewritten (a static key's int3), and the kernel stops.
	# About one boot in sixty ends so, and nearly always while the kernel comes up, when nothing of ours has been seen yet.
	if [[ $mode == realtime && -n $(kernel_trouble) ]] && ! grep -aq "$JOB_BEGINS" "$RUN/console.log"; then
		say "the kernel stopped before the job began: once more" >&2
		mv "$RUN/console.log" "$RUN/console-1.log"
		status=0
		run_qemu || status=$?
	fi
	return "$status"
}

# What host/init writes to the kernel's log.
JOB_BEGINS='init: the job begins'

# run_qemu: what boot() has set up
run_qemu() { in_userland "${binds[@]}" -- /usr/bin/env TMPDIR=/run/host "${before[@]}" timeout --foreground -k 5 "$outer_limit" "${QEMU[@]}"; }

# use_stack [bare]: sets STACK, a deterministic host with module, class and spared up, or without (host/stack.sh), from which its boots go on. Made
# once for a stage and a number of CPUs; all that runs in it before a script, and the script alone, decides what the script sees.
use_stack() {
	local lock key status=0 base=$SCRIPTS/selftests
	key=$(hash_of "${STAGE##*/}" "${1-}" "$DETERMINISTIC_CPUS" "$DETERMINISTIC_FLAGS" "$(hash_files "$base"/lib/{boot,ktap,spare,controllers}.sh "$base"/host/{init,stack.sh})")
	exec {lock}>"$CACHE/.lock.stack-$key"
	flock -w 1800 "$lock" || status=$?
	[[ $status != 0 || -d $CACHE/stack-$key ]] || make_stack "$CACHE/stack-$key" "$@" || status=$?
	exec {lock}>&-
	((!status)) || return "$status"
	STACK=$CACHE/stack-$key
	touch -c "$STACK"
}

make_stack() { # DIR [bare]
	local SAVE_TO=$CACHE/tmp.stack.$BASHPID
	tmp_path "$SAVE_TO"
	mkdir "$SAVE_TO"
	new_run stack
	echo "exec bash $HOST_SELFTESTS/host/stack.sh ${2-}" >"$RUN/job/run"
	boot deterministic 900 >"$RUN/port.log" || true
	collect_out
	if [[ ! -s $SAVE_TO/state || $(verdict) != none || -n $(kernel_trouble) ]]; then
		rm -rf "$SAVE_TO"
		return 1
	fi
	mv -T "$SAVE_TO" "$1"
	prune stack
}

# After a boot: unpack what the job left, drop what can be made again.
collect_out() {
	rm -f "$RUN/initrd" "$RUN/overlay.cpio.gz" "$RUN/qmp"
	if [[ -e $RUN/out.img ]]; then
		mkdir -p "$RUN/out"
		tar -xf "$RUN/out.img" -C "$RUN/out" 2>/dev/null || rmdir --ignore-fail-on-non-empty "$RUN/out"
		rm -f "$RUN/out.img"
	fi
}

# verdict: the job's exit status, from the last line of its port, where the job's own may not have ended; "none" when the host never got there.
verdict() { sed -n 's/.*@@ verdict \([0-9]\+\).*/\1/p' "$RUN/port.log" | tail -n 1 | grep . || echo none; }

# What a healthy kernel does not say.
KERNEL_TROUBLE='------------\[ cut here|WARNING: |BUG: |Oops|general protection fault|Kernel panic|rcu: INFO: .*stall|soft lockup|blocked for more than'
kernel_trouble() { grep -aE -e "$KERNEL_TROUBLE" "$RUN/console.log" "$RUN/out/dmesg.txt" 2>/dev/null | sed 's/^[^:]*://' | sort -u; }

# why_off STATUS: for a host that went off before its verdict, whether it was the kernel, the emulated CPU, QEMU or the time.
why_off() {
	if kernel_trouble >/dev/null; then
		echo "the kernel stopped"
	elif grep -qs 'Triple fault' "$RUN/qemu.log"; then
		echo "triple fault of an emulated CPU, state in $RUN/qemu.log"
	elif (($1 == 124 || $1 == 137)); then
		echo "not finished in time"
	else
		# QEMU's ShutdownCause
		case $(sed -n 's/^qemu_system_shutdown_request reason=//p' "$RUN/qemu.log" 2>/dev/null | tail -n 1) in
		# (A reset under -no-reboot is not traced.)
		'') if (($1)); then echo "QEMU ended with status $1: by a signal"; else echo "the host reset itself without a word"; fi ;;
		6) echo "the host shut down by itself" ;;
		7) echo "the host reset itself" ;;
		*) echo "QEMU ended with status $1" ;;
		esac
	fi
}
