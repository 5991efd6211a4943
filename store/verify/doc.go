// Package verify compares the copies of every entry, and repairs damaged copies from right ones.
//
// [Run] compares digests of ranges of keys, reads the heads of the rows where digests differ, and looks at each row
// that differs on all partitions ([Row]). A right row is a row that matches its checksum, whichever partition has it. Three rules
// keep a look true while entries are written and copied:
//
//   - A partition lacks a change only if its positions, read before its row, have passed the change. So a copy that is
//     under way is no difference.
//   - A copy replaces a damaged row only if its partition, before the copy was read, had passed everything that the
//     partition of the damaged row held after that row was read. So no repair takes a change back.
//   - A repair changes a row only if it still is as it was read, and writes nothing beyond the partition's position.
//
// If no copy is right, or two copies differ and both are right, the row is listed and not changed.
package verify
