// Package histories checks that the answers of runnel servers are consistent while servers, databases and connections fail, and while masters move.
//
// Clients record every operation that they send and its answer. The checks then search the recorded history for an answer
// that the promised consistency rules out:
//
//   - operations on a key, and transactions on a group of keys, are linearizable (porcupine searches for an order)
//   - a session reads its own writes and never goes back
//   - quorum and bounded reads are as fresh as they ask for
//   - after moves every key can be read, all partitions are identical, and a reader of the change feed has the same state
//
// Planted faults, in records and in clients, show that each check can fail.
package histories
