# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# A Debian kernel with sched_ext whose BTF is whole, taken by probing and not by number. Stock ones first: their packages are
# downloaded with apt (signatures checked) and unpacked, never installed. Where none serves, one is built from Debian's source.

KERNEL_SUITES=(sid trixie-backports)
ARCHIVE=$CACHE/archive
FLAVOUR=cloud-amd64 # the smallest; it has KVM, vhost-net and tun
# What --kernel may ask to be built, and of which fragments of configuration.
declare -A FRAGMENTS=([built]="kernel.config" [debug]="kernel.config kernel-debug.config")
KFUNCS=$TOP/sched_spare/bpf/kfuncs.txt

# The mirror that made the userland serves the kernels too.
userland_mirror() {
	sed -n 's/^\(deb\|URIs:\)[[:space:]].*\(https\?:[^[:space:]]*\).*/\2/p' "$USERLAND/root/etc/apt/sources.list" \
		"$USERLAND/root/etc/apt/sources.list.d"/*.sources 2>/dev/null | sed -n 1p || true
}

# A private apt: own lists (of today), own cache, no dpkg status; the machine's proxy settings apply. One run at a time has it,
# until the calling subshell ends.
private_apt() {
	local dir=$ARCHIVE suite lock
	mkdir -p "$dir"/{lists/partial,cache/archives/partial,debs,btf}
	exec {lock}>"$dir/.lock"
	flock "$lock"
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
	[[ -n $(find "$dir/updated" -mtime -1 2>/dev/null) ]] || update_lists || compgen -G "$dir/lists/*Packages*" >/dev/null
}

update_lists() { apt-get -q update && touch "$ARCHIVE/updated"; }

# with_lists COMMAND...: once more with new lists when it fails, for what the archive has replaced.
with_lists() { "$@" || { update_lists && "$@"; }; }

# candidates: "VERSION-FLAVOUR SUITE COMPILER" of each stock kernel, as the archive describes them.
candidates() {
	local headers
	mapfile -t headers < <(apt-cache search --names-only "^linux-headers-[0-9][^ ]*-$FLAVOUR\$" | cut -d' ' -f1)
	((${#headers[@]})) || return 0
	{ apt-cache madison "${headers[@]}" && apt-cache show "${headers[@]}"; } | awk '
		$2 == "|" && $1 ~ /^linux-headers-/ && !($1 in suite) { n = split($6, part, "/"); suite[$1] = part[1] }
		$1 == "Package:" { package = $2 }
		$1 == "Depends:" && package in suite && match($0, /gcc-[0-9]+/) {
			print substr(package, length("linux-headers-") + 1), suite[package], substr($0, RSTART, RLENGTH)
			delete suite[package]
		}'
}

# in_order: of those, first who need no toolchain; the newest first.
in_order() {
	local kver suite cc
	while read -r kver suite cc; do
		echo "$(has_compiler "$cc" && echo 0 || echo 1) $kver $suite $cc"
	done | sort -k1,1n -k2,2Vr | cut -d' ' -f2-
}

# fetch PACKAGE[=VERSION]...: into archive/debs, once.
fetch() {
	local package missing=()
	for package in "$@"; do
		compgen -G "$ARCHIVE/debs/${package/=/_}_*.deb" >/dev/null || missing+=("$package")
	done
	((${#missing[@]})) || return 0
	local tmp=$ARCHIVE/debs/partial
	rm -rf "$tmp"
	mkdir -p "$tmp"
	(cd "$tmp" && with_lists apt-get -q download "${missing[@]}")
	mv "$tmp"/*.deb "$ARCHIVE/debs/"
}

# dump_btf HEADERS OUT: the BTF of a kernel's headers as text; beside it, in OUT.pahole, the version of pahole that wrote it.
dump_btf() {
	sed -n 's/^CONFIG_PAHOLE_VERSION=\([0-9]\)/\1./p' "$1/.config" >"$2.pahole"
	in_userland "$1:/kernel:ro" -- bpftool btf dump file /kernel/vmlinux format raw >"$2.tmp" && mv "$2.tmp" "$2"
}

# judge_btf DUMP: prints what is wrong with it, nothing when it is whole for us.
judge_btf() {
	awk -v kfuncs="$KFUNCS" -f "$SELFTESTS/host/btf-check.awk" "$1" | sort | awk '
		$1 == "broken" { broken = broken " " $2 }
		$1 == "missing" { missing = missing " " $2 }
		END {
			if (missing != "") printf "it has no" missing
			if (broken != "") printf "%sits BTF has no _impl twin of%s", missing != "" ? "; " : "", broken
		}'
}

# judge KVER: the same for a stock kernel. Status 1 when that cannot be known now.
judge() {
	local kver=$1 btf=$ARCHIVE/btf/$1
	if [[ ! -s $btf || ! -e $btf.pahole ]]; then
		fetch "linux-headers-$kver" >&2 || { echo "its headers cannot be downloaded"; return 1; }
		local tmp=$ARCHIVE/btf/tmp
		rm -rf "$tmp"
		mkdir -p "$tmp"
		dpkg-deb --fsys-tarfile "$ARCHIVE/debs/linux-headers-${kver}_"*.deb |
			tar -x -C "$tmp" "./usr/src/linux-headers-$kver/vmlinux" "./usr/src/linux-headers-$kver/.config" 2>/dev/null ||
			{ echo "its headers package has no vmlinux with BTF"; return 0; }
		dump_btf "$tmp/usr/src/linux-headers-$kver" "$btf" >&2 || { echo "its BTF cannot be read"; return 1; }
		rm -rf "$tmp"
	fi
	judge_btf "$btf"
}

# newest_source: "PACKAGE VERSION COMPILER" of the newest kernel source, and the compiler that builds it: that of Debian's own kernel of this version, as bounds
# are shares of what the kernel's paths take, and another compiler makes them up to a tenth shorter; else sid's.
newest_source() {
	local sources package version cc
	mapfile -t sources < <(apt-cache search --names-only '^linux-source-[0-9.]+$' | cut -d' ' -f1)
	read -r package version < <(apt-cache madison "${sources[@]}" | awk '$1 ~ /^linux-source-/ { print $1, $3 }' | sort -k2,2Vr)
	cc=$(candidates | awk -v version="${version%%-*}" 'index($1, version "+") == 1 { print $3; exit }')
	[[ -n $cc ]] || cc=$(apt-cache show gcc | grep -o 'gcc-[0-9]\+' | sed -n 1p)
	echo "$package $version $cc"
}

# pick_kernel DIR MIRROR WANTED: writes DIR/kver, "KVER" of a stock kernel or "built PACKAGE VERSION COMPILER" ("debug ..."), and DIR/why.
pick_kernel() {
	local dir=$1 mirror=$2 wanted=$3 list kver suite cc why
	private_apt "$mirror"
	if [[ -z $wanted || -z ${FRAGMENTS[$wanted]-} ]]; then
		list=$(candidates | in_order | awk -v wanted="$wanted" 'index($1, wanted)')
		[[ -n $list || -z $wanted ]] ||
			{ echo "no kernel called '$wanted' with -$FLAVOUR in ${KERNEL_SUITES[*]}; there are, besides '${!FRAGMENTS[*]}':"; candidates; return 1; }
		while read -r kver suite cc; do
			[[ -n $kver ]] || break
			if ! why=$(judge "$kver"); then
				echo "passed over $kver: $why; asked again in the next run" | tee -a "$dir/why"
				: >"$dir/again"
				continue
			fi
			if [[ -z $why ]]; then
				has_compiler "$cc" || why=", for a module of $cc"
				echo "taken $kver: its BTF has every kfunc that we use ($(grep -vc '^#\|^$' "$KFUNCS" || true))$why" >>"$dir/why"
				echo "$kver" >"$dir/kver"
				return 0
			fi
			echo "refused $kver: $why" | tee -a "$dir/why"
		done <<<"$list"
		[[ -z $wanted ]] || { echo "--kernel $wanted cannot run the class"; return 1; }
		[[ ! -e $dir/again ]] || { echo "a kernel is built when none serves, not when it is not known whether one does"; return 1; }
		echo "no stock kernel of ${KERNEL_SUITES[*]} serves" >>"$dir/why"
		wanted=built
	fi
	read -r kver suite cc < <(newest_source)
	echo "taken $kver $suite, to be built with $cc and sid's pahole" >>"$dir/why"
	echo "$wanted $kver $suite $cc" >"$dir/kver"
}

# What both kinds of kernel get beside DIR/root: vmlinuz, image for the deterministic host, a disk with the modules; and DIR/kver.
finish_kernel() {
	local dir=$1 kver=$2
	ln "$dir/root/usr/lib/modules/$kver/vmlinuz" "$dir/vmlinuz"
	in_userland "$dir:/kernel:rw" "$TOP:/src:ro" -- /bin/sh -c "
		set -e
		/src/selftests/host/vmlinux.sh /kernel/vmlinuz /kernel/image
		ln -s usr/lib /kernel/root/lib
		depmod -b /kernel/root '$kver'
		mke2fs -q -t ext4 -m 0 -O ^has_journal -E root_owner=0:0 -d /kernel/root/usr/lib/modules /kernel/modules.img 240M"
	echo "$kver" >"$dir/kver"
}

make_kernel() {
	local dir=$1 mirror=$2 kver=$3 package base=${3%-"$FLAVOUR"}
	private_apt "$mirror"
	local packages=("linux-base-$kver" "linux-binary-$kver" "linux-modules-$kver" "linux-headers-$kver" "linux-headers-$base-common" "linux-kbuild-$base")
	# The signed image is one more build in the archive, and may come later than the unsigned one.
	apt-cache show "linux-binary-$kver" >/dev/null 2>&1 || packages[1]=linux-binary-unsigned-$kver
	fetch "${packages[@]}"
	for package in "${packages[@]}"; do
		dpkg-deb -x "$ARCHIVE/debs/${package}_"*.deb "$dir/root"
	done
	# Kernel packages put the image either beside the modules or in /boot.
	local image=$dir/root/usr/lib/modules/$kver/vmlinuz
	[[ -e $image ]] || cp "$image.unsigned" "$image" 2>/dev/null || cp "$dir/root/boot/vmlinuz-$kver" "$image"
	finish_kernel "$dir" "$kver"
}

# What the host needs of a kernel before its modules' disk is there, and its port.
FIRST_MODULES=(virtio_blk virtio_pci virtio_console ext4)

# make_release_kernel DIR MIRROR SUITE: the same layout for the kernel of a Debian release, which has no headers here: nothing is built for it. Beside
# it, in DIR/initrd, the modules that its first steps need.
make_release_kernel() {
	local dir=$1 mirror=$2 KERNEL_SUITES=("$3") ARCHIVE=$CACHE/archive-$3 kver
	private_apt "$mirror"
	kver=$(apt-cache depends "linux-image-$FLAVOUR" | sed -n "s/^ *Depends: linux-image-\(.*-$FLAVOUR\)\$/\1/p" | sed -n 1p)
	[[ -n $kver ]] || { echo "$3 has no linux-image-$FLAVOUR"; return 1; }
	fetch "linux-image-$kver"
	dpkg-deb -x "$ARCHIVE/debs/linux-image-${kver}_"*.deb "$dir/root"
	# Older packages have /lib/modules.
	mkdir -p "$dir/root/usr/lib"
	[[ ! -d $dir/root/lib ]] || { cp -a "$dir/root/lib/." "$dir/root/usr/lib/" && rm -r "$dir/root/lib"; }
	cp "$dir/root/boot/vmlinuz-$kver" "$dir/root/usr/lib/modules/$kver/vmlinuz"
	finish_kernel "$dir" "$kver"
	# shellcheck disable=SC2016 # expands inside
	in_userland "$dir:/kernel:rw" -- /bin/bash -c '
		set -euo pipefail
		kver=$1
		shift
		for name; do modprobe -d /kernel/root --set-version "$kver" --show-depends "$name"; done |
			sed -n "s/^insmod \([^ ]*\).*/\1/p" | sort -u | while read -r path; do
			target=/kernel/initrd/usr/lib/modules/$kver/$(basename "${path%.xz}")
			mkdir -p "${target%/*}"
			case $path in *.xz) xz -dc "$path" >"$target" ;; *) cp "$path" "$target" ;; esac
		done
	' initrd "$kver" "${FIRST_MODULES[@]}"
}

