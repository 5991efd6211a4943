// Package partition is the contract of a partition: a database that holds a copy of Runnel's
// data.
//
// The comments of [Partition] are the promises of every implementation; package partitiontest
// tests these promises. Packages mysql and sqlite implement the contract on package sqlengine, for
// MySQL, MariaDB and embedded files. Package memory is the reference implementation, for tests.
// This package also has the rules that every implementation checks, and [CatchUp] and
// [CheckLineage] for callers.
//
// A master's committer calls Commit: a transaction claims revisions from the partition's
// counter (the lock of its row orders all writers), writes entries, and is durable before it returns.
// The sync process opens a Snapshot of an origin after the target's position, has the origin
// make a Barrier so that every copied entry is durable at its origin, and calls Apply on the
// target: entries and position change together. Entries ordered by (origin, revision) are the
// only log.
package partition
