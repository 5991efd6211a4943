// Package commit groups the writes of a master into transactions.
//
// A [Committer] has a queue of requests. While a commit is in flight, further requests queue, and they share the next
// commit: a single transaction, a single flush to disk. A [Request] is a Put of an entry, or an Update with a function over the
// current entries, which the function sees through a [Tx]. Callers wait for the outcomes of a [Group] of requests.
//
// The committer remembers which keys it has written lately, so that a Put need not read the row that it replaces.
package commit
