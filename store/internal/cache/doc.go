// Package cache keeps entries that replicas have answered, so that repeated reads need no statement.
//
// A [State] says up to which revision of each origin every cached entry is current. Reads, the commits of this process and
// the rounds of the change feed fill the cache and move the state; a read may use the cache by the rules for a replica.
package cache
