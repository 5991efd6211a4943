// Package servers gives a test the real MariaDB and MySQL servers it asks for.
//
//	url := servers.MariaDB(t).Database(t) // mysql://root:runnel@127.0.0.1:21733/runnel_…
//
// [MariaDB] and [MySQL] answer with a shared server, started once on a machine
// and found again by every test, package and run; tests keep out of each
// other's way by having databases of their own. [NewMariaDB] and [NewMySQL]
// start one that belongs to the test, which may stop, kill, pause and start it
// again: its address and its data stay the same, and it is gone when the test
// ends.
//
// # Where servers run
//
// With a Docker engine a server is a container. Its image is, in this order:
// the one named by RUNNEL_TEST_MARIADB_IMAGE or RUNNEL_TEST_MYSQL_IMAGE; one
// that is already here; the official one, pulled; or one built from Debian's
// packages with debootstrap, which takes about a minute and is kept. Any image
// will do that holds sh and mariadbd or mysqld, since images/serve.sh is what
// runs in it.
//
// Without a Docker engine a server is a process: the machine's own mariadbd or
// mysqld on a temporary directory. Where neither can be had the test is skipped
// and says what to install; with RUNNEL_TEST_REQUIRE_SERVERS=1, as in continuous
// integration, the test fails. A server that is there and does not start always
// fails the test. RUNNEL_TEST_SHORT=1, which "make test-short" sets, skips every
// test of a server. "make test" ends with the number, names and reasons of all skipped tests.
//
// # What is left behind
//
// Images, and one idle shared server of each kind, so that the next run starts
// at once ("make test-clean" removes those). A server of a test's own that was
// left by a crashed run is removed by the next run once it is an hour old; so
// is a database on a shared server.
//
// Servers listen on 127.0.0.1 only, at a port below the range the system takes
// outgoing ports from, so that nobody else gets it while the server is down.
// They keep the durable defaults (a commit is on disk before it is answered):
// what a test shows about a crash must hold in production.
package servers
