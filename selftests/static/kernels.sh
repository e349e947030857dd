#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Which kernel is taken: the newest stock one that serves with the userland's compiler, then with another, then one that is built;
# and what makes BTF whole. On fixtures of what the archive says and of BTF.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/lib/ktap.sh"
work=$(mktemp -d)
ktap_cleanup "rm -rf '$work'"
# shellcheck disable=SC2034 # for kernel.sh
SELFTESTS=$here TOP=${here%/*} CACHE=$work
. "$here/lib/kernel.sh"

# --- the choice

more='' # one kernel more that the archive has
apt-cache() {
	case $* in
	search*source*) printf '%s\n' 'linux-source-7.2 - x' 'linux-source-7.3 - x' ;;
	search*) printf '%s - x\n' linux-headers-7.2.{13+deb14,2+deb13,12+deb13}-cloud-amd64 ${more:+"linux-headers-$more"} ;;
	madison*source*)
		echo 'linux-source-7.2 | 7.2.13-1 | http://a.example/debian sid/main amd64 Packages'
		echo 'linux-source-7.3 | 7.3.4-1~bpo13+1 | http://a.example/debian trixie-backports/main amd64 Packages'
		;;
	madison*)
		echo 'linux-headers-7.2.13+deb14-cloud-amd64 | 7.2.13-1 | http://a.example/debian sid/main amd64 Packages'
		echo 'linux-headers-7.2.2+deb13-cloud-amd64 | 7.2.2-1~bpo13+1 | http://a.example/debian trixie-backports/main amd64 Packages'
		echo 'linux-headers-7.2.12+deb13-cloud-amd64 | 7.2.12-1~bpo13+1 | http://a.example/debian trixie-backports/main amd64 Packages'
		[[ -z $more ]] || echo "linux-headers-$more | ${more%%+*}-1 | http://a.example/debian trixie-backports/main amd64 Packages"
		;;
	'show gcc') printf '%s\n' 'Package: gcc' 'Depends: cpp (= 4:16.1.0-3), gcc-16 (>= 16.1.0-3~)' ;;
	show*)
		printf '%s\n' 'Package: linux-headers-7.2.13+deb14-cloud-amd64' 'Depends: gcc-16-for-host, linux-base' ''
		printf '%s\n' 'Package: linux-headers-7.2.2+deb13-cloud-amd64' 'Depends: gcc-14-for-host, linux-base' ''
		printf '%s\n' 'Package: linux-headers-7.2.12+deb13-cloud-amd64' 'Depends: gcc-14-for-host, linux-base' ''
		[[ -z $more ]] || printf '%s\n' "Package: linux-headers-$more" 'Depends: gcc-15-for-host, linux-base'
		;;
	esac
}
private_apt() { :; }
has_compiler() { [[ $1 == gcc-14 ]]; }
judge() { [[ " $serve " == *" ${1%%+*} "* ]] || echo "it has no kfunc"; }

# takes WANTED CHOICE [REFUSED...]: with the kernels that are in $serve.
takes() {
	local out=$work/pick.$BASHPID
	mkdir -p "$out"
	pick_kernel "$out" mirror "$1" >/dev/null || { echo "nothing taken"; return 1; }
	[[ $(<"$out/kver") == "$2" ]] || { echo "took $(<"$out/kver")"; return 1; }
	shift 2
	[[ $(sed -n 's/^refused \([0-9.]*\).*/\1/p' "$out/why" | xargs) == "$*" ]] || { cat "$out/why"; return 1; }
	rm -r "$out"
}

takes_none() { ! takes "$1" ''; }

first_own_compiler() { serve='7.2.13 7.2.12 7.2.2' && takes '' 7.2.12+deb13-cloud-amd64; }
then_older() { serve='7.2.13 7.2.2' && takes '' 7.2.2+deb13-cloud-amd64 7.2.12; }
then_toolchain() { serve=7.2.13 && takes '' 7.2.13+deb14-cloud-amd64 7.2.12 7.2.2; }
then_built() { serve='' && takes '' 'built linux-source-7.3 7.3.4-1~bpo13+1 gcc-16' 7.2.12 7.2.2 7.2.13; }
built_by_name() { serve='7.2.12' && takes built 'built linux-source-7.3 7.3.4-1~bpo13+1 gcc-16'; }
debug_by_name() { serve='7.2.12' && takes debug 'debug linux-source-7.3 7.3.4-1~bpo13+1 gcc-16'; }
built_as_its_own() { serve='' && more=7.3.4+deb13-cloud-amd64 takes built 'built linux-source-7.3 7.3.4-1~bpo13+1 gcc-15'; }
by_version() { serve='7.2.13 7.2.12' && takes 7.2.13 7.2.13+deb14-cloud-amd64; }
not_another() { serve='7.2.12' && takes_none 7.2.13 && takes_none 9.9; }

# --- the BTF: f takes an implicit argument and has its twin, g lacks it, h takes none

cat >"$work/btf" <<'BTF'
[1] STRUCT 'bpf_prog_aux' size=8 vlen=0
[2] PTR '(anon)' type_id=1
[3] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED
[4] FUNC_PROTO '(anon)' ret_type_id=0 vlen=2
	'x' type_id=3
	'aux' type_id=2
[5] FUNC_PROTO '(anon)' ret_type_id=0 vlen=1
	'x' type_id=3
[6] FUNC 'f' type_id=5 linkage=static
[7] FUNC 'f_impl' type_id=4 linkage=static
[8] FUNC 'g' type_id=4 linkage=static
[9] FUNC 'h' type_id=5 linkage=static
BTF

# verdict KFUNCS WANTED: what is said of this BTF when the class calls these, one a line.
verdict() {
	KFUNCS=$work/kfuncs
	printf '%b' "$1" >"$KFUNCS"
	[[ $(judge_btf "$work/btf") == "$2" ]] || { judge_btf "$work/btf"; return 1; }
}

ktap_plan 14
ktap_check "HOST: the newest that serves with the userland's compiler is taken first" first_own_compiler
ktap_check "HOST: then an older one" then_older
ktap_check "HOST: then one whose module needs another compiler" then_toolchain
ktap_check "HOST: then the newest source is built" then_built
ktap_check "HOST: --kernel built" built_by_name
ktap_check "HOST: --kernel debug" debug_by_name
ktap_check "HOST: one that is built is built by the compiler of Debian's own of that version" built_as_its_own
ktap_check "HOST: --kernel VERSION" by_version
ktap_check "HOST: --kernel VERSION takes no other" not_another
ktap_check "LIFE-5: whole BTF" verdict '# all\nf\nh\n' ''
ktap_check "LIFE-5: a kfunc without its twin and one that is missing are named" verdict 'f\ng\ni\n' \
	'it has no i; its BTF has no _impl twin of g'
ktap_check "LIFE-5: of alternatives one whole one is enough" verdict 'i|h\ng|f\n' ''
ktap_check "LIFE-5: a line without a whole one is named" verdict 'i|g\nj|k # new, old\n' \
	'it has no j|k; its BTF has no _impl twin of i|g'
ktap_check "LIFE-5: a kernel without sched_ext" verdict 'scx_bpf_now\n' 'it has no scx_bpf_now'
ktap_done
