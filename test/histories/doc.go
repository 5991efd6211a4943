// Package histories checks that the answers of runnel servers are consistent while servers, databases and connections fail.
//
// Clients record every operation that they send and its answer. The checks then search the recorded history for an answer
// that the promised consistency rules out:
//
//   - operations on a key, and transactions on a group of keys, are linearizable (porcupine searches for an order)
//   - a session reads its own writes and never goes back
//   - quorum and bounded reads are as fresh as they ask for
//
// Planted faults, in records and in clients, show that each check can fail.
package histories
