// Package digest checks a body against the digests that a request states for it.
package digest
