#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian mirror comes from the machine's own apt configuration, of whatever style; from no other vendor's entry. (DESIGN 5)
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
. "$here/lib/ktap.sh"
. "$here/lib/userland.sh"

root=$(mktemp -d)
ktap_cleanup "rm -rf '$root'"

# machine ID CODENAME: a machine with no apt sources yet.
machine() {
	rm -rf "${root:?}/etc"
	mkdir -p "$root/etc/apt/sources.list.d"
	printf 'ID=%s\nVERSION_CODENAME=%s\n' "$1" "$2" >"$root/etc/os-release"
}

# expect WANTED
expect() {
	local got
	got=$(machine_mirror "$root")
	[[ $got == "$1" ]] || { echo "wanted '$1', got '$got'"; return 1; }
}

one_line() {
	machine debian bookworm
	printf '%s\n' '# deb http://no.example/debian bookworm main' 'deb-src http://no.example/debian bookworm main' \
		'deb http://sec.example/debian-security bookworm-security main' 'deb http://a.example/debian  bookworm contrib main' \
		>"$root/etc/apt/sources.list"
	expect http://a.example/debian
}

one_line_options() {
	machine debian trixie
	echo 'deb [arch=amd64 signed-by=/x.gpg] https://b.example/debian/ trixie main' >"$root/etc/apt/sources.list.d/x.list"
	expect https://b.example/debian/
}

deb822() {
	machine debian trixie
	printf '%s\n' 'Types: deb' 'URIs: http://sec.example/s' 'Suites: trixie-security' 'Components: main' '' \
		'# a comment' 'Types: deb deb-src' 'URIs:  http://c.example/debian' 'Suites: trixie trixie-updates' 'Components: main contrib' \
		>"$root/etc/apt/sources.list.d/debian.sources"
	expect http://c.example/debian
}

deb822_disabled() {
	machine debian trixie
	printf '%s\n' 'Enabled: no' 'Types: deb' 'URIs: http://c.example/debian' 'Suites: trixie' 'Components: main' \
		>"$root/etc/apt/sources.list.d/debian.sources"
	expect ''
}

vendors() {
	machine debian bookworm
	printf '%s\n' 'deb https://v.example/apt stable main' 'deb https://w.example/linux bookworm stable' \
		>"$root/etc/apt/sources.list.d/vendor.list"
	echo 'deb http://d.example/debian bookworm main' >"$root/etc/apt/sources.list"
	expect http://d.example/debian
}

mirror_file() {
	machine debian trixie
	mkdir -p "$root/etc/apt/mirrors"
	echo 'https://e.example/debian' >"$root/etc/apt/mirrors/debian.list"
	printf '%s\n' 'Types: deb' 'URIs: mirror+file:/etc/apt/mirrors/debian.list' 'Suites: trixie' 'Components: main' \
		>"$root/etc/apt/sources.list.d/debian.sources"
	expect https://e.example/debian
}

not_debian() {
	machine ubuntu noble
	echo 'deb http://f.example/ubuntu noble main' >"$root/etc/apt/sources.list"
	expect ''
}

ktap_plan 7
ktap_check "HOST: mirror of a sources.list" one_line
ktap_check "HOST: mirror of a one-line entry with options" one_line_options
ktap_check "HOST: mirror of a deb822 file" deb822
ktap_check "HOST: an entry that is not enabled does not count" deb822_disabled
ktap_check "HOST: other vendors' entries do not count" vendors
ktap_check "HOST: mirror of a mirror list" mirror_file
ktap_check "HOST: none where the machine is not Debian" not_debian
ktap_done
