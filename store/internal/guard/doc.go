// Package guard decides whether the lock of a name lets a write pass. The entry of a lock, in
// package lock, holds a Holder; the committer reads it in the transaction of the write.
package guard
