// Package feed reads the changes of all partitions.
//
// A [Token] is the progress of a reader: a revision for each origin. A page of changes is read from a single partition that
// holds everything that the reader has seen, the source. A [Watch] waits for changes: watches that have caught up share the
// rounds of a tail, which reads each change once, and the cache of reads follows the same rounds.
package feed
