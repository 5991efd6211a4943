// Command bench measures Runnel beside its upper limit and beside alternatives, all in one run.
//
//	make bench-quick   # the main ratios, one a line: name ours other ratio, in under three minutes
//	make bench         # everything, as text, and in bin/bench.md, bin/bench.json and bin/bench.svg
//	make bench-long    # with 10^7 entries and longer measurements
//
// # Systems
//
// All systems run on 127.0.0.1, in a temporary directory that is removed at the end. Their settings keep every acknowledged
// write through a power cut:
//
//   - a mariadbd process with innodb_flush_log_at_trx_commit=1; Docker's proxy would compete for processor time
//   - "runnel serve" over three databases there, and "runnel serve" over three SQLite partitions
//   - plain: a handler that runs a prepared statement per request on the same MariaDB, without batching
//   - ceiling: gorilla/mux and net/http answering from a map, the upper limit of a handler in Go
//   - Runnels of 10^4 to 10^7 entries, and of 2, 4 and 8 partitions, loaded straight into their masters
//   - a primary and two replicas with MariaDB's own replication, and Runnels with partitions on the same replicas
//   - "runnel serve" with an API key, and with TLS as well, beside the ceiling with TLS
//   - Runnels that hold no locks, 10^4 locks, and a lock that protects a key; locks of Runnel beside locks of etcd
//   - redis-server with appendfsync always behind webdis, and etcd behind its own JSON gateway, if installed by prepare.sh;
//     a missing system is reported as not available
//
// # Method
//
// The same client measures all systems: "runnel bench --plan", a separate process on the processors of the servers. All
// systems hold the same number of keys with values of the same size. Every round measures each system, in an order that
// changes from round to round, so that noise affects all systems alike. The figures are the median, the lowest and the highest
// of the rounds. Runnel's replicas are level before each measurement. All servers in Go run with the same GOGC: the
// environment's, or else the default of "runnel serve".
//
// Each run reports the share of the processors that other programs used. Above a few percent the figures are unreliable; the
// ratios may still be useful.
//
// A wrong answer is counted and makes the command fail, because a ratio with errors means nothing.
//
// Package testbed starts the systems, and package report compares and writes the measurements.
package main
