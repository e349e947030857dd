# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Prometheus and promtool as Debian has them, for the scripts that want them: 168 MB, so they are no part of the userland.

make_prometheus() {
	local dir=$1 ARCHIVE=$CACHE/archive-$SUITE KERNEL_SUITES=("$SUITE") package
	private_apt "$2"
	for package in prometheus promtool; do
		if ! fetch "$package"; then
			echo "$package cannot be downloaded" >"$dir/why"
			return 0
		fi
		dpkg-deb --fsys-tarfile "$(compgen -G "$ARCHIVE/debs/${package}_*.deb" | sort -V | tail -n 1)" | tar -xO "./usr/bin/$package" >"$dir/$package"
		chmod +x "$dir/$package"
	done
}

# use_prometheus: sets PROMETHEUS, a directory with prometheus and promtool, or with why there are none.
use_prometheus() {
	product prometheus "$(hash_of "$SUITE" "$(hash_files "$SELFTESTS/lib/prometheus.sh")")" "download prometheus and promtool" 300 \
		"check the network" make_prometheus "$(userland_mirror)"
	PROMETHEUS=$PRODUCT
}

# prometheus_for NAME...: a script that says "# prometheus" finds them in /job/prometheus.
prometheus_for() {
	(cd "$SELFTESTS" && grep -qx '# prometheus' "${@/%/.sh}") || return 0
	use_prometheus
	cp -r "$PROMETHEUS" "$RUN/job/prometheus"
}
