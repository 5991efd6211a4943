// Package routing chooses the partitions that may answer a read.
//
// A [Demand] says how fresh an answer must be: as new as a session, or of a bounded age. A [Request] looks for a backend
// that satisfies the demand: the request tries the candidates in order, waits shortly for a replica if none is known to qualify,
// and then asks the master. The cache of reads may answer by the same rules. The reads themselves are in package store.
package routing
