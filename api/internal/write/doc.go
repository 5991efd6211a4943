// Package write holds a decoded write of a single key, as single keys, batches and transactions share it: the entry, the
// time to live, the preconditions, and the functions for Store.Update that evaluate them on the master.
//
// The package also evaluates the preconditions of reads, and checks media types.
package write