# use_release_kernel SUITE: sets KERNEL and KVER for boots that need nothing of ours in the kernel.
use_release_kernel() {
	product "kernel-$1" "$(hash_of "${FIRST_MODULES[@]}" "$(hash_files "$SELFTESTS/host/vmlinux.sh")")" "download and unpack the kernel of $1" 300 \
		"check the network" make_release_kernel "$(userland_mirror)" "$1"
	KERNEL=$PRODUCT
	KVER=$(<"$KERNEL/kver")
}

# make_built DIR MIRROR KIND PACKAGE VERSION: the same layout, from source, with the fragments of that kind.
make_built() {
	local dir=$1 mirror=$2 kind=$3 package=$4 version=$5 why fragments
	read -ra fragments <<<"${FRAGMENTS[$kind]}"
	(private_apt "$mirror" && fetch "$package=$version")
	mkdir "$dir/src"
	in_userland "$ARCHIVE/debs:/debs:ro" "$dir/src:/build:rw" -- /bin/bash -c "set -euo pipefail
		dpkg-deb --fsys-tarfile /debs/${package}_${version}_all.deb | tar -xO ./usr/src/$package.tar.xz |
			xz -dc | tar -x -C /build --strip-components=1"
	USERLAND=$TOOLCHAIN in_userland "$dir/src:/build:rw" "$dir:/kernel:rw" "$TOP:/src:ro" -- \
		/bin/bash /src/selftests/host/kernel.sh "${fragments[@]/#//src/selftests/host/}"
	rm -rf "$dir/src"
	finish_kernel "$dir" "$(<"$dir/release")"
	dump_btf "$dir/root/usr/src/linux-headers-$(<"$dir/release")" "$dir/btf"
	why=$(judge_btf "$dir/btf")
	[[ -z $why ]] || { echo "built, but $why"; return 1; }
}

