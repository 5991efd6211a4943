#!/bin/sh
# prepare.sh installs what the tests need and is not there: curl, for the commands
# of the README; git, for the layout; a C compiler for the race detector; debootstrap, to build images, beside a Docker engine; a MariaDB
# server without one. It does nothing, quickly, where all is there.
set -eu
PATH=$PATH:/usr/sbin:/usr/libexec

# answers reports whether a Docker engine does, by Docker's client or without.
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

command -v curl >/dev/null || install curl ca-certificates
command -v git >/dev/null || install git
if ! command -v gcc >/dev/null || [ ! -e /usr/include/stdlib.h ]; then install gcc libc6-dev; fi
if answers; then
	command -v debootstrap >/dev/null || install debootstrap
else
	command -v mariadbd >/dev/null || install mariadb-server
fi
