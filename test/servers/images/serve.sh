#!/bin/sh
# serve.sh DAEMON DIRECTORY ARGUMENT... runs mariadbd or mysqld on the data in
# DIRECTORY, which it makes first when it is not there. The same script runs in
# a container and on a machine without Docker. It needs sh, cat,
# mkdir, mv, rm and id, as images hold little else.
#
# Every start gives root@'%' the password in ROOT_PASSWORD: without it nobody
# could come in over TCP, which is how all tests do.
set -eu
daemon=$1 directory=$2
shift 2
data=$directory/data
PATH=$PATH:/usr/sbin:/usr/libexec

# Both servers refuse to run as root unless told so. The data is a test's, and
# the port is on 127.0.0.1 alone.
as_root=
if [ "$(id -u)" = 0 ]; then as_root=--user=root; fi

# Made under another name first: a start that was killed half-way leaves no
# directory that looks whole.
if [ ! -d "$data" ]; then
	rm -rf "$data.new"
	mkdir -p "$data.new"
	case $daemon in
	mariadbd) mariadb-install-db --no-defaults $as_root --datadir="$data.new" \
		--auth-root-authentication-method=normal --skip-test-db >"$directory/install.log" 2>&1 ||
		{ while read -r line; do echo "$line" >&2; done <"$directory/install.log"; exit 1; } ;;
	mysqld) "$daemon" --no-defaults $as_root --datadir="$data.new" --initialize-insecure ;;
	esac
	mv "$data.new" "$data"
fi

# An init file holds one statement a line. MariaDB has a root@127.0.0.1 with no
# password, which would be preferred to root@'%' for who comes from there.
cat >"$directory/init.sql" <<SQL
DROP USER IF EXISTS root@'127.0.0.1';
CREATE USER IF NOT EXISTS root@'%' IDENTIFIED BY '$ROOT_PASSWORD';
GRANT ALL PRIVILEGES ON *.* TO root@'%' WITH GRANT OPTION;
SQL
exec "$daemon" --no-defaults $as_root --datadir="$data" --init-file="$directory/init.sql" \
	--socket="$directory/socket" --pid-file="$directory/pid" "$@"
