// Package locks serves named locks: acquire, renew, release, force, show and list. Locks are named like keys, and the grants
// of a key's name decide on the lock of that name.
package locks