# built_key KIND VERSION COMPILER
built_key() {
	local files
	read -ra files <<<"kernel.sh ${FRAGMENTS[$1]} vmlinux.sh"
	echo "$1-$(hash_of "${@:2}" "$(hash_files "${files[@]/#/$SELFTESTS/host/}")")"
}

# use_kernel WANTED: sets KERNEL (product), KVER and TOOLCHAIN, which is empty when the userland has the kernel's compiler.
use_kernel() {
	local wanted=$1 mirror key line known='' package version cc
	mirror=$(userland_mirror)
	[[ -e $KFUNCS ]] || die "$KFUNCS is missing" "it lists the kfuncs that the class calls, one per line"
	key=$(pick_key "$wanted")
	[[ ! -e $CACHE/pick-$key/again ]] || rm -rf "$CACHE/pick-$key"
	[[ ! -d $CACHE/pick-$key ]] || known=1
	product pick "$key" "choose a kernel by the BTF of its kfuncs" 300 \
		"check the network; selftests/run kernels lists the others, --kernel takes one" pick_kernel "$mirror" "$wanted"
	read -r KVER package version cc <"$PRODUCT/kver"
	if [[ $known ]]; then
		say "kernel: $KVER${version:+ from $package $version} (chosen before; why: $PRODUCT/why)"
	else
		while read -r line; do say "kernel: $line"; done <"$PRODUCT/why"
	fi
	TOOLCHAIN=''
	if [[ -n ${FRAGMENTS[$KVER]-} ]]; then
		use_toolchain "$cc"
		key=$(built_key "$KVER" "$version" "$cc")
		[[ -d $CACHE/kernel-$key ]] || need_space 6000 "to build a kernel"
		product "kernel-$KVER" "${key#*-}" "build a kernel from $package $version ($KVER)" 9000 \
			"the log shows the compiler's message; --kernel takes another" make_built "$mirror" "$KVER" "$package" "$version"
	else
		product kernel "$KVER-$(hash_files "$SELFTESTS/host/vmlinux.sh")" "download and unpack kernel $KVER" 300 \
			"check the network; if the archive has dropped this version, choose anew: selftests/run clean" make_kernel "$mirror" "$KVER"
	fi
	KERNEL=$PRODUCT
	KVER=$(<"$KERNEL/kver")
	cc=$(compiler_of "$KERNEL/root/usr/src/linux-headers-$KVER")
	has_compiler "$cc" || use_toolchain "$cc"
}

