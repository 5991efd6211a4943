// Package sqlengine implements partition.Partition in SQL. An [Engine] has what the databases
// share: reads, snapshots, applying copies, the lease, the cluster row, collecting tombstones.
// Packages mysql and sqlite each add a [Dialect]: a pool of connections, the hot paths Commit
// and Get, the meaning of errors, and the [Fragments] of SQL that differ.
package sqlengine
