// Package locks is the work of 'runnel lock': it runs a command while it holds a lock, and lists, shows and releases locks.
package locks
