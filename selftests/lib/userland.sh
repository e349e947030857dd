# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The userland: a Debian trixie tree with every package that building and running needs. The machine itself gives only
# mmdebstrap and the archive keys, so that every machine builds with, and emulates by, the same programs.

SUITE=trixie
# Outside packages, and the file that shows that one is there.
OUTSIDE=(mmdebstrap:/usr/bin/mmdebstrap debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg)

install_outside() {
	local entry missing=()
	for entry in "${OUTSIDE[@]}"; do
		[[ -e ${entry#*:} ]] || missing+=("${entry%%:*}")
	done
	((${#missing[@]})) || return 0
	command -v apt-get >/dev/null ||
		die "this machine has no apt-get" "use a Debian 12/13 or Ubuntu machine, or install: ${missing[*]}"
	step "install ${missing[*]} on this machine" 600 "$LOGS/apt-install.log" "install them by hand: apt-get install ${missing[*]}" \
		apt_install "${missing[@]}"
}

apt_install() {
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q -y --no-install-recommends install "$@" ||
		{ apt-get -q update && apt-get -q -y --no-install-recommends install "$@"; }
}

# contained COMMAND...: own mount and pid namespace; all of it dies with this process.
contained() { unshare --mount --pid --fork --kill-child=KILL --mount-proc -- "$@"; }

# in_userland [SOURCE:TARGET:ro|rw]... -- COMMAND...: in the userland, without network; the tree itself is read-only.
in_userland() { unshare --mount --pid --net --fork --kill-child=KILL -- bash "$SELFTESTS/lib/enter.sh" "$USERLAND/root" "$@"; }

# The Debian mirror that this machine's apt already uses: the first http(s) entry for its own release with component main.
# Empty where the machine is not Debian: mmdebstrap then knows a default.
# machine_mirror [ROOT]: ROOT for the test of this function.
machine_mirror() {
	local root=${1-} id codename
	id=$(. "$root/etc/os-release" && echo "${ID-}")
	codename=$(. "$root/etc/os-release" && echo "${VERSION_CODENAME-}")
	[[ $id == debian && -n $codename ]] || return 0
	{
		# One-line style: deb [options] URI SUITE COMPONENT...
		cat "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*.list 2>/dev/null |
			sed -n 's/^deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?//p' |
			awk -v c="$codename" '$2 == c { for (i = 3; i <= NF; i++) if ($i == "main") print $1 }'
		# deb822 style: stanzas of Types, URIs, Suites, Components
		awk -v c="$codename" '
			function word_in(w, s) { return index(" " s " ", " " w " ") > 0 }
			function flush() {
				if (word_in("deb", f["types"]) && word_in(c, f["suites"]) && word_in("main", f["components"]) && f["enabled"] != "no")
					print f["uris"]
				delete f
			}
			FNR == 1 || /^[ \t]*$/ { flush() }
			/^#/ { next }
			/^[A-Za-z-]+:/ {
				key = tolower(substr($0, 1, index($0, ":") - 1)); value = substr($0, index($0, ":") + 1)
				gsub(/[ \t]+/, " ", value); sub(/^ /, "", value); sub(/ $/, "", value); f[key] = value; next
			}
			/^[ \t]/ && key != "" { f[key] = f[key] " " $0 }
			END { flush() }' /dev/null "$root"/etc/apt/sources.list.d/*.sources 2>/dev/null || true
	} | tr -s ' \t' '\n' | while read -r uri; do
		case $uri in
		mirror+file:*) sed -n 's/^\(https\?:[^[:space:]]*\).*/\1/p' "$root${uri#mirror+file:}" ;;
		http://* | https://*) echo "$uri" ;;
		esac
	done | head -n 1
}

make_userland() {
	local dir=$1 mirror=$2 packages
	packages=$(sed 's/#.*//' "$SELFTESTS/host/packages.txt" | tr -s ' \n' ',')
	packages=${packages#,}
	contained mmdebstrap --variant=minbase --include="${packages%,}" --aptopt='APT::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		"$SUITE" "$dir/root" ${mirror:+"$mirror"}
	mkdir -p "$dir/root"/{src,build,stage,job,out,kernel,cache,usr/lib/modules}
	# The real-time host's disk. Booted with snapshot=on, so nothing ever writes to it.
	# shellcheck disable=SC2016 # expands inside
	USERLAND=$dir in_userland "$dir:/cache:rw" -- /bin/sh -c '
		set -e
		mkdir /run/root && mount --bind / /run/root
		size=$(du -sxm /run/root | cut -f1)
		mke2fs -q -t ext4 -m 0 -O ^has_journal -E lazy_itable_init=1,root_owner=0:0 -d /run/root /cache/root.img $((size + size / 4 + 1024))M'
}

userland_key() { hash_of "$SUITE" "$(hash_files "$SELFTESTS/host/packages.txt")"; }

# use_userland MIRROR: sets USERLAND.
use_userland() {
	local key mirror=$1
	key=$(userland_key)
	if [[ ! -d $CACHE/userland-$key ]]; then
		[[ -n $mirror ]] || mirror=$(machine_mirror)
		install_outside
	fi
	product userland "$key" "make the $SUITE userland with mmdebstrap (about 1.3 GB)" 900 \
		"check the network; choose another mirror with --mirror URL" make_userland "$mirror"
	USERLAND=$PRODUCT
	USERLAND_KEY=$key
}
