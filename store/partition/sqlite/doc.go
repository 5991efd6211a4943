// Package sqlite keeps a partition in an SQLite file. Several processes may share the file.
//
// The package calls the SQLite library directly, without database/sql. In each process a single
// connection writes, a pool of connections reads, and a checkpointer copies the write-ahead log
// into the file in the background.
package sqlite
