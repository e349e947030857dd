# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# A stock Debian kernel with sched_ext whose BTF is whole, taken by probing and not by number: its packages are downloaded with
# apt (signatures checked) and unpacked, never installed.

KERNEL_SUITES=(sid trixie-backports)
FLAVOUR=cloud-amd64 # the smallest; it has KVM, vhost-net and tun
KFUNCS=$TOP/sched_spare/bpf/kfuncs.txt

# The mirror that made the userland serves the kernels too.
userland_mirror() {
	sed -n 's/^\(deb\|URIs:\)[[:space:]].*\(https\?:[^[:space:]]*\).*/\2/p' "$USERLAND/root/etc/apt/sources.list" \
		"$USERLAND/root/etc/apt/sources.list.d"/*.sources 2>/dev/null | sed -n 1p || true
}

# A private apt: own lists, own cache, no dpkg status; the machine's proxy settings apply.
private_apt() {
	local dir=$CACHE/archive suite
	mkdir -p "$dir"/{lists/partial,cache/archives/partial,debs,btf}
	cat >"$dir/conf" <<-CONF
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "-";
		Dir::State::lists "$dir/lists";
		Dir::State::status "/dev/null";
		Dir::Cache "$dir/cache";
		APT::Sandbox::User "root";
		APT::Architecture "amd64";
		APT::Architectures "amd64";
		Acquire::Languages "none";
		Acquire::Retries "3";
	CONF
	for suite in "${KERNEL_SUITES[@]}"; do
		echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $1 $suite main"
	done >"$dir/sources.list"
	export APT_CONFIG=$dir/conf
}

# candidates: "VERSION-FLAVOUR", sid's first (its build tools are the newest, and whole BTF depends on them), then by version.
candidates() {
	apt-cache search --names-only "^linux-headers-[0-9][^ ]*-$FLAVOUR\$" | cut -d' ' -f1 | while read -r package; do
		apt-cache madison "$package" | awk -v p="${package#linux-headers-}" \
			'NR == 1 { print ($0 ~ /[ \/]sid\/main/ ? 1 : 0), p }'
	done | sort -k1,1nr -k2,2Vr | cut -d' ' -f2
}

# fetch PACKAGE...: into archive/debs, once.
fetch() {
	local package missing=()
	for package in "$@"; do
		compgen -G "$CACHE/archive/debs/${package}_*.deb" >/dev/null || missing+=("$package")
	done
	((${#missing[@]})) || return 0
	local tmp=$CACHE/archive/debs/partial
	rm -rf "$tmp"
	mkdir -p "$tmp"
	(cd "$tmp" && { apt-get -q download "${missing[@]}" || { apt-get -q update && apt-get -q download "${missing[@]}"; }; })
	mv "$tmp"/*.deb "$CACHE/archive/debs/"
}

# judge KVER: prints what is wrong with its BTF, nothing when it is whole for us. The compiler counts too: gcc 16 writes type
# tags into BTF that a module of gcc 14 lacks; its task_struct is then another type, and the verifier refuses our kfuncs.
judge() {
	local kver=$1 btf=$CACHE/archive/btf/$1 cc
	if [[ ! -s $btf || ! -s $btf.cc ]]; then
		fetch "linux-headers-$kver" >&2 || { echo "its headers cannot be downloaded"; return 0; }
		local tmp=$CACHE/archive/btf/tmp
		rm -rf "$tmp"
		mkdir -p "$tmp"
		dpkg-deb --fsys-tarfile "$CACHE/archive/debs/linux-headers-${kver}_"*.deb |
			tar -x -C "$tmp" "./usr/src/linux-headers-$kver/vmlinux" 2>/dev/null ||
			{ echo "its headers package has no vmlinux with BTF"; return 0; }
		dpkg-deb --fsys-tarfile "$CACHE/archive/debs/linux-headers-${kver}_"*.deb |
			tar -xO "./usr/src/linux-headers-$kver/.kernelvariables" | grep -o 'gcc-[0-9]*$' | sed -n 1p >"$btf.cc"
		in_userland "$tmp/usr/src/linux-headers-$kver:/kernel:ro" -- bpftool btf dump file /kernel/vmlinux format raw >"$btf.tmp"
		mv "$btf.tmp" "$btf"
		rm -rf "$tmp"
	fi
	cc=$(<"$btf.cc")
	[[ -e $USERLAND/root/usr/bin/$cc ]] || { echo "built with $cc, which the userland has not: our module's types would differ from its own"; return 0; }
	awk -v kfuncs="$KFUNCS" -f "$SELFTESTS/host/btf-check.awk" "$btf" | sort | awk '
		$1 == "broken" { broken = broken " " $2 }
		$1 == "missing" { missing = missing " " $2 }
		END {
			if (missing != "") printf "it has no" missing
			if (broken != "") printf "%sits BTF has no _impl twin of%s", missing != "" ? "; " : "", broken
		}'
}

pick_kernel() {
	local dir=$1 mirror=$2 wanted=$3 kver why taken=
	private_apt "$mirror"
	compgen -G "$CACHE/archive/lists/*Packages*" >/dev/null || apt-get -q update
	local list
	list=$(candidates)
	[[ -n $wanted ]] && list=$(grep -F -- "$wanted" <<<"$list" || true)
	[[ -n $list ]] || { echo "no sched_ext kernel called '${wanted:-*}-$FLAVOUR' in ${KERNEL_SUITES[*]}; there are:"; candidates; return 1; }
	for kver in $list; do
		why=$(judge "$kver")
		if [[ -z $why ]]; then
			taken=$kver
			echo "taken $kver: its BTF has every kfunc of $(grep -vc '^#\|^$' "$KFUNCS" || true) that we use" | tee -a "$dir/why"
			break
		fi
		echo "refused $kver: $why" | tee -a "$dir/why"
	done
	[[ -n $taken ]] || { echo "none of these kernels can run the class"; return 1; }
	echo "$taken" >"$dir/kver"
}

make_kernel() {
	local dir=$1 mirror=$2 kver=$3 package base=${3%-"$FLAVOUR"}
	private_apt "$mirror"
	local packages=("linux-base-$kver" "linux-binary-$kver" "linux-modules-$kver" "linux-headers-$kver" "linux-headers-$base-common" "linux-kbuild-$base")
	# The signed image is one more build in the archive, and may come later than the unsigned one.
	apt-cache show "linux-binary-$kver" >/dev/null 2>&1 || packages[1]=linux-binary-unsigned-$kver
	fetch "${packages[@]}"
	for package in "${packages[@]}"; do
		dpkg-deb -x "$CACHE/archive/debs/${package}_"*.deb "$dir/root"
	done
	# Kernel packages put the image either beside the modules or in /boot.
	local image=$dir/root/usr/lib/modules/$kver/vmlinuz
	[[ -e $image ]] || cp "$image.unsigned" "$image" 2>/dev/null || cp "$dir/root/boot/vmlinuz-$kver" "$image"
	ln "$image" "$dir/vmlinuz"
	in_userland "$dir:/kernel:rw" "$TOP:/src:ro" -- /bin/sh -c "
		set -e
		/src/selftests/host/vmlinux.sh /kernel/vmlinuz /kernel/image
		ln -s usr/lib /kernel/root/lib
		depmod -b /kernel/root '$kver'
		mke2fs -q -t ext4 -m 0 -O ^has_journal -E root_owner=0:0 -d /kernel/root/usr/lib/modules /kernel/modules.img 160M"
	echo "$kver" >"$dir/kver"
}

# use_kernel WANTED: sets KERNEL (product) and KVER.
use_kernel() {
	local wanted=$1 mirror key line
	mirror=$(userland_mirror)
	[[ -e $KFUNCS ]] || die "$KFUNCS is missing" "it lists the kfuncs that the class calls, one per line"
	key=$(hash_of "$wanted" "$(hash_files "$KFUNCS" "$SELFTESTS/host/btf-check.awk" "$SELFTESTS/lib/kernel.sh")")
	local known=
	[[ ! -d $CACHE/pick-$key ]] || known=1
	product pick "$key" \
		"choose a kernel by the BTF of its kfuncs" 300 "check the network; name another kernel with --kernel" pick_kernel "$mirror" "$wanted"
	KVER=$(<"$PRODUCT/kver")
	if [[ $known ]]; then
		say "kernel: $KVER (chosen before; why: $PRODUCT/why)"
	else
		while read -r line; do say "kernel: $line"; done <"$PRODUCT/why"
	fi
	product kernel "$KVER-$(hash_files "$SELFTESTS/host/vmlinux.sh")" "download and unpack kernel $KVER" 300 \
		"check the network; if the archive has dropped this version, choose anew: selftests/run clean" make_kernel "$mirror" "$KVER"
	KERNEL=$PRODUCT
}
