// Package locks checks a recorded history of locks: at most one client holds a lock at a time.
//
// A hundred clients in several processes acquire, renew and release a few locks, and write with the fences. Meanwhile
// processes of clients are paused, servers are killed, the clocks of databases are set, and the master of the locks is
// lost and replaced. Each client records when it has sent a request, when the answer arrived, and the answer. The check
// searches the record for an answer that the promises of locks rule out.
//
// Planted faults, in records, show that each part of the check can fail.
package locks
