// Package locks is the work of 'runnel lock': commands that run under a lock, and lists of locks.
package locks
