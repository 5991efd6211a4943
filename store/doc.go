// Package store is Runnel's core: keys and entries, the one write primitive,
// and reads from any partition.
//
// Everything that changes data is an [Store.Update]: a declared set of keys and a
// function over their current entries. (A write that needs no decision is a
// [Store.Put]: the same thing without the function.) All keys of an Update have
// one master, found by hashing the key's route to a [Slot]. Each master has one
// committer per process, which takes whatever Updates queued while its last
// commit was in flight and commits them in one transaction; only then are the
// waiters answered. A successful Update is durable.
//
// A read may be answered by any partition that is ready for the key's origin.
// Concurrent point reads of one partition travel together; a lone reader never
// waits for company. Every value is checked against its checksum: a damaged
// copy is never served, but read elsewhere.
//
// The store knows its databases only as [partition.Partition]. It prepares them,
// joins them to the cluster, and follows their health and their positions from
// [Store.Run]; what it knows of positions is always a lower bound. It never
// copies anything by itself, except what [Store.Copy] is asked to.
package store
