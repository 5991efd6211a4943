// Package partition holds one copy of Runnel's data in one database.
//
// [Partition] is the contract; its comments say what every implementation
// promises, and package partitiontest tests just that. One SQL engine with two
// thin dialects implements it: [OpenMySQL] for MySQL and MariaDB, [OpenSQLite]
// for embedded files. Package memory has the reference implementation, for tests.
//
// Data flows like this. A master's committer calls Commit: one transaction claims
// revisions from the partition's counter (whose row lock orders all writers),
// writes entries, and is durable before it returns. The sync process opens a
// Snapshot of an origin after a target's position, has the origin make a
// Barrier so that nothing is copied that could still be lost, and calls Apply on
// the target: entries and position move together. Entries ordered by (origin,
// revision) are the log; there is no other.
package partition
