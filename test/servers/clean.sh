#!/bin/sh
# clean.sh removes the shared servers and the images that were built for them.
# Servers that ran without Docker are ended by their own pid files.
set -u

for directory in "${TMPDIR:-/tmp}"/runnel-test-*-shared-*/; do
	[ -f "$directory/started" ] || continue
	pid=$(cat "$directory/started")
	if grep -qs "${directory%/}" "/proc/$pid/cmdline"; then kill "$pid"; fi
	rm -rf "$directory"
done

command -v docker >/dev/null || exit 0
containers=$(docker ps -aq --filter label=runnel-test)
if [ -n "$containers" ]; then docker rm -fv $containers; fi
images=$(docker images -q 'runnel-test/*')
if [ -n "$images" ]; then docker rmi $images; fi
