#!/usr/bin/env bash
# Install the Debian tools that some tests read our files with (Octave, R), a browser for those that look at our page and
# a display in memory for those that look at the monitor. Those tests skip where they are missing, so
# this does nothing, quietly, unless we are root on a system with apt-get; RINGTRACK_NO_APT=1 switches it off.
set -u
wanted=(octave-cli:octave h5dump:hdf5-tools Rscript:r-base-core chromium:chromium djxl:libjxl-tools Xvfb:xvfb)  # command:package

[ "${RINGTRACK_NO_APT:-0}" = 0 ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
missing=()
for pair in "${wanted[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
dpkg-query -W -f='${Status}' r-cran-hdf5r 2>/dev/null | grep -q "ok installed" || missing+=(r-cran-hdf5r)
[ "${#missing[@]}" -eq 0 ] && exit 0

stamp=/var/tmp/ringtrack-debian-tools-failed   # do not try again for a day where there is no network
[ -n "$(find "$stamp" -mmin -1440 2>/dev/null)" ] && exit 0
echo "Installing ${missing[*]} for the tests (half a minute) ..." >&2
export DEBIAN_FRONTEND=noninteractive
install() { timeout 100 apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null 2>&1; }
install || { timeout 40 apt-get update -q >/dev/null 2>&1 && install; } || {
    touch "$stamp"
    echo "... could not be installed; the tests that need them are skipped." >&2
}
exit 0
