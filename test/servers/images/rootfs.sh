#!/bin/sh
# rootfs.sh SUITE PACKAGE writes a tar of a minimal Debian with PACKAGE to
# standard output. It needs root, as debootstrap does.
set -eu
suite=$1 package=$2
export DEBIAN_FRONTEND=noninteractive

if [ "$(id -u)" != 0 ]; then
	echo "building a server image needs root; run 'sudo make test' once, or set RUNNEL_TEST_MARIADB_IMAGE and RUNNEL_TEST_MYSQL_IMAGE" >&2
	exit 1
fi
if ! command -v debootstrap >/dev/null; then
	{ apt-get update && apt-get install -y --no-install-recommends debootstrap; } >&2
fi

# The machine's own mirror, however its sources are written, and its proxy.
# debootstrap reads plain http(s) and file addresses only.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
	grep -E '^(https?|file):.*/debian/?$' | head -n 1) || true
mirror=${mirror:-http://deb.debian.org/debian}
proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy)"
if [ -n "$proxy" ]; then export http_proxy="$proxy"; fi

# /tmp may be memory mounted nodev, where debootstrap refuses to work.
root=$(mktemp -d -p /var/tmp)
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' INT TERM
echo "debootstrap $suite from $mirror, with $package" >&2
debootstrap --variant=minbase --include="$package" "$suite" "$root" "$mirror" >"$root.log" 2>&1 || {
	tail -n 30 "$root.log" "$root/debootstrap/debootstrap.log" >&2
	exit 1
}
rm -rf "$root.log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/lib/mysql/* \
	"$root"/usr/share/doc/* "$root"/usr/share/man/*
tar -C "$root" --one-file-system --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -cf - .
