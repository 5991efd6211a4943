// Command bench measures Runnel beside its ceiling and beside what a user would pick instead, all in one run.
//
//	make bench-quick   # the main ratios, one a line: name ours other ratio, in under three minutes
//	make bench         # everything, as text, and in bin/bench.md, bin/bench.json and bin/bench.svg
//	make bench-long    # with 10^7 entries, and each measurement longer
//
// # What it starts
//
// Everything runs on 127.0.0.1, in a temporary directory that is removed at the end, with settings that keep a write that was
// answered through a power cut:
//
//   - mariadbd of its own, innodb_flush_log_at_trx_commit=1, as a process: Docker's proxy would take processor time that belongs to the measured
//   - "runnel serve" over three databases there, and "runnel serve" over three SQLite partitions
//   - plain: a handler that runs one prepared statement a request on the same MariaDB, without batching
//   - ceiling: gorilla/mux and net/http answering from a map, which is what any handler in Go could reach
//   - Runnels of 10^4 to 10^7 entries, and of 2, 4 and 8 partitions, loaded straight into their masters
//   - a primary and two replicas with MariaDB's own replication, and Runnels with partitions on the same replicas
//   - redis-server with appendfsync always behind webdis, and etcd behind its own JSON gateway, if installed (prepare.sh does that);
//     what is not there is reported as not available
//
// # How it measures
//
// The same client measures all of them: "runnel bench --plan", a process of its own, on the same processors as the servers. All
// systems hold the same number of keys with values of the same size. In every round each system has its turn, in an order that differs from round
// to round, so that a noisy machine hurts all alike; what is shown is the median of the rounds, with the lowest and the
// highest. Before the next turn, Runnel's replicas are level again. All servers written in Go run with the same GOGC:
// the one of the environment, or else the one that "runnel serve" sets for itself.
//
// Each run says how much of the processors other programs used meanwhile: where that is more than a few percent, the figures are not to be
// trusted, the ratios perhaps.
//
// An answer that is not as it should be is counted, and makes the command fail: a ratio with errors in it means nothing.
package main
