// Package partition is the contract of a partition: one database that holds a copy of Runnel's
// data.
//
// The comments of [Partition] say what every implementation promises; package partitiontest
// tests exactly that. Packages mysql and sqlite implement the contract on package sqlengine, for
// MySQL, MariaDB and embedded files. Package memory is the reference implementation, for tests.
// This package also has the rules that every implementation checks, and what callers compute
// from positions: [CatchUp] and [CheckLineage].
//
// A master's committer calls Commit: one transaction claims revisions from the partition's
// counter (whose row lock orders all writers), writes entries, and is durable before it returns.
// The sync process opens a Snapshot of an origin after the target's position, has the origin
// make a Barrier so that every copied entry is durable at its origin, and calls Apply on the
// target: entries and position change together. Entries ordered by (origin, revision) are the
// log; there is no other.
package partition
