#!/bin/sh
# prepare.sh [certificates] installs the missing programs that the tests need:
# certificates for Go modules (with the argument nothing else), curl for the
# commands of the README, git for the layout test, nginx and HAProxy, Chromium,
# the clients of MariaDB and SQLite for the guide to backups,
# and a C compiler for the race detector. With a Docker engine also debootstrap, to build
# images; without an engine a MariaDB server.
set -eu
PATH=$PATH:/usr/sbin:/usr/libexec

# answers reports whether a Docker engine answers. The machine may lack Docker's client.
answers() {
	docker version >/dev/null 2>&1 ||
		curl -fs --max-time 10 --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null 2>&1
}

install() {
	echo "installing $*" >&2
	as_root=
	if [ "$(id -u)" != 0 ]; then as_root='sudo -n'; fi
	$as_root apt-get update -q >&2
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@" >&2
}

# certificates reports whether public certificates are at a path that Go reads.
certificates() {
	for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem \
		/etc/ssl/cert.pem /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem; do
		if [ -e "$file" ]; then return; fi
	done
	return 1
}

certificates || ! command -v apt-get >/dev/null || install ca-certificates
if [ "${1-}" = certificates ]; then exit; fi

command -v curl >/dev/null || install curl ca-certificates
command -v git >/dev/null || install git
if ! command -v gcc >/dev/null || [ ! -e /usr/include/stdlib.h ]; then install gcc libc6-dev; fi
# The tests of a proxy that cannot be installed are skipped.
for proxy in nginx haproxy; do
	command -v $proxy >/dev/null || install $proxy || echo "SKIPPED: $proxy cannot be had, so nothing is known of Runnel behind it" >&2
done
for client in mariadb-dump:mariadb-client sqlite3:sqlite3; do
	command -v ${client%:*} >/dev/null || install ${client#*:} || echo "SKIPPED: ${client%:*} cannot be had, so nothing is known of backups by the database's own tools" >&2
done
command -v chromium >/dev/null || install chromium || echo "SKIPPED: chromium cannot be had, so nothing is known of Runnel in a browser" >&2
if answers; then
	command -v debootstrap >/dev/null || install debootstrap
else
	command -v mariadbd >/dev/null || install mariadb-server
fi
