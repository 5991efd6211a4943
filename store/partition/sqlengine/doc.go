// Package sqlengine implements partition.Partition in SQL.
//
// An [Engine] contains everything that the databases share: reads, snapshots, applying copies, the
// lease, the cluster row, collecting tombstones. Packages mysql and sqlite each add a [Dialect]:
// pools of connections, the hot paths Commit and Get, the classification of errors, and the
// [Fragments] of SQL that differ.
//
// A reading operation acquires a connection, runs its statements and retries once if the connection
// has failed. A writing operation runs in a transaction that is repeated as long as the database
// rolls it back in favour of another transaction.
package sqlengine
