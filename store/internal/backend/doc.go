// Package backend holds the partitions as this process knows them: their health, latency, positions and clocks.
//
// A [Backend] is a partition with a circuit breaker over its point reads and the outcome of the last attempts to use it.
// Known positions are always lower bounds. A [Set] holds a backend for each configured partition, and answers questions
// that concern several: the clock of an origin decides how stale a replica is.
//
// The package starts no goroutine. Its users prepare and poll the backends, and take the callbacks in [Options].
package backend
