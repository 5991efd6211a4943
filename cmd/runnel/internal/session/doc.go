// Package session keeps the session of commands that are given --session in a file: what one of
// them has read or written, a later one sees.
package session
