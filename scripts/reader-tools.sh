#!/usr/bin/env bash
# Install the Debian programs that `make long` opens our files with, beyond those of debian-tools.sh: a spreadsheet.
# What is missing afterwards is skipped by name in the tests. Does nothing unless we are root on a system with apt-get;
# RINGTRACK_NO_APT=1 switches it off.
set -u
"$(dirname "$0")"/debian-tools.sh
[ "${RINGTRACK_NO_APT:-0}" = 0 ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 0
command -v soffice >/dev/null && exit 0
echo "Installing libreoffice-calc-nogui for the tests (a minute or two) ..." >&2
export DEBIAN_FRONTEND=noninteractive
install() { timeout 600 apt-get install -y -q --no-install-recommends libreoffice-calc-nogui >/dev/null 2>&1; }
install || { timeout 60 apt-get update -q >/dev/null 2>&1 && install; } ||
    echo "... could not be installed; the test that needs it is skipped." >&2
exit 0
