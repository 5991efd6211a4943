// Package backups tests backups and restores end to end: the built binary on real databases, with clients that write
// before, meanwhile and afterwards.
package backups
