#!/bin/sh
# prepare.sh installs the missing programs that the bench compares with Runnel: MariaDB, redis-server, webdis, etcd. During the
# installation a policy-rc.d keeps their packages from starting services, which would take processor time and ports. The bench
# reports a program that could not be installed as not available, so nothing here is an error.
set -u
PATH=$PATH:/usr/sbin:/usr/libexec

missing=
command -v mariadbd >/dev/null || missing="$missing mariadb-server"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v webdis >/dev/null || missing="$missing webdis"
command -v etcd >/dev/null || missing="$missing etcd-server"
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null || { echo "no apt-get: install$missing to compare with them" >&2; exit 0; }

as_root=
if [ "$(id -u)" != 0 ]; then as_root='sudo -n'; fi
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null && $as_root chmod +x $policy && trap '$as_root rm -f $policy' EXIT
fi
$as_root apt-get update -q >&2
for package in $missing; do
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$package" >&2 ||
		echo "$package cannot be installed: the bench goes on without it" >&2
done
exit 0
