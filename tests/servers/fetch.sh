#!/bin/sh
# Unpacks the servers that the tests start below the folder named, those alone that PATH lacks.
#
# The distribution's own packages and its own choice of versions, by an apt whose lists and cache are
# in that folder too: nothing of the system changes, and nobody needs to be root. Where there is no
# apt the tests that need a server are skipped with that reason (and fail in CI).
set -eu
into=$1
mkdir -p "$into"
into=$(cd "$into" && pwd)

# A program, and the package that has it.
wanted=
for pair in mosquitto:mosquitto dbus-daemon:dbus-daemon systemd-analyze:systemd \
    chromium:chromium strace:strace openssl:openssl mkfs.ext4:e2fsprogs losetup:mount; do
    program=${pair%%:*}
    command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || wanted="$wanted ${pair##*:}"
done
[ -n "$wanted" ] || exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "tests that need$wanted are skipped: not installed, and there is no apt to fetch it with" >&2
    exit 0
fi

apt=$into/apt
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
# The system's own settings (sources, proxies) less the hooks, which would run outside this folder.
apt-config dump | grep -iv -e '-invoke' -e 'pre-install-pkgs' >"$apt/apt.conf"
# apt asks who is installed from the system's own status, so that only what is missing is fetched.
cat >>"$apt/apt.conf" <<END
Dir::Etc::Parts "/dev/null";
Dir::Etc::Main "/dev/null";
Dir::State "$apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt/cache";
Debug::NoLocking "true";
APT::Sandbox::User "";
END
fetch() {
    APT_CONFIG="$apt/apt.conf" apt-get -qq -y "$@" </dev/null
}
fetch update
# shellcheck disable=SC2086
fetch install --no-install-recommends --download-only $wanted
for package in "$apt"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$into"
done
rm -rf "$apt"
# Its own starter looks for the program below /usr.
[ ! -x "$into/usr/lib/chromium/chromium" ] || ln -sf ../lib/chromium/chromium "$into/usr/bin/chromium"
