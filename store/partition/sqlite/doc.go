// Package sqlite keeps a partition in an SQLite file, which several processes may share. It calls
// the SQLite library directly, without database/sql: one connection writes, a pool reads, and a
// checkpointer copies the write-ahead log into the file beside the commits.
package sqlite
