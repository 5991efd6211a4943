// Package store is Runnel's core: keys and entries, the single write primitive, and reads
// from any partition.
//
// # Terms
//
// A partition is a database that holds a copy of the data. Every key has a master, the
// partition that accepts its writes; for the keys of that master the other partitions are
// replicas. Each write of a master gets the next revision. The master is then the origin of
// the entry. A partition's position for an origin is the revision up to which the partition
// holds every change of that origin. A partition is complete for an origin once it has been
// filled with all of it.
//
// # Writes
//
// Everything that changes data is a [Store.Update]: a set of declared keys and a function
// over their current entries. A [Store.Put] is an unconditional Update without the function.
// All keys of an Update have the same master, found by hashing the key's route to a [Slot].
// Each master has a committer per process. The committer takes the requests that queued while
// its last commit was in flight and commits them in a single transaction; only then are the
// callers answered. A successful Update is durable.
//
// # Fences and protection
//
// Any write may name fences: UpdateOptions.Fences of an Update, Options.Fences of a Write. A
// [Fence] is the name of a lock and the fence that its holder got from package lock. The write's own
// transaction checks that each lock is still held with its fence; otherwise nothing is written and the
// error is a [StaleFenceError]. The lock NAME has the master of the key NAME; a fence of another master
// is ErrDifferentMasters. Services pass the fences of their callers on, and do nothing else for them. The
// HTTP header Runnel-Fence is read by write.Fences in api/internal/write.
//
// A lock can protect the key of its name. Then a write to that key without the lock's fence fails with
// a [LockedError]. A master without such locks tells writers so in the claim of revisions, at no cost.
//
// # Reads
//
// Any partition that is complete for the key's origin may answer. Concurrent point reads of
// a partition share statements; a lone reader does not wait. Every value is checked against
// its checksum: a damaged copy is never served, but read from another partition. Answers of
// replicas may be kept in a cache, to which the rules for a replica apply.
//
// # Changes
//
// [Store.Changes] and [Store.Watch] read the entries that changed after a [ChangeToken],
// from any partition that holds everything the token has seen.
//
// # Inside
//
// The store knows its databases only as [partition.Partition]. [Store.Run] prepares them,
// joins them to the cluster, and observes their health and positions. Known positions are
// always lower bounds. The sync process copies entries between partitions; the store copies
// only for [Store.Copy] and [Store.Restore].
//
// The parts have packages of their own below internal: backend holds the partitions with
// their health, positions and clocks; cluster owns the cluster map; commit groups the writes
// of a master; routing chooses the partitions that may answer a read; cache keeps answers of
// replicas; guard decides which writes a lock lets pass; quota bounds the use of prefixes; feed reads the changes; catchup copies on request; version has vectors and tokens.
// This package composes them, and has the reads (files read_*) and the writes.
package store
