// Package servers gives tests real MariaDB and MySQL servers.
//
//	url := servers.MariaDB(t).Database(t) // mysql://root:runnel@127.0.0.1:21733/runnel_…
//
// [MariaDB] and [MySQL] return a shared server. The first test on a machine
// starts the server; every later test, package and run finds it. Each test has
// databases of its own there. [NewMariaDB] and [NewMySQL] start a server that
// belongs to the test. The test may stop, kill, pause and restart the server,
// which keeps its address and data until the test ends.
//
// # Where servers run
//
// With a Docker engine a server is a container. Its image is the first available of:
//
//   - the image named by RUNNEL_TEST_MARIADB_IMAGE or RUNNEL_TEST_MYSQL_IMAGE
//   - the official image or an image built earlier, if on the machine
//   - the official image, pulled
//   - an image built from Debian's packages with debootstrap, in about a minute
//
// The container runs images/serve.sh, so an image needs only sh and mariadbd or mysqld.
//
// Without a Docker engine a server is a process: the machine's own mariadbd or
// mysqld on a temporary directory. On a machine with neither, the test is skipped
// with a message that names the package to install; with
// RUNNEL_TEST_REQUIRE_SERVERS=1, as in continuous integration, the test fails. A
// server that is installed but does not start always fails the test.
// RUNNEL_TEST_SHORT=1, which "make test-short" sets, skips every test that needs a
// server. "make test" ends with the number, names and reasons of all skipped tests.
//
// # Leftovers
//
// Images and one idle shared server of each kind stay on the machine, so that the
// next run starts at once; "make test-clean" removes them. When a run crashes, a
// later run removes its servers and databases once they are an hour old.
//
// Servers listen on 127.0.0.1 only, at ports below the system's range of outgoing
// ports, so that no connection takes the port of a server that is down. They keep
// the durable defaults, under which a commit is on disk before the server answers:
// the result of a crash test must hold in production.
package servers