pick_key() { hash_of "$1" "$(hash_files "$KFUNCS" "$SELFTESTS/host/btf-check.awk" "$SELFTESTS/lib/kernel.sh")"; }

# --- selftests/run kernels

# row MARK KERNEL SUITE COMPILER PAHOLE CACHED VERDICT
row() { printf '%1s %-26s %-16s %-8s %-6s %-6s %s\n' "$@"; }

# cached PATTERN: yes when there is such a product.
cached() { compgen -G "$CACHE/kernel-$1" >/dev/null && echo yes || echo -; }

kernels_to() { kernels_table "$(userland_mirror)" >"$1"; }

# kernels_table MIRROR: every candidate in the order of choice, with the verdict on it.
kernels_table() {
	local mirror=$1 kver suite cc why taken='' mark built package version
	private_apt "$mirror" >&2
	# The choice, once made, holds until its inputs change.
	taken=$(cut -d' ' -f1 "$CACHE/pick-$(pick_key '')/kver" 2>/dev/null || true)
	row '' kernel suite compiler pahole cached verdict
	while read -r kver suite cc; do
		why=$(judge "$kver") || true
		[[ -n $why ]] || taken=${taken:-$kver}
		[[ $kver == "$taken" ]] && mark='*' || mark=''
		if [[ -n $why ]]; then why="refused: $why"; else why="serves$(has_compiler "$cc" || echo ", the module built with $cc of sid")"; fi
		row "$mark" "$kver" "$suite" "$cc" "$(cat "$ARCHIVE/btf/$kver.pahole" 2>/dev/null || echo '?')" "$(cached "$kver-*")" "$why"
	done < <(candidates | in_order)
	read -r package version cc < <(newest_source)
	built=$(built_key built "$version" "$cc")
	why="not built yet; it is when no other serves, or by --kernel built"
	[[ ! -d $CACHE/kernel-$built ]] || why=$(judge_btf "$CACHE/kernel-$built/btf")
	[[ ${taken:-built} == built ]] && mark='*' || mark=''
	row "$mark" built "$package" "$cc" \
		"$(cat "$CACHE/kernel-$built/btf.pahole" 2>/dev/null || apt-cache show pahole | sed -n 's/^Version: \([0-9.]*\).*/\1/p' | sed -n 1p)" \
		"$(cached "$built")" "${why:-serves}"
	printf '\n* what runs without --kernel\n'
}
