// Package quota bounds the entries and the bytes under prefixes of names.
//
// A [Book] knows the use of each [Quota]: the live entries with names that begin with the prefix, and the
// sizes of their values. Every quota whose prefix matches a name counts the entry, so quotas may be
// nested. The use has two sources:
//
//   - [Book.Measure] reads the use from the masters, each by its own entries, in short statements.
//   - The commits of this process add their growth, by a [Draft] for each commit.
//
// A statement tells the revision of its view ([partition.Usage]), so a commit that happens beside a
// measurement is counted exactly once. Writes of other processes, and entries that expire, are
// counted by the next measurement. Before the first measurement only the growth is known, and a
// quota refuses little.
//
// A Draft reserves the growth of a commit before the commit, because several masters commit at the
// same time. Puts without knowledge of the old entry reserve as if every key were new. When that does
// not fit, the committer reads the old entries in the transaction and each request is judged by its
// exact growth.
package quota
