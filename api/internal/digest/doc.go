// Package digest checks a body against the digests that a request states.
package digest
